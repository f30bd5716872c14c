#include <csignal>
#include <fstream>
#include <limits>
#include <random>
#include <set>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

#include "recovery/roster.hh"
#include "tests/unit/recovery/temporary_directory.hh"

namespace recovery {
namespace {

std::string seat_somebody(Roster& roster) {
    GroupRoster& group = roster.group_of("dns", 3);
    group.seats[1] = {allocate_incarnation(roster), Standing::admitted, Place::b, "veth:q-dns-1b",
                      "said \"so\"\n\xff"};
    return {};
}

// One sound roster as text, to be spoilt by the tests.
const std::string sound = R"({"version": 1, "epoch": 7, "next_incarnation": 5, "groups": [
  {"group": "dns", "seats": [
    {"incarnation": 4, "standing": "lagging", "place": "a", "port": "veth:x", "reason": ""},
    {"incarnation": 0, "standing": "absent", "place": "b", "port": "", "reason": ""}]}]})";

tl::expected<Roster, RosterError> read_text(const std::string& text) {
    test::TemporaryDirectory directory;
    std::ofstream(directory / "roster.json") << text;
    return read_roster(directory / "roster.json");
}

std::string with(std::string text, const std::string& from, const std::string& to) {
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST(Roster, AbsentFileReadsAsEmpty) {
    test::TemporaryDirectory directory;
    const auto roster = read_roster(directory / "roster.json");
    ASSERT_TRUE(roster) << roster.error();
    EXPECT_EQ(roster->epoch, 0u);
    EXPECT_EQ(roster->next_incarnation, 1u);
    EXPECT_TRUE(roster->groups.empty());
}

TEST(Roster, ReadsBackWhatWasWritten) {
    test::TemporaryDirectory directory;
    const auto file = directory / "roster.json";
    const auto written = update_roster(file, seat_somebody);
    ASSERT_TRUE(written) << written.error();
    const auto roster = read_roster(file);
    ASSERT_TRUE(roster) << roster.error();
    EXPECT_EQ(roster->epoch, 1u);
    EXPECT_EQ(roster->next_incarnation, 2u);
    ASSERT_NE(roster->group("dns"), nullptr);
    EXPECT_EQ(roster->group("web"), nullptr);
    const auto& seats = roster->group("dns")->seats;
    ASSERT_EQ(seats.size(), 3u);
    EXPECT_EQ(seats[0].standing, Standing::absent);
    EXPECT_EQ(seats[1].incarnation.value, 1u);
    EXPECT_EQ(seats[1].standing, Standing::admitted);
    EXPECT_EQ(seats[1].place, Place::b);
    EXPECT_EQ(seats[1].port, "veth:q-dns-1b");
    EXPECT_EQ(seats[1].reason, "said \"so\"\n\xef\xbf\xbd");  // made UTF-8
}

TEST(Roster, EveryStandingAndPlaceHasItsWord) {
    for (const auto standing : {Standing::absent, Standing::starting, Standing::lagging,
                                Standing::admitted, Standing::suspended}) {
        EXPECT_EQ(parse_standing(text(standing)), standing);
    }
    EXPECT_EQ(parse_place(text(Place::a)), Place::a);
    EXPECT_EQ(parse_place(text(Place::b)), Place::b);
    EXPECT_FALSE(parse_standing("dead"));
    EXPECT_FALSE(parse_place("c"));
}

TEST(Roster, RefusedChangeLeavesTheFile) {
    test::TemporaryDirectory directory;
    const auto file = directory / "roster.json";
    ASSERT_TRUE(update_roster(file, seat_somebody));
    const auto refused = update_roster(file, [](Roster& roster) {
        roster.groups.clear();
        return std::string("because");
    });
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error(), "because");
    EXPECT_EQ(read_roster(file)->epoch, 1u);
    EXPECT_EQ(read_roster(file)->groups.size(), 1u);
}

TEST(Roster, AChangeCannotSpoilIt) {
    test::TemporaryDirectory directory;
    const auto file = directory / "roster.json";
    ASSERT_TRUE(update_roster(file, seat_somebody));
    const auto attempt = [&](auto&& change) {
        return update_roster(file, [&](Roster& roster) {
            change(roster);
            return std::string();
        });
    };
    EXPECT_FALSE(attempt([](Roster& r) {
        r.next_incarnation = 1;
        r.groups.clear();
    }));
    EXPECT_FALSE(attempt([](Roster& r) { r.groups[0].seats[0] = r.groups[0].seats[1]; }));
    EXPECT_FALSE(attempt([](Roster& r) { r.groups[0].seats[0].standing = Standing::starting; }));
    EXPECT_FALSE(attempt([](Roster& r) { r.groups[0].seats.resize(voter::replicas_max + 1); }));
    EXPECT_FALSE(attempt([](Roster& r) { r.groups.push_back(r.groups[0]); }));
    EXPECT_EQ(read_roster(file)->epoch, 1u);
    const auto stays = attempt([](Roster& r) { r.epoch = 0; });
    ASSERT_TRUE(stays);
    EXPECT_EQ(stays->epoch, 2u);
}

