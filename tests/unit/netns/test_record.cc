#include <fstream>

#include <unistd.h>

#include "netns/record.hh"
#include "recovery/replica_record.hh"
#include "tests/unit/recovery/temporary_directory.hh"

namespace netns {
namespace {

Record sample() {
    Record record;
    record.name = {"dns", voter::ReplicaId{2}, voter::Incarnation{41}, recovery::Place::b};
    record.appliance = "edge";
    record.interface = "q1r2b";
    record.owner = *identify(::getpid());
    record.inside = {17, 1'234'567'890'123, "a boot"};
    record.phase = Phase::running;
    record.detail = "healthy since \"now\"";
    return record;
}

TEST(Record, PlaceNames) {
    const Paths paths{"/s/replicas"};
    const Record record = sample();
    EXPECT_EQ(recovery::place_name(record.name), "dns-2-b");
    EXPECT_EQ(paths.record(record.name), "/s/replicas/dns-2-b.json");
    EXPECT_EQ(paths.directory(record.name), "/s/replicas/dns-2-b");
    EXPECT_EQ(paths.log(record.name), "/s/replicas/dns-2-b.log");
}

TEST(Record, ReadsBackWhatWasWritten) {
    test::TemporaryDirectory directory;
    const Record record = sample();
    ASSERT_TRUE(write_record(directory / "r.json", record));
    const auto read = read_record(directory / "r.json");
    ASSERT_TRUE(read) << read.error();
    ASSERT_TRUE(*read);
    EXPECT_EQ((*read)->name.group, "dns");
    EXPECT_EQ((*read)->name.slot, record.name.slot);
    EXPECT_EQ((*read)->name.incarnation, record.name.incarnation);
    EXPECT_EQ((*read)->name.place, recovery::Place::b);
    EXPECT_EQ((*read)->appliance, "edge");
    EXPECT_EQ((*read)->interface, "q1r2b");
    EXPECT_EQ((*read)->owner, record.owner);
    EXPECT_EQ((*read)->inside, record.inside);
    EXPECT_EQ((*read)->phase, Phase::running);
    EXPECT_EQ((*read)->detail, record.detail);
}

TEST(Record, SpoiltOnesAreErrors) {
    test::TemporaryDirectory directory;
    const auto file = directory / "r.json";
    EXPECT_FALSE(read_record(file)->has_value());
    ASSERT_TRUE(write_record(file, sample()));
    std::string whole;
    std::getline(std::ifstream(file), whole, '\0');
    const std::vector<std::pair<std::string, std::string>> changes = {
        {"\"b\"", "\"c\""}, {"running", "walking"},      {"\"slot\": 2", "\"slot\": \"2\""},
        {"owner", "other"}, {"\"pid\": 17", "\"p\": 1"}, {"{", "["}};
    for (const auto& [from, to] : changes) {
        std::string text = whole;
        ASSERT_NE(text.find(from), std::string::npos) << from;
        std::ofstream(file) << text.replace(text.find(from), from.size(), to);
        const auto read = read_record(file);
        ASSERT_FALSE(read) << text;
        EXPECT_NE(read.error().find("r.json is not a replica's record"), std::string::npos);
    }
}

TEST(Record, FactsTellHowItIs) {
    Record record = sample();
    EXPECT_TRUE(record.facts().running);
    EXPECT_EQ(record.facts().port, "veth:q1r2b");
    EXPECT_EQ(record.facts().detail, record.detail);
    record.phase = Phase::paused;
    EXPECT_TRUE(record.facts().running);
    EXPECT_EQ(record.facts().detail, "paused; " + record.detail);
    record.phase = Phase::starting;
    EXPECT_FALSE(record.facts().running);
    record.phase = Phase::ended;
    EXPECT_FALSE(record.facts().running);
    EXPECT_EQ(record.facts().detail, record.detail);
    record.phase = Phase::running;
    record.owner.start += 1;
    EXPECT_FALSE(record.facts().running);
    EXPECT_NE(record.facts().detail.find("was killed while it was running"), std::string::npos);
}

TEST(Records, AllInOrderAndNothingElse) {
    test::TemporaryDirectory directory;
    const Paths paths{directory / "replicas"};
    EXPECT_TRUE(read_records(paths)->empty());  // no such directory
    std::filesystem::create_directory(paths.replicas);
    std::filesystem::create_directory(paths.replicas / "dns-2-b");
    std::ofstream(paths.replicas / "dns-2-b.log") << "x";
    std::ofstream(paths.replicas / "dns-2-b.json.tmp") << "{";
    Record record = sample();
    ASSERT_TRUE(write_record(paths.record(record.name), record));
    record.name.slot.value = 0;
    ASSERT_TRUE(write_record(paths.record(record.name), record));
    std::ofstream(paths.replicas / "dns-2-a.json.tmp") << "{";
    const auto all = read_records(paths);
    ASSERT_TRUE(all) << all.error();
    ASSERT_EQ(all->size(), 2u);
    EXPECT_EQ((*all)[0].name.slot.value, 0u);
    EXPECT_EQ((*all)[1].name.slot.value, 2u);
    std::ofstream(paths.replicas / "x.json") << "{}";
    EXPECT_FALSE(read_records(paths));
}

TEST(TakeOver, OnlyOfThePlaceThatWasPrepared) {
    test::TemporaryDirectory directory;
    const auto file = directory / "r.json";
    Record prepared = sample();
    prepared.phase = Phase::preparing;
    const ProcessIdentity self{99, 1, "b"};

    Record mine = prepared;
    EXPECT_FALSE(take_over(file, mine, self)) << "cleaned up meanwhile";
    EXPECT_FALSE(std::filesystem::exists(file));

    const auto refuses = [&](auto&& change) {
        Record there = prepared;
        change(there);
        EXPECT_TRUE(write_record(file, there));
        mine = prepared;
        EXPECT_FALSE(take_over(file, mine, self));
        EXPECT_EQ((**read_record(file)).owner, there.owner) << "somebody else's was changed";
    };
    refuses([](Record& record) { record.name.incarnation.value += 1; });
    refuses([](Record& record) { record.owner.start += 1; });
    refuses([](Record& record) { record.phase = Phase::starting; });

    ASSERT_TRUE(write_record(file, prepared));
    mine = prepared;
    const auto done = take_over(file, mine, self);
    ASSERT_TRUE(done) << done.error();
    EXPECT_EQ((**read_record(file)).owner, self);
    EXPECT_EQ((**read_record(file)).phase, Phase::starting);
    EXPECT_EQ(mine.owner, self);
}

TEST(Spec, ReadsBackWhatWasWritten) {
    Spec spec;
    spec.record = sample();
    spec.record_file = "/r.json";
    spec.directory = "/r";
    spec.log_file = "/r.log";
    spec.command = {"a", "b \"c\"", ""};
    spec.health = {"h"};
    spec.environment = {{"A", "1"}, {"B", ""}};
    spec.cpus = {0, 3};
    spec.user = "u";
    spec.addresses = {"10.0.0.1", "fd00::1"};
    spec.health_timeout_ms = 4'000'000'000u;
    const auto read = parse_spec(to_text(spec));
    ASSERT_TRUE(read) << read.error();
    EXPECT_EQ(read->record.owner, spec.record.owner);
    EXPECT_EQ(read->record_file, spec.record_file);
    EXPECT_EQ(read->directory, spec.directory);
    EXPECT_EQ(read->log_file, spec.log_file);
    EXPECT_EQ(read->command, spec.command);
    EXPECT_EQ(read->health, spec.health);
    EXPECT_EQ(read->environment, spec.environment);
    EXPECT_EQ(read->cpus, spec.cpus);
    EXPECT_EQ(read->user, spec.user);
    EXPECT_EQ(read->addresses, spec.addresses);
    EXPECT_EQ(read->health_timeout_ms, spec.health_timeout_ms);
    EXPECT_FALSE(parse_spec("{}"));
    EXPECT_FALSE(parse_spec(""));
    spec.command.clear();
    EXPECT_FALSE(parse_spec(to_text(spec)));
}

}  // namespace
}  // namespace netns
