// Real ports on a veth pair in a namespace of our own, and those that need no kernel.
#include <array>
#include <fstream>
#include <map>

#include <netinet/in.h>
#include <rte_ring.h>
#include <sys/resource.h>

#include "tests/unit/proxy/veth_fixture.hh"

namespace {

using namespace port_test;
using Kind = config::PortSpec::Kind;

TEST_F(Veth, EchoesThroughAfPacket) {
    auto port = proxy::open_port(spec(Kind::af_packet, "qa"), 1, Environment::pool());
    ASSERT_TRUE(port) << port.error();
    EXPECT_TRUE(port->multi_segment_tx);
    EXPECT_EQ(port->mtu, 1500);
    ASSERT_EQ(port->wake_descriptors.size(), 1u);
    const Peer peer("qb");
    for (const std::size_t size : {60u, 256u, 1514u}) {
        peer.send(frame(size, 1));
        rte_mbuf* packet = receive(*port);
        ASSERT_NE(packet, nullptr) << size;
        EXPECT_EQ(bytes_of(packet), frame(size, 1));
        ASSERT_EQ(port->data.tx_burst(0, &packet, 1), 1);
        EXPECT_EQ(peer.receive(), frame(size, 1));
    }
    proxy::close_port(*port);
}

// The kernel would reassemble them into more than a frame of the ring holds, and cut that.
TEST_F(Veth, FragmentsArriveAsTheyWereSent) {
    ASSERT_TRUE(
        run("ip addr add 10.9.0.1/24 dev qb && ip neigh add 10.9.0.2 lladdr "
            "02:00:00:00:00:02 dev qb"));
    auto port = proxy::open_port(spec(Kind::af_packet, "qa"), 1, Environment::pool());
    ASSERT_TRUE(port) << port.error();
    const int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(53);
    to.sin_addr.s_addr = htonl(0x0a090002);
    const std::vector<char> datagram(4000, 'y');
    ASSERT_EQ(sendto(udp, datagram.data(), datagram.size(), 0, reinterpret_cast<sockaddr*>(&to),
                     sizeof to),
              static_cast<ssize_t>(datagram.size()));
    close(udp);
    std::vector<std::size_t> sizes;
    eventually([&] {
        rte_mbuf* packet = nullptr;
        if (port->data.rx_burst(0, &packet, 1) == 0) return false;
        const auto bytes = bytes_of(packet);
        if (bytes.at(12) == 8 && bytes.at(13) == 0) sizes.push_back(bytes.size());
        rte_pktmbuf_free(packet);
        return sizes.size() == 3;
    });
    EXPECT_EQ(sizes, (std::vector<std::size_t>{1514, 1514, 1082}));
    proxy::close_port(*port);
}

// The kernel takes a tag out and the driver puts it back.
TEST_F(Veth, VlanTagsPassBothWays) {
    auto port = proxy::open_port(spec(Kind::af_packet, "qa"), 1, Environment::pool());
    ASSERT_TRUE(port) << port.error();
    const Peer peer("qb");
    auto tagged = frame(100, 3);
    const std::uint8_t tag[] = {0x81, 0x00, 0xa0, 0x64, 0x88, 0xb5};  // priority 5, VLAN 100
    std::copy(std::begin(tag), std::end(tag), tagged.begin() + 12);
    peer.send(tagged);
    rte_mbuf* got = nullptr;
    ASSERT_TRUE(eventually([&] { return port->data.rx_burst(0, &got, 1) == 1; }));
    EXPECT_EQ(bytes_of(got), tagged);
    ASSERT_EQ(port->data.tx_burst(0, &got, 1), 1);
    // Our peer sees it without its tag, as plain packet sockets do.
    auto bare = tagged;
    bare.erase(bare.begin() + 12, bare.begin() + 16);
    EXPECT_EQ(peer.receive(), bare);
    proxy::close_port(*port);
}

// Clones by reference: a private header and a shared payload leave as one frame.
TEST_F(Veth, SeveralSegmentsLeaveAsOneFrame) {
    auto port = proxy::open_port(spec(Kind::af_packet, "qa"), 1, Environment::pool());
    ASSERT_TRUE(port) << port.error();
    ASSERT_TRUE(port->multi_segment_tx);
    const Peer peer("qb");
    const auto whole = frame(1000, 9);
    rte_mbuf* head = packet({whole.begin(), whole.begin() + 42});
    rte_mbuf* rest = packet({whole.begin() + 42, whole.end()});
    ASSERT_EQ(rte_pktmbuf_chain(head, rest), 0);
    ASSERT_EQ(port->data.tx_burst(0, &head, 1), 1);
    EXPECT_EQ(peer.receive(), whole);
    proxy::close_port(*port);
}

// With two queues a flow stays on one of them, both ways, and flows spread.
TEST_F(Veth, QueuesShareByFlow) {
    auto port = proxy::open_port(spec(Kind::af_packet, "qa"), 2, Environment::pool());
    ASSERT_TRUE(port) << port.error();
    ASSERT_EQ(port->rx_queues, 2);
    ASSERT_EQ(port->wake_descriptors.size(), 2u);
    const Peer peer("qb");
    const auto udp = [](std::uint16_t from, std::uint16_t to, std::uint8_t a, std::uint8_t b) {
        std::vector<std::uint8_t> f(60, 0);
        f[0] = f[6] = 2;
        f[12] = 8;
        f[14] = 0x45;
        f[17] = 46;
        f[22] = 64;
        f[23] = 17;
        f[26] = f[30] = 10;
        f[29] = a;
        f[33] = b;
        f[34] = static_cast<std::uint8_t>(from >> 8);
        f[35] = static_cast<std::uint8_t>(from);
        f[36] = static_cast<std::uint8_t>(to >> 8);
        f[37] = static_cast<std::uint8_t>(to);
        f[39] = 26;
        return f;
    };
    std::map<std::uint16_t, std::array<unsigned, 2>> seen;  // client port -> frames by queue
    for (std::uint16_t client = 1000; client < 1064; ++client) {
        peer.send(udp(client, 53, 1, 2));
        peer.send(udp(53, client, 2, 1));
    }
    unsigned received = 0;
    eventually([&] {
        for (std::uint16_t queue = 0; queue < 2; ++queue) {
            rte_mbuf* packet = nullptr;
            while (port->data.rx_burst(queue, &packet, 1) == 1) {
                const auto bytes = bytes_of(packet);
                rte_pktmbuf_free(packet);
                if (bytes.at(12) != 8 || bytes.at(13) != 0) continue;
                const auto from = static_cast<std::uint16_t>(bytes[34] << 8 | bytes[35]);
                const auto to = static_cast<std::uint16_t>(bytes[36] << 8 | bytes[37]);
                ++seen[from == 53 ? to : from][queue];
                ++received;
            }
        }
        return received >= 128;
    });
    EXPECT_EQ(received, 128u);
    std::array<unsigned, 2> flows{};
    for (const auto& [client, by_queue] : seen) {
        EXPECT_TRUE(by_queue[0] == 0 || by_queue[1] == 0) << client;
        ++flows[by_queue[0] == 0 ? 1 : 0];
    }
    EXPECT_GT(flows[0], 8u);
    EXPECT_GT(flows[1], 8u);
    proxy::close_port(*port);
}

// What the host's own stack sends there is not ours to see.
TEST_F(Veth, HostsOwnPacketsAreNotReceived) {
    auto port = proxy::open_port(spec(Kind::af_packet, "qa"), 1, Environment::pool());
    ASSERT_TRUE(port) << port.error();
    const Peer host("qa");
    const Peer peer("qb");
    host.send(frame(60, 9));
    EXPECT_EQ(peer.receive(), frame(60, 9));
    peer.send(frame(60, 7));
    rte_mbuf* packet = receive(*port);
    ASSERT_NE(packet, nullptr);
    EXPECT_EQ(bytes_of(packet), frame(60, 7));
    rte_pktmbuf_free(packet);
    proxy::close_port(*port);
}

TEST_F(Veth, FramesThatFoundNoRoomAreCounted) {
    auto small = spec(Kind::af_packet, "qa");
    small.options = {{"framecnt", "64"}};
    auto port = proxy::open_port(small, 1, Environment::pool());
    ASSERT_TRUE(port) << port.error();
    const Peer peer("qb");
    discard(*port);
    EXPECT_EQ(proxy::take_missed(*port), 0u);
    for (int i = 0; i < 100; ++i) peer.send(frame(60, 7));
    EXPECT_GE(proxy::take_missed(*port), 36u);
    EXPECT_EQ(proxy::take_missed(*port), 0u);
    discard(*port);
    proxy::close_port(*port);
}

TEST_F(Veth, InterfaceThatVanishesIsSeen) {
    auto port = proxy::open_port(spec(Kind::af_packet, "qa"), 1, Environment::pool());
    ASSERT_TRUE(port) << port.error();
    EXPECT_EQ(proxy::interface_state(*port), proxy::InterfaceState::up);
    ASSERT_TRUE(run("ip link set qa down"));
    EXPECT_EQ(proxy::interface_state(*port), proxy::InterfaceState::down);
    ASSERT_TRUE(run("ip link set qa up"));
    EXPECT_EQ(proxy::interface_state(*port), proxy::InterfaceState::up);
    ASSERT_TRUE(run("ip link del qb"));
    EXPECT_EQ(proxy::interface_state(*port), proxy::InterfaceState::gone);
    // Another of its name is another interface.
    make_pair("");
    EXPECT_EQ(proxy::interface_state(*port), proxy::InterfaceState::gone);
    // Sending into the void neither blocks nor leaks: the environment counts packets.
    for (int i = 0; i < 2000; ++i) {
        rte_mbuf* one = packet(frame(60, 1));
        if (port->data.tx_burst(0, &one, 1) == 0) rte_pktmbuf_free(one);
    }
    proxy::close_port(*port);
    auto fresh = proxy::open_port(spec(Kind::af_packet, "qa"), 1, Environment::pool());
    EXPECT_TRUE(fresh) << fresh.error();
    if (fresh) proxy::close_port(*fresh);
}

std::size_t resident_kb() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmRSS:")) return std::stoul(line.substr(6));
    }
    return 0;
}

