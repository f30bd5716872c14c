// Groups with state through the real worker: named cases, then seeds. What must hold whatever
// happens: no reply is wrong (its count is the order in which its request was logged) or
// contradictory; honest replicas are never blamed for what a crash of ours did; afterwards
// everybody comes to have the same state again, with no more help than restarts of those that were
// reported.
#include <gtest/gtest.h>

#include "tests/unit/proxy/port_fixture.hh"
#include "tests/unit/proxy/stateful_world.hh"

namespace {

using namespace stateful_test;
using proxy::CrashPoint;
using proxy::Event;
using recovery::Standing;
using Manner = Replica::Manner;

// The answer to a request that is not lost takes no longer.
constexpr unsigned soon = 12;

class Ports : public ::testing::Environment {
  public:
    void SetUp() override { rings(); }
    void TearDown() override {
        proxy::close_port(rings().client.port);
        for (auto& pair : rings().replicas) proxy::close_port(pair.port);
        rte_mempool_free(rings().jumbos);
    }
};
// After the environment that starts DPDK, which the header registers first.
::testing::Environment* const ports = ::testing::AddGlobalTestEnvironment(new Ports);

std::uint64_t count_of(const World& world, std::uint64_t number) {
    const auto found = world.replies().find(number);
    return found == world.replies().end() ? 0 : found->second;
}

TEST(Logged, GivesEachRequestToAllAndAnswersOnce) {
    World world(1, {});
    for (std::uint64_t number = 1; number <= 100; ++number) {
        world.ask(number);
        world.turn();
    }
    world.turns(soon);
    EXPECT_EQ(world.replies().size(), 100u);
    EXPECT_EQ(world.replies_count(), 100u);
    EXPECT_EQ(count_of(world, 100), 100u);
    EXPECT_EQ(world.wrong(), 0u);
    for (unsigned slot = 0; slot < 3; ++slot) EXPECT_EQ(world.replicas[slot].count, 100u);
    EXPECT_EQ(world.counters().replayed.get(), 0u);
    EXPECT_EQ(world.trouble(), "");
}

TEST(Logged, AnswersARepetitionFromTheLogAlsoAfterACrash) {
    World world(2, {});
    world.ask(7);
    world.turns(soon);
    world.ask(7);
    world.turns(soon);
    EXPECT_EQ(world.replies_count(), 2u);
    EXPECT_EQ(world.counters().repeated.get(), 1u);
    world.kill_between_turns();
    world.ask(7);
    world.turns(soon);
    EXPECT_EQ(world.replies_count(), 3u);
    EXPECT_EQ(count_of(world, 7), 1u);
    EXPECT_EQ(world.log().next_order(), 2u);
    // After a while it is a request of its own.
    world.pass_time(deadline * proxy::repeats_for_deadlines);
    world.ask(7);
    world.turns(soon);
    EXPECT_EQ(world.log().next_order(), 3u);
    EXPECT_EQ(world.replicas[0].count, 2u);
}

TEST(Logged, FeedsASlowReplicaFromTheLog) {
    World world(3, {});
    world.replicas[2].paused = true;
    for (std::uint64_t number = 1; number <= 200; ++number) {
        world.ask(number);
        world.turn();
        if (number == 60) {
            // Its port and its window are full; nobody has been told yet.
            EXPECT_EQ(world.replicas[2].standing, Standing::admitted);
            EXPECT_EQ(count_of(world, 50), 50u);
        }
    }
    world.turns(400);  // long enough to be reported
    EXPECT_EQ(world.replicas[2].standing, Standing::lagging);
    world.replicas[2].paused = false;
    world.turns(200);
    EXPECT_EQ(world.replicas[2].count, 200u);
    EXPECT_EQ(world.replicas[2].standing, Standing::admitted);
    EXPECT_EQ(world.count_events(Event::Kind::caught_up), 1u);
    EXPECT_EQ(world.dissent(2), 0u);
    EXPECT_EQ(world.replies().size(), 200u);
    EXPECT_EQ(world.wrong(), 0u);
    EXPECT_EQ(world.trouble(), "");
}

TEST(Logged, FindsWhoMissedARequestAndBringsItsSuccessorUp) {
    World world(4, {});
    world.replicas[1].manner = Manner::lossy;
    world.loss_percent = 100;
    world.ask(1);
    world.turn();
    world.turn();
    world.replicas[1].manner = Manner::honest;
    // Before the deadline of the first: its different answer is not held against it.
    world.ask(2);
    world.turns(soon);
    EXPECT_EQ(world.dissent(1), 0u);
    EXPECT_EQ(world.log().marks({1}).doubt, 1u);
    world.ask(3);
    world.turns(soon);
    EXPECT_EQ(world.replicas[1].standing, Standing::lagging);
    EXPECT_EQ(world.last_event().why, Event::Why::differs);
    world.turns(100);
    EXPECT_EQ(world.replicas[1].standing, Standing::admitted);
    EXPECT_EQ(world.replicas[1].count, 3u);
    EXPECT_EQ(world.count_events(Event::Kind::suspect), 0u);
    EXPECT_EQ(count_of(world, 3), 3u);
}

TEST(Logged, DoesNotAdmitWhoReplaysDifferently) {
    Settings settings;
    settings.operator_restarts = false;
    World world(5, settings);
    for (std::uint64_t number = 1; number <= 50; ++number) {
        world.ask(number);
        world.turn();
    }
    world.turns(soon);
    world.replicas[0].manner = Manner::liar;
    world.restart(0);
    world.turns(200);
    EXPECT_EQ(world.replicas[0].standing, Standing::lagging);
    EXPECT_EQ(world.count_events(Event::Kind::replay_failed), 1u);
    EXPECT_EQ(world.last_event().why, Event::Why::differs);
    world.replicas[0].manner = Manner::silent;
    world.restart(0);
    world.turns(400);
    EXPECT_EQ(world.replicas[0].standing, Standing::lagging);
    EXPECT_EQ(world.last_event().why, Event::Why::silent);
    world.replicas[0].manner = Manner::honest;
    world.restart(0);
    world.turns(100);
    EXPECT_EQ(world.replicas[0].standing, Standing::admitted);
    EXPECT_EQ(world.replicas[0].count, 50u);
}

TEST(Logged, SaysWhenTheLogNoLongerReachesBack) {
    Settings settings;
    settings.operator_restarts = false;
    World world(6, settings);
    for (std::uint64_t number = 1; number <= 3000; ++number) {
        world.ask(number);
        world.turn();
    }
    world.turns(soon);
    EXPECT_EQ(world.replies().size(), 3000u);
    EXPECT_GT(world.log().first_order(), 1u);
    world.restart(2);
    world.turns(100);
    EXPECT_EQ(world.count_events(Event::Kind::replay_failed), 1u);
    EXPECT_EQ(world.last_event().why, Event::Why::overrun);
    EXPECT_EQ(world.replicas[2].standing, Standing::lagging);
    world.ask(5000);
    world.turns(soon);
    EXPECT_EQ(count_of(world, 5000), 3001u);
}

TEST(Logged, FinishesWhatHadSurelyNotLeft) {
    World world(7, {});
    world.ask(1);
    world.turns(soon);
    world.arm(CrashPoint::appended, 1);
    world.ask(2);
    world.turns(soon);
    EXPECT_FALSE(world.armed());
    EXPECT_EQ(count_of(world, 2), 0u);  // its ballot is gone
    for (unsigned slot = 0; slot < 3; ++slot) EXPECT_EQ(world.replicas[slot].count, 2u);
    world.ask(3);
    world.turns(soon);
    EXPECT_EQ(count_of(world, 3), 3u);
    for (unsigned slot = 0; slot < 3; ++slot) EXPECT_EQ(world.log().marks({0}).doubt, 0u);
    EXPECT_EQ(world.counters().replayed.get(), 3u);
}

// Killed while the second of three is being given the request: the third gets it, the second never
// again, and the next vote shows whether it has it.
TEST(Logged, NeverRepeatsAnUncertainDelivery) {
    unsigned missed = 0;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        World world(seed, {});
        world.ask(1);
        world.turns(soon);
        world.arm(CrashPoint::sent, 2);
        world.ask(2);
        ASSERT_TRUE(world.turn() || world.turn());
        world.turns(soon);
        EXPECT_EQ(world.log().marks({1}).doubt, 2u);
        EXPECT_EQ(world.replicas[0].count, 2u);
        EXPECT_EQ(world.replicas[2].count, 2u);
        const bool took_it = world.replicas[1].count == 2;
        missed += !took_it;
        world.ask(3);
        world.turns(soon);
        EXPECT_EQ(count_of(world, 3), 3u);
        if (took_it) {
            EXPECT_EQ(world.log().marks({1}).doubt, 0u) << seed;
            EXPECT_EQ(world.replicas[1].standing, Standing::admitted);
        } else {
            EXPECT_TRUE(world.replicas[1].standing == Standing::lagging ||
                        world.replicas[1].incarnation.value > 3);
        }
        world.turns(100);
        EXPECT_EQ(world.replicas[1].standing, Standing::admitted);
        EXPECT_EQ(world.replicas[1].count, 3u);
        EXPECT_EQ(world.dissent(1), 0u);
    }
    EXPECT_GT(missed, 3u);
    EXPECT_LT(missed, 17u);
}

