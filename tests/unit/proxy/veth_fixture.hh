// A veth pair, its other side, and frames that no kernel touches.
#pragma once

#include <chrono>
#include <numeric>
#include <thread>

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#include "tests/unit/proxy/port_fixture.hh"

namespace port_test {

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
inline std::vector<std::uint8_t> frame(std::size_t size, std::uint8_t seed) {
    std::vector<std::uint8_t> bytes(size);
    std::iota(bytes.begin(), bytes.end(), seed);
    bytes[0] = 0x02;
    bytes[6] = 0x02;
    bytes[12] = 0x88;
    bytes[13] = 0xb5;
    return bytes;
}

inline bool is_ours(const rte_mbuf* packet) {
    const auto* data = rte_pktmbuf_mtod(packet, const std::uint8_t*);
    return rte_pktmbuf_data_len(packet) >= 14 && data[12] == 0x88 && data[13] == 0xb5;
}

// Asks again and again for up to three seconds.
template <class Question>
bool eventually(Question question) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(3);
    while (!question()) {
        if (std::chrono::steady_clock::now() > until) return false;
        std::this_thread::sleep_for(std::chrono::microseconds(200));  // pause: between two looks
    }
    return true;
}

// One frame of ours, if it comes in time.
inline rte_mbuf* receive(const proxy::OpenedPort& port) {
    rte_mbuf* ours = nullptr;
    eventually([&] {
        for (std::uint16_t queue = 0; queue < port.rx_queues && ours == nullptr; ++queue) {
            rte_mbuf* packet = nullptr;
            if (port.data.rx_burst(queue, &packet, 1) == 0) continue;
            if (is_ours(packet)) {
                ours = packet;
            } else {
                rte_pktmbuf_free(packet);
            }
        }
        return ours != nullptr;
    });
    return ours;
}

class Veth : public ::testing::Test {
  protected:
    void SetUp() override {
        if (!no_namespace().empty()) GTEST_SKIP() << no_namespace();
        // Else it sends solicitations of its own for seconds.
        write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        make_pair("");
    }
    void TearDown() override { run("ip link del qa"); }
    static void make_pair(const std::string& options) {
        ASSERT_TRUE(run("ip link add qa " + options + " type veth peer name qb " + options))
            << "ip link add failed";
        ASSERT_TRUE(run("ip link set qb up"));
    }
};

inline void discard(const proxy::OpenedPort& port) {
    rte_mbuf* packets[32];
    for (std::uint16_t queue = 0; queue < port.rx_queues; ++queue) {
        while (const std::uint16_t got = port.data.rx_burst(queue, packets, 32)) {
            rte_pktmbuf_free_bulk(packets, got);
        }
    }
}

}  // namespace port_test
