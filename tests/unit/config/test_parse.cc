// What a right configuration becomes: the example that users read, and the defaults of a short one.
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "config/config.hh"

namespace {

using namespace config;

const char* const short_one = R"(
[client]
ports = ["veth:qc0"]
[[group]]
name = "g"
[[group.replica]]
name = "a"
place_a = "veth:ra"
[[group.replica]]
name = "b"
place_a = "veth:rb"
[[group.replica]]
name = "c"
place_a = "veth:rc"
[[service]]
name = "s"
group = "g"
addresses = ["192.0.2.1"]
port = 7
matcher = "0:4"
)";

Config right(const std::string& text) {
    auto parsed = parse(text, "test.toml");
    EXPECT_TRUE(parsed.has_value()) << parsed.error().text();
    return parsed.value_or(Config{});
}

std::string example() {
    std::ifstream in(EXAMPLE_TOML);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
}

TEST(Example, IsRightAndSaysWhatItSays) {
    const Config config = right(example());
    EXPECT_EQ(config.name, "example");
    EXPECT_EQ(config.control_socket(), "/run/quorate/example/control.sock");
    EXPECT_EQ(config.control_mode, 0600u);
    EXPECT_EQ(config.cpus, std::vector<unsigned>{0});
    ASSERT_EQ(config.client_ports.size(), 1u);
    EXPECT_EQ(config.client_ports[0].text(), "veth:qc0");
    EXPECT_EQ(config.gateway->text(), "02:00:00:00:00:01");
    EXPECT_EQ(config.evidence.file_bytes, 16u << 20);

    ASSERT_EQ(config.groups.size(), 2u);
    const Group& dns = config.groups[0];
    EXPECT_EQ(dns.f, 1);
    EXPECT_EQ(dns.quorum, 2);
    EXPECT_EQ(dns.primary, 0);
    EXPECT_EQ(dns.accusation_window_ms, 10'000u);
    ASSERT_EQ(dns.replicas.size(), 3u);
    ASSERT_TRUE(dns.replicas[0].netns.has_value());
    const NetnsReplica& nsd = *dns.replicas[0].netns;
    EXPECT_EQ(nsd.command.size(), 4u);
    EXPECT_NE(nsd.files.at("nsd.conf").find("zonesdir: {dir}\n"), std::string::npos);
    EXPECT_EQ(nsd.environment.at("LC_ALL"), "C");
    EXPECT_TRUE(nsd.copies.at("example.zone").starts_with('/')) << "wherever we are started";
    ASSERT_TRUE(dns.replicas[2].xen.has_value());
    const XenReplica& named = *dns.replicas[2].xen;
    ASSERT_EQ(named.images.size(), 2u);
    EXPECT_TRUE(named.images[0].kernel.is_absolute());
    EXPECT_TRUE(named.images[0].disk.is_absolute());
    EXPECT_EQ(named.images[1].disk_sha256, named.images[0].disk_sha256);
    EXPECT_FALSE(named.images[0].scatter_gather);
    EXPECT_EQ(named.images[0].type, DomainType::pv);
    EXPECT_EQ(named.images[0].arguments, std::vector<std::string>{"-4"});
    EXPECT_EQ(named.images[1].type, DomainType::pvh);
    EXPECT_EQ(named.images[1].ramdisk_sha256, named.images[0].ramdisk_sha256);
    EXPECT_EQ(&named.image(voter::Incarnation{4}), &named.images[0]);
    EXPECT_EQ(&named.image(voter::Incarnation{5}), &named.images[1]);

    const Group& counter = config.groups[1];
    EXPECT_EQ(counter.f, 0) << "two of two mask nothing";
    EXPECT_EQ(counter.accusation.faults, 0u) << "the f that was worked out";
    EXPECT_EQ(dns.accusation.faults, 1u);
    EXPECT_EQ(counter.state, State::log);
    EXPECT_EQ(counter.log_bytes, 64u << 20);
    EXPECT_EQ(counter.replicas[0].place_b->text(), "veth:qr0b");
    EXPECT_EQ(counter.replicas[1].place_a->kind, PortSpec::Kind::memif);
    EXPECT_EQ(counter.replicas[1].place_a->options[1].second, "server");

    ASSERT_EQ(config.services.size(), 2u);
    const Service& service = config.services[0];
    EXPECT_TRUE(service.is_dns);
    EXPECT_EQ(service.matcher.kind(), voter::MatcherKind::dns);
    EXPECT_EQ(service.comparator.kind(), voter::ComparatorKind::dns);
    EXPECT_TRUE(service.refuse.any && service.refuse.chaos && service.refuse.status &&
                service.refuse.opcodes);
    EXPECT_EQ(service.addresses[1].text(), "2001:db8::53");
    EXPECT_EQ(config.services[1].comparator.kind(), voter::ComparatorKind::mask);
    EXPECT_EQ(config.services[1].matcher.kind(), voter::MatcherKind::offset_length);
}

TEST(Example, OfEachServiceIsRight) {
    unsigned seen = 0;
    for (const auto& entry : std::filesystem::directory_iterator(EXAMPLES)) {
        const std::filesystem::path file = entry.path() / "quorate.toml";
        if (!std::filesystem::exists(file)) continue;
        const auto loaded = load(file, Machine{});
        EXPECT_TRUE(loaded.has_value()) << loaded.error().text();
        ++seen;
    }
    EXPECT_GE(seen, 2u);
}

TEST(StateDirectory, IsOneTextHoweverItIsWritten) {
    for (const char* written : {"/run/box", "/run/box/", "/run//x/../box/."}) {
        const Config config =
            right(std::string("[appliance]\nstate_dir = \"") + written + "\"\n" + short_one);
        EXPECT_EQ(config.state_dir.native(), "/run/box") << written;
    }
}

TEST(Defaults, AreThoseOfTheHeader) {
    const Config config = right(short_one);
    const Config made{};
    EXPECT_EQ(config.name, made.name);
    EXPECT_EQ(config.state_dir, "/run/quorate/quorate");
    EXPECT_EQ(config.evidence.directory, "/run/quorate/quorate/evidence");
    EXPECT_EQ(config.workers, made.workers);
    EXPECT_EQ(config.ballots_max, made.ballots_max);
    const Group group{};
    EXPECT_EQ(config.groups[0].deadline_ms, group.deadline_ms);
    EXPECT_EQ(config.groups[0].quorum, 2);
    EXPECT_EQ(config.groups[0].suspend, group.suspend);
    EXPECT_EQ(config.services[0].comparator.kind(), voter::ComparatorKind::bytes);
    EXPECT_FALSE(config.services[0].is_dns);
    EXPECT_EQ(config.group("g"), &config.groups[0]);
    EXPECT_EQ(config.group("h"), nullptr);
}

}  // namespace