// Two replicas that each missed a request agree with each other. They must not win.
TEST(Logged, HaltsRatherThanBelieveTwoInDoubt) {
    Settings settings;
    World world(8, settings);
    world.ask(1);
    world.turns(soon);
    // As if two crashes had each cost one of them its request.
    for (unsigned slot = 0; slot < 2; ++slot) {
        world.replicas[slot].count -= 1;
        world.log().marks({static_cast<std::uint8_t>(slot)}).intent = 1;
        world.log().marks({static_cast<std::uint8_t>(slot)}).delivered = 0;
    }
    world.kill_between_turns();
    world.ask(2);
    world.turns(60);
    EXPECT_EQ(count_of(world, 2), 0u);
    EXPECT_EQ(world.count_events(Event::Kind::halted), 1u);
    world.turns(300);  // the operator restarts those reported
    EXPECT_EQ(world.count_events(Event::Kind::resumed), 1u);
    EXPECT_FALSE(world.log().halted());
    world.ask(3);
    world.turns(soon);
    EXPECT_EQ(count_of(world, 3), 3u);
    for (unsigned slot = 0; slot < 3; ++slot) EXPECT_EQ(world.replicas[slot].count, 3u);
    EXPECT_EQ(world.trouble(), "");
}

TEST(Logged, StaysHaltedAcrossAKill) {
    Settings settings;
    settings.operator_restarts = false;
    World world(9, settings);
    world.ask(1);
    world.turns(soon);
    world.stop(2);
    world.replicas[1].count -= 1;
    world.log().marks({1}).delivered = 0;
    world.kill_between_turns();
    world.ask(2);
    world.turns(60);
    EXPECT_TRUE(world.log().halted());
    EXPECT_EQ(world.counters().halted.get(), 1u);
    world.kill_between_turns();
    world.ask(3);
    world.turns(60);
    EXPECT_EQ(world.replies().size(), 1u);
    EXPECT_GT(world.all_counters()
                  .dropped[static_cast<std::size_t>(wire::DropReason::group_halted)]
                  .get(),
              0u);
    world.restart(1);
    world.turns(100);
    EXPECT_FALSE(world.log().halted());
    world.ask(4);
    world.turns(soon);
    EXPECT_EQ(count_of(world, 4), 3u);
}

