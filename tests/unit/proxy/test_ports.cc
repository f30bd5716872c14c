// Real ports on a veth pair in a namespace of our own, and those that need no kernel.
#include <chrono>
#include <numeric>
#include <thread>

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <rte_ring.h>
#include <sys/socket.h>

#include "port_fixture.hh"

namespace {

using namespace port_test;
using Kind = config::PortSpec::Kind;

// The other side of a veth pair, as a plain packet socket.
class Peer {
  public:
    explicit Peer(const char* interface) {
        fd_ = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
        sockaddr_ll address{};
        address.sll_family = AF_PACKET;
        address.sll_protocol = htons(ETH_P_ALL);
        address.sll_ifindex = static_cast<int>(if_nametoindex(interface));
        EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        const int on = 1;
        setsockopt(fd_, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
    }
    ~Peer() { close(fd_); }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;

    void send(const std::vector<std::uint8_t>& frame) const {
        EXPECT_EQ(::send(fd_, frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()));
    }
    // The next frame of our test type, or nothing within a second.
    std::vector<std::uint8_t> receive() const {
        for (int tries = 0; tries < 100; ++tries) {
            pollfd wait{fd_, POLLIN, 0};
            if (poll(&wait, 1, 1000) != 1) return {};
            std::vector<std::uint8_t> frame(65536);
            const ssize_t got = recv(fd_, frame.data(), frame.size(), 0);
            if (got < 14) return {};
            frame.resize(static_cast<std::size_t>(got));
            if (frame[12] == 0x88 && frame[13] == 0xb5) return frame;
        }
        return {};
    }

  private:
    int fd_;
};

// Of the EtherType for experiments (IEEE 802, 0x88b5), so that no kernel touches it.
std::vector<std::uint8_t> frame(std::size_t size, std::uint8_t seed) {
    std::vector<std::uint8_t> bytes(size);
    std::iota(bytes.begin(), bytes.end(), seed);
    bytes[0] = 0x02;
    bytes[6] = 0x02;
    bytes[12] = 0x88;
    bytes[13] = 0xb5;
    return bytes;
}

bool is_ours(const rte_mbuf* packet) {
    const auto* data = rte_pktmbuf_mtod(packet, const std::uint8_t*);
    return rte_pktmbuf_data_len(packet) >= 14 && data[12] == 0x88 && data[13] == 0xb5;
}

// Polls for one frame of ours for up to a second.
rte_mbuf* receive(const proxy::OpenedPort& port) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    while (std::chrono::steady_clock::now() < until) {
        for (std::uint16_t queue = 0; queue < port.rx_queues; ++queue) {
            rte_mbuf* packet = nullptr;
            if (port.data.rx_burst(queue, &packet, 1) == 0) continue;
            if (is_ours(packet)) return packet;
            rte_pktmbuf_free(packet);
        }
        std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    return nullptr;
}

class Veth : public ::testing::Test {
  protected:
    void SetUp() override {
        if (!no_namespace().empty()) GTEST_SKIP() << no_namespace();
        ASSERT_TRUE(run("ip link add qa type veth peer name qb")) << "ip link add failed";
        ASSERT_TRUE(run("ip link set qb up"));
    }
    void TearDown() override { run("ip link del qa"); }
};

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

}  // namespace