TEST(Roster, MalformedIsAnErrorThatNamesTheFile) {
    ASSERT_TRUE(read_text(sound)) << read_text(sound).error();
    EXPECT_EQ(read_text(sound)->epoch, 7u);
    const std::vector<std::string> spoilt = {
        "",
        "{}",
        "[]",
        "null",
        sound.substr(0, sound.size() / 2),
        sound + "x",
        with(sound, "\"version\": 1", "\"version\": 2"),
        with(sound, "\"version\": 1", "\"version\": 0"),
        with(sound, "\"epoch\": 7", "\"epoch\": -7"),
        with(sound, "\"epoch\": 7", "\"epoch\": 7.5"),
        with(sound, "\"epoch\": 7", "\"epoch\": \"7\""),
        with(sound, "\"epoch\": 7,", ""),
        with(sound, "\"epoch\": 7", "\"epoch\": 7, \"colour\": 1"),
        with(sound, "\"next_incarnation\": 5", "\"next_incarnation\": 4294967296"),
        with(sound, "\"next_incarnation\": 5", "\"next_incarnation\": 0"),
        with(sound, "\"next_incarnation\": 5", "\"next_incarnation\": 4"),
        with(sound, "\"group\": \"dns\"", "\"group\": \"\""),
        with(sound, "lagging", "limping"),
        with(sound, "\"place\": \"a\"", "\"place\": \"c\""),
        with(sound, "\"port\": \"veth:x\"", "\"port\": null"),
        with(sound, "\"port\": \"veth:x\",", ""),
        with(sound, "\"reason\": \"\"", "\"reason\": \"\", \"other\": 1"),
        with(sound, "\"incarnation\": 0, \"standing\": \"absent\"",
             "\"incarnation\": 4, \"standing\": \"absent\""),
        with(sound, "\"incarnation\": 4", "\"incarnation\": 0"),
    };
    for (const std::string& text : spoilt) {
        const auto roster = read_text(text);
        ASSERT_FALSE(roster) << text;
        EXPECT_NE(roster.error().find("roster.json"), std::string::npos) << roster.error();
    }
}

TEST(Roster, MalformedIsNeverWrittenOver) {
    test::TemporaryDirectory directory;
    const auto file = directory / "roster.json";
    std::ofstream(file) << "{";
    EXPECT_FALSE(update_roster(file, seat_somebody));
    EXPECT_EQ(std::filesystem::file_size(file), 1u);
}

TEST(Roster, IncarnationsEndRatherThanRepeat) {
    Roster roster;
    EXPECT_EQ(allocate_incarnation(roster).value, 1u);
    EXPECT_EQ(allocate_incarnation(roster).value, 2u);
    constexpr auto most = std::numeric_limits<std::uint32_t>::max();
    roster.next_incarnation = most - 1;
    EXPECT_EQ(allocate_incarnation(roster).value, most - 1);
    EXPECT_EQ(allocate_incarnation(roster).value, 0u);
    EXPECT_EQ(allocate_incarnation(roster).value, 0u);
    EXPECT_EQ(flaw_of(roster), "");
}

TEST(Roster, WritersTakeTurns) {
    test::TemporaryDirectory directory;
    const auto file = directory / "roster.json";
    constexpr unsigned writers = 4;
    constexpr unsigned rounds = 15;
    std::vector<std::set<std::uint32_t>> given(writers);
    {
        std::vector<std::jthread> threads;
        for (unsigned w = 0; w < writers; ++w) {
            threads.emplace_back([&, w] {
                for (unsigned i = 0; i < rounds; ++i) {
                    const auto done = update_roster(file, [&](Roster& roster) {
                        given[w].insert(allocate_incarnation(roster).value);
                        return std::string();
                    });
                    ASSERT_TRUE(done) << done.error();
                }
            });
        }
    }
    std::set<std::uint32_t> all;
    for (const auto& some : given) all.insert(some.begin(), some.end());
    EXPECT_EQ(all.size(), writers * rounds);
    EXPECT_EQ(read_roster(file)->epoch, writers * rounds);
}

// A writer that is killed at any instant, over and over: the file always reads, and neither the
// epoch nor the incarnations ever go back behind what the writer was told is durable.
TEST(Roster, SurvivesAWriterKilledAtRandom) {
    test::TemporaryDirectory directory;
    const auto file = directory / "roster.json";
    std::mt19937 random(20'071);
    std::uint64_t epoch = 0;
    unsigned progressed = 0;
    // A loaded machine gives the writer less: then it is tried more often.
    for (unsigned round = 0; round < 60 || (progressed <= 30 && round < 1'000); ++round) {
        int told[2];
        ASSERT_EQ(::pipe(told), 0);
        const pid_t writer = ::fork();
        ASSERT_GE(writer, 0);
        if (writer == 0) {
            for (;;) {
                const auto done = update_roster(file, [](Roster& roster) {
                    GroupRoster& group = roster.group_of("dns", 3);
                    for (Seat& seat : group.seats) {
                        seat = {allocate_incarnation(roster), Standing::starting, Place::a,
                                std::string(roster.epoch % 3'000, 'p'), "killed sometimes"};
                    }
                    return std::string();
                });
                if (!done) ::_exit(1);
                if (::write(told[1], &done->epoch, sizeof done->epoch) < 0) ::_exit(2);
            }
        }
        ::close(told[1]);
        // pause: the random instant of the kill is what is tested.
        std::this_thread::sleep_for(
            std::chrono::microseconds(std::uniform_int_distribution<int>(300, 6'000)(random)));
        ::kill(writer, SIGKILL);
        int status = 0;
        ASSERT_EQ(::waitpid(writer, &status, 0), writer);
        ASSERT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself: " << status;
        std::uint64_t durable = epoch;
        while (::read(told[0], &durable, sizeof durable) == sizeof durable) {
        }
        ::close(told[0]);

        const auto roster = read_roster(file);
        ASSERT_TRUE(roster) << roster.error();
        ASSERT_GE(roster->epoch, durable);
        ASSERT_LE(roster->epoch, durable + 1) << "one write at most was not told of";
        ASSERT_EQ(roster->next_incarnation, 1 + 3 * roster->epoch);
        progressed += roster->epoch > epoch;
        epoch = roster->epoch;
    }
    EXPECT_GT(progressed, 30u) << "the writer was hardly ever killed in the middle of writing";
}

}  // namespace
}  // namespace recovery