// A request of several fragments is given whole or not at all.
TEST(Logged, GivesLongRequestsInFragments) {
    World world(10, {});
    world.replicas[1].paused = true;
    for (std::uint64_t number = 1; number <= 12; ++number) {
        // What a fragment is, the simulated replicas do not know: they count whole ones only.
        world.ask(number, number % 2 == 0 ? 4000 : 8);
        world.turns(2);
    }
    EXPECT_EQ(world.log().next_order(), 13u);
    EXPECT_EQ(world.log().marks({0}).delivered, 12u);
    // Its ring of 15 took ones of 1 and 3 fragments: whole requests only.
    const std::uint64_t delivered = world.log().marks({1}).delivered;
    EXPECT_EQ(delivered, 7u);
    EXPECT_EQ(world.replicas[1].standing, Standing::admitted);
    world.ask(13, 12'000);  // needs more fragments than anybody reassembles
    world.turns(2);
    EXPECT_EQ(world.log().next_order(), 13u);
}

// --- seeds --------------------------------------------------------------------------------------

struct Totals {
    std::uint64_t scenarios = 0;
    std::uint64_t kills = 0;
    std::uint64_t replies = 0;
    std::uint64_t lagging = 0;
    std::uint64_t caught_up = 0;
    std::uint64_t halted = 0;
    std::array<std::uint64_t, proxy::crash_point_names.size()> at{};
};

// One life of a group: load, kills at any crash point, at most `quorum - 1` bad replicas; then
// healing.
void scenario(std::uint64_t seed, Totals& totals) {
    std::mt19937 random(static_cast<std::uint32_t>(seed));
    Settings settings;
    const unsigned kind = static_cast<unsigned>(random() % 8);
    settings.replicas = kind == 0 ? 5 : kind == 1 ? 2 : 3;
    settings.quorum = kind == 0 ? 3 : 2;
    settings.answer_turns_max = 1 + static_cast<unsigned>(random() % 5);
    World world(seed, settings);
    const unsigned bad = settings.replicas == 2 ? 0 : settings.quorum - 1;
    for (unsigned i = 0; i < bad; ++i) {
        if (random() % 2) continue;
        world.replicas[random() % settings.replicas].manner = static_cast<Manner>(1 + random() % 4);
        break;
    }
    world.loss_percent = 1 + static_cast<unsigned>(random() % 20);
    std::uint64_t number = 0;
    const unsigned length = 40 + static_cast<unsigned>(random() % 200);
    for (unsigned i = 0; i < length; ++i) {
        for (std::uint64_t n = random() % 4; n-- != 0;) {
            const bool again = number != 0 && world.chance(15);
            world.ask(again ? number - random() % std::min<std::uint64_t>(number, 5) : ++number);
        }
        if (!world.armed() && world.chance(5)) {
            const std::size_t where = random() % proxy::crash_point_names.size();
            world.arm(static_cast<CrashPoint>(where), 1 + random() % 10);
            totals.at[where] += 1;
        }
        if (world.chance(3)) {
            Replica& any = world.replicas[random() % settings.replicas];
            if (any.manner != Manner::honest) any.paused = !any.paused;
        }
        totals.kills += world.turn();
        if (world.chance(1)) {
            world.kill_between_turns();
            ++totals.kills;
        }
    }
    ASSERT_EQ(world.trouble(), "");
    ASSERT_EQ(world.wrong(), 0u) << "a wrong reply left";
    for (unsigned slot = 0; slot < settings.replicas; ++slot) {
        if (world.replicas[slot].manner == Manner::honest) {
            ASSERT_EQ(world.dissent(slot), 0u) << "an honest replica was blamed: " << slot;
        }
    }
    ASSERT_TRUE(world.heal(150)) << world.trouble();
    ASSERT_EQ(world.trouble(), "");
    ASSERT_EQ(world.wrong(), 0u) << "a wrong reply left while it healed";
    totals.scenarios += 1;
    totals.replies += world.replies().size();
    totals.lagging += world.count_events(Event::Kind::lagging);
    totals.caught_up += world.count_events(Event::Kind::caught_up);
    totals.halted += world.count_events(Event::Kind::halted);
}

TEST(Logged, SurvivesAnyKill) {
    const char* only = std::getenv("QUORATE_SEED");
    const std::uint64_t first = only != nullptr ? std::strtoull(only, nullptr, 10) : 1;
    const char* scenarios = std::getenv("QUORATE_SCENARIOS");
    const std::uint64_t last = only != nullptr        ? first
                               : scenarios != nullptr ? std::strtoull(scenarios, nullptr, 10)
                                                      : 300;
    Totals totals;
    for (std::uint64_t seed = first; seed <= last; ++seed) {
        scenario(seed, totals);
        ASSERT_FALSE(HasFatalFailure()) << "again with QUORATE_SEED=" << seed;
    }
    std::printf("%lu scenarios, %lu kills, %lu replies; lagging %lu, caught up %lu, halted %lu\n",
                totals.scenarios, totals.kills, totals.replies, totals.lagging, totals.caught_up,
                totals.halted);
    if (only != nullptr) return;
    EXPECT_GT(totals.kills, totals.scenarios);
    EXPECT_GT(totals.lagging, totals.scenarios / 20);
    EXPECT_GT(totals.halted, totals.scenarios / 100);
}

}  // namespace