std::size_t descriptor_count() {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator("/proc/self/fd")) {
        ++count;
    }
    return count;
}

// Each cycle waits for the kernel for about 0.1 s: 40 in the suite, QUORATE_CYCLES=200 by hand.
TEST_F(Veth, OpensAndClosesWithoutLeaks) {
    const char* wanted = std::getenv("QUORATE_CYCLES");
    const int cycles = wanted != nullptr ? std::atoi(wanted) : 40;
    auto small = spec(Kind::af_packet, "qa");
    small.options = {{"framecnt", "64"}};
    const auto cycle = [&] {
        auto port = proxy::open_port(small, 1, Environment::pool());
        ASSERT_TRUE(port) << port.error();
        EXPECT_LT(port->data.id, 2);
        discard(*port);
        proxy::close_port(*port);
    };
    for (int i = 0; i < 8; ++i) cycle();
    const std::size_t descriptors = descriptor_count();
    [[maybe_unused]] const std::size_t resident = resident_kb();
    for (int i = 0; i < cycles; ++i) cycle();
    EXPECT_EQ(descriptor_count(), descriptors);
#ifndef QUORATE_ADDRESS_SANITIZER  // it keeps what was freed for a while, and finds leaks itself
    EXPECT_LT(resident_kb(), resident + 1024);
#endif
}

