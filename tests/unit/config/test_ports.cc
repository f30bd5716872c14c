// Ports as text and back, and the names of places.
#include <set>

#include <gtest/gtest.h>

#include "config/config.hh"

namespace {

using namespace config;
using voter::ReplicaId;

TEST(Port, TextAndParseAreEachOthersInverse) {
    for (const char* text :
         {"veth:qc0", "af_xdp:eth0", "tap:t0", "memif:/run/m.sock", "memif:/m,id=3,role=client",
          "ring:r-1_x", "pcap:in.pcap", "pcap:in.pcap,out.pcap", "pci:0000:01:00.0", "pci:01:00.7",
          "pci:0000:01:00.0,rx=1,tx=2", "netback:web-1.a+b",
          "netback:d,type=vif,scatter-gather=on,segmentation=on"}) {
        const auto port = parse_port(text);
        ASSERT_TRUE(port.has_value()) << text << ": " << port.error().what;
        EXPECT_EQ(port->text(), text);
        EXPECT_EQ(parse_port(port->text()), *port);
    }
    EXPECT_EQ(parse_port("af_packet:qc0")->text(), "veth:qc0") << "two names of one kind";
    EXPECT_EQ(parse_port("pcap:a,b")->options[0].first, "out");
}

TEST(Port, TheSameThingInOtherWordsIsTheSame) {
    const auto same = [](const char* a, const char* b) {
        return parse_port(a)->resource() == parse_port(b)->resource();
    };
    EXPECT_TRUE(same("veth:e0", "af_xdp:e0"));
    EXPECT_FALSE(same("veth:e0", "veth:e1"));
    EXPECT_TRUE(same("memif:/m", "memif:/m,role=client,id=00"));
    EXPECT_FALSE(same("memif:/m", "memif:/m,id=10"));
    EXPECT_TRUE(same("pci:0A:00.0", "pci:0000:0a:00.0,x=1"));
    EXPECT_FALSE(same("pci:0A:00.0", "pci:0001:0a:00.0"));
    EXPECT_TRUE(same("netback:d", "netback:d,type=vif"));
    EXPECT_FALSE(same("ring:a", "tap:a"));
}

TEST(Port, NonsenseIsRefusedWithAFix) {
    for (const char* text : {"",
                             ":",
                             "veth",
                             "veth:",
                             "veth:a b",
                             "veth:.",
                             "veth:..",
                             "veth:a/b",
                             "veth:a:b",
                             "veth:0123456789abcdef",
                             "eth:e0",
                             "tap:t,",
                             "ring:",
                             "ring:a b",
                             "pcap:",
                             "pcap:a,",
                             "memif:/x,",
                             "memif:/x,id=",
                             "memif:/x,id=a",
                             "memif:/x,id=9999999999",
                             "memif:/x,role=",
                             "pci:0000:01:00.8",
                             "pci:000g:01:00.0",
                             "pci:0000:01:00.0,=1",
                             "pci:01:00.0,a=",
                             "netback:",
                             "netback:a/b",
                             "netback:d,type=other",
                             "netback:d,scatter-gather",
                             "netback:d,scatter-gather=1",
                             "netback:d,segmentation=yes",
                             "netback:d,mtu=9000",
                             "ring:r\n"}) {
        const auto port = parse_port(text);
        ASSERT_FALSE(port.has_value()) << text;
        EXPECT_FALSE(port.error().what.empty() || port.error().fix.empty()) << text;
    }
}

TEST(Place, OfANamespaceReplicaHasAStableNameThatFits) {
    Config config;
    config.name = "0123456789abcdef";
    config.groups.resize(groups_max);
    std::set<std::string> names;
    for (std::size_t group = 0; group < groups_max; ++group) {
        config.groups[group].replicas.resize(voter::replicas_max);
        for (std::uint8_t slot = 0; slot < voter::replicas_max; ++slot) {
            config.groups[group].replicas[slot].netns.emplace();
            for (const bool second : {false, true}) {
                const std::string name = place_interface(config, group, ReplicaId{slot}, second);
                EXPECT_LE(name.size(), 15u) << name;
                EXPECT_TRUE(names.insert(name).second) << name;
                EXPECT_EQ(place_port(config, group, ReplicaId{slot}, second)->text(),
                          "veth:" + name);
            }
        }
    }
    // Others rely on it: an adopted place must have the name it was made with.
    config.name = "quorate";
    EXPECT_EQ(place_interface(config, 0, ReplicaId{2}, false), "qfbf63eg0r2a");
    EXPECT_EQ(place_port(config, groups_max, ReplicaId{0}, false), std::nullopt);
    EXPECT_EQ(place_port(config, 0, ReplicaId{7}, false), std::nullopt);
}

TEST(Place, OfADomainIsInTheRoster) {
    Config config;
    config.groups.resize(1);
    config.groups[0].replicas.resize(1);
    config.name = "appliance";
    config.groups[0].name = "group";
    auto& images = config.groups[0].replicas[0].xen.emplace().images;
    images.resize(2);
    images[1].scatter_gather = true;
    EXPECT_EQ(place_port(config, 0, ReplicaId{0}, false), std::nullopt);
    const auto seat = [&](unsigned incarnation) {
        return seat_port(config, 0, ReplicaId{0}, true, voter::Incarnation{incarnation})->text();
    };
    EXPECT_EQ(seat(4), "netback:quorate-appliance-group-0-b-4");
    EXPECT_EQ(seat(5), "netback:quorate-appliance-group-0-b-5,scatter-gather=on") << "a variant";
}

TEST(Place, OfAnotherReplicaIsAsConfigured) {
    Config config;
    config.groups.resize(1);
    config.groups[0].replicas.resize(1);
    config.groups[0].replicas[0].place_a = *parse_port("tap:t");
    EXPECT_EQ(place_port(config, 0, ReplicaId{0}, false)->text(), "tap:t");
    EXPECT_EQ(place_port(config, 0, ReplicaId{0}, true), std::nullopt);
}

}  // namespace