// A port that cannot be opened leaves nothing either.
TEST_F(Veth, FailedOpenLeavesNothing) {
    auto impossible = spec(Kind::af_packet, "qa");
    impossible.options = {{"framecnt", "1"}};
    const auto once = [&] {
        const auto port = proxy::open_port(impossible, 1, Environment::pool());
        EXPECT_FALSE(port);
    };
    once();
    const std::size_t descriptors = descriptor_count();
    for (int i = 0; i < 20; ++i) once();
    EXPECT_EQ(descriptor_count(), descriptors);
}

TEST(Errors, SayWhatToDo) {
    if (!no_namespace().empty()) GTEST_SKIP() << no_namespace();
    const auto missing = proxy::open_port(spec(Kind::af_packet, "qc0"), 1, Environment::pool());
    ASSERT_FALSE(missing);
    EXPECT_NE(missing.error().find("interface qc0 does not exist in this network namespace"),
              std::string::npos)
        << missing.error();
    const auto file = proxy::open_port(spec(Kind::pcap, "/nowhere.pcap"), 1, Environment::pool());
    ASSERT_FALSE(file);
    EXPECT_NE(file.error().find("/nowhere.pcap cannot be read"), std::string::npos) << file.error();
}

TEST(Ring, PassesPacketsBothWays) {
    auto pair = proxy::open_ring_pair("r0", 64, Environment::pool());
    ASSERT_TRUE(pair) << pair.error();
    rte_mbuf* sent = packet(frame(64, 3));
    ASSERT_EQ(rte_ring_enqueue(pair->far.to_port, sent), 0);
    rte_mbuf* got = nullptr;
    ASSERT_EQ(pair->port.data.rx_burst(0, &got, 1), 1);
    EXPECT_EQ(got, sent);
    ASSERT_EQ(pair->port.data.tx_burst(0, &got, 1), 1);
    void* back = nullptr;
    ASSERT_EQ(rte_ring_dequeue(pair->far.from_port, &back), 0);
    EXPECT_EQ(back, sent);
    // What is left in a ring goes with the port: the environment counts packets at the end.
    ASSERT_EQ(rte_ring_enqueue(pair->far.to_port, sent), 0);
    EXPECT_FALSE(proxy::open_ring_pair("r0", 64, Environment::pool()));
    proxy::close_port(pair->port);
    auto again = proxy::open_port(spec(Kind::ring, "r0"), 4, Environment::pool());
    ASSERT_TRUE(again) << again.error();
    EXPECT_NE(proxy::ring_far_end("r0").from_port, nullptr);
    proxy::close_port(*again);
    EXPECT_EQ(proxy::ring_far_end("r0").from_port, nullptr);
}

// The last one, for it lowers a limit for good.
class VethAtLast : public Veth {};

// Who may lock little memory gets shorter rings, and is told.
TEST_F(VethAtLast, RingsFitTheLimitOfLockedMemory) {
    rlimit before{};
    getrlimit(RLIMIT_MEMLOCK, &before);
    const rlimit little{1 << 20, before.rlim_max};
    const rlimit tight{1 << 20, 1 << 20};
    const bool bound = geteuid() != 0 || in_user_namespace();
    if (!bound) GTEST_SKIP() << "root may lock as much as there is";
    // The soft limit is raised by ourselves.
    setrlimit(RLIMIT_MEMLOCK, &little);
    auto port = proxy::open_port(spec(Kind::af_packet, "qa"), 1, Environment::pool());
    ASSERT_TRUE(port) << port.error();
    EXPECT_TRUE(port->notes.empty());
    proxy::close_port(*port);
    setrlimit(RLIMIT_MEMLOCK, &tight);
    port = proxy::open_port(spec(Kind::af_packet, "qa"), 1, Environment::pool());
    ASSERT_TRUE(port) << port.error();
    ASSERT_EQ(port->notes.size(), 1u);
    EXPECT_NE(port->notes[0].find("have 256 packets instead of 1024"), std::string::npos)
        << port->notes[0];
    proxy::close_port(*port);
    const rlimit none{4096, 4096};
    setrlimit(RLIMIT_MEMLOCK, &none);
    port = proxy::open_port(spec(Kind::af_packet, "qa"), 1, Environment::pool());
    ASSERT_FALSE(port);
    EXPECT_NE(port.error().find("ulimit -l"), std::string::npos) << port.error();
}

}  // namespace
