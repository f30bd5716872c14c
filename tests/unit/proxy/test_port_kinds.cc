// One round trip through each of the other kinds of port, and what closing them leaves.
#include <chrono>
#include <fstream>
#include <thread>

#include <linux/if_xdp.h>
#include <net/if.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef QUORATE_ADDRESS_SANITIZER
#include <sanitizer/lsan_interface.h>
#endif

#include "proxy/ports/pools.hh"
#include "tests/unit/proxy/veth_fixture.hh"

namespace {

using namespace port_test;
using Kind = config::PortSpec::Kind;

// Both directions, at the sizes that matter.
void echo(const proxy::OpenedPort& port, const Peer& peer) {
    for (const std::size_t size : {60u, 1514u}) {
        peer.send(frame(size, 1));
        rte_mbuf* got = receive(port);
        ASSERT_NE(got, nullptr) << size;
        EXPECT_EQ(bytes_of(got), frame(size, 1));
        ASSERT_EQ(port.data.tx_burst(0, &got, 1), 1);
        EXPECT_EQ(peer.receive(), frame(size, 1));
    }
}

// libxdp leaks 80 bytes each time.
auto open_xdp() {
#ifdef QUORATE_ADDRESS_SANITIZER
    const __lsan::ScopedDisabler not_ours;
#endif
    return proxy::open_port(spec(Kind::af_xdp, "qa"), 4, Environment::pool());
}

TEST_F(Veth, AfXdp) {
    for (int round = 0; round < 3; ++round) {  // again and again: closing must free the queue
        auto port = open_xdp();
        if (!port && round == 0) GTEST_SKIP() << port.error();
        ASSERT_TRUE(port) << port.error();
        EXPECT_FALSE(port->multi_segment_tx);
        EXPECT_EQ(port->rx_queues, 1);
        EXPECT_EQ(port->wake_descriptors.size(), 1u);
        echo(*port, Peer("qb"));
        discard(*port);
        proxy::close_port(*port);
    }
}

// A socket of somebody else's on the queue of "qa"; -1: not here.
int take_xdp_queue() {
    constexpr std::size_t memory_len = 16384;
    constexpr int entries = 4;
    const int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
    void* const memory = mmap(nullptr, memory_len, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    xdp_umem_reg umem{};
    umem.addr = reinterpret_cast<std::uintptr_t>(memory);
    umem.len = memory_len;
    umem.chunk_size = 4096;
    bool taken = setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &umem, sizeof umem) == 0;
    for (const int ring : {XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING}) {
        taken = taken && setsockopt(fd, SOL_XDP, ring, &entries, sizeof entries) == 0;
    }
    sockaddr_xdp address{};
    address.sxdp_family = AF_XDP;
    address.sxdp_flags = XDP_COPY;
    address.sxdp_ifindex = if_nametoindex("qa");
    taken = taken && bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    munmap(memory, memory_len);  // the kernel has its own hold on it
    if (taken) return fd;
    close(fd);
    return -1;
}

TEST_F(Veth, AfXdpWaitsForAQueueThatIsBeingLetGo) {
    const int socket = take_xdp_queue();
    if (socket < 0) GTEST_SKIP() << "no AF_XDP socket can be bound here";
    std::thread predecessor([socket] {
        std::this_thread::sleep_for(std::chrono::milliseconds(300));  // pause: it takes its time
        close(socket);
    });
    auto port = open_xdp();
    predecessor.join();
    if (!port && !open_xdp()) GTEST_SKIP() << port.error();
    ASSERT_TRUE(port) << port.error();
    discard(*port);
    proxy::close_port(*port);
}

TEST_F(Veth, AfXdpDoesNotWaitForEver) {
    const int socket = take_xdp_queue();
    if (socket < 0) GTEST_SKIP() << "no AF_XDP socket can be bound here";
    const auto port = open_xdp();
    ASSERT_FALSE(port);
    EXPECT_NE(port.error().find("port af_xdp:qa: setting up a receive queue failed"),
              std::string::npos)
        << port.error();
    close(socket);
}

TEST(Kinds, Tap) {
    if (!no_namespace().empty()) GTEST_SKIP() << no_namespace();
    auto port = proxy::open_port(spec(Kind::tap, "qtap"), 1, Environment::pool());
    if (!port) GTEST_SKIP() << port.error();
    ASSERT_TRUE(run("ip link set qtap up"));
    EXPECT_EQ(port->wake_descriptors.size(), 1u);
    echo(*port, Peer("qtap"));
    discard(*port);
    proxy::close_port(*port);
}

bool link_up(const proxy::OpenedPort& port) {
    rte_eth_link link{};
    return rte_eth_link_get_nowait(port.data.id, &link) == 0 && link.link_status == 1;
}

TEST(Kinds, MemifBothEndsHere) {
    const std::string socket = Environment::directory() / "memif.sock";
    auto server = proxy::open_port(spec(Kind::memif, socket), 1, Environment::pool());
    ASSERT_TRUE(server) << server.error();
    auto client_spec = spec(Kind::memif, socket);
    client_spec.options = {{"role", "client"}};
    auto client = proxy::open_port(client_spec, 1, Environment::pool());
    ASSERT_TRUE(client) << client.error();
    ASSERT_TRUE(eventually([&] { return link_up(*server) && link_up(*client); }));
    rte_mbuf* one = packet(frame(1514, 4));
    ASSERT_EQ(client->data.tx_burst(0, &one, 1), 1);
    rte_mbuf* got = receive(*server);
    ASSERT_NE(got, nullptr);
    EXPECT_EQ(bytes_of(got), frame(1514, 4));
    // The client lends the server its buffers when it polls.
    rte_mbuf* none = nullptr;
    EXPECT_EQ(client->data.rx_burst(0, &none, 1), 0);
    ASSERT_EQ(server->data.tx_burst(0, &got, 1), 1);
    got = receive(*client);
    ASSERT_NE(got, nullptr);
    EXPECT_EQ(bytes_of(got), frame(1514, 4));
    rte_pktmbuf_free(got);
    proxy::close_port(*client);
    proxy::close_port(*server);
    std::filesystem::remove(socket);
}

template <class Word>
void put(std::ofstream& file, Word word) {
    file.write(reinterpret_cast<const char*>(&word), sizeof word);
}

TEST(Kinds, PcapInAndOut) {
    const auto in = Environment::directory() / "in.pcap";
    const auto out = Environment::directory() / "out.pcap";
    {
        std::ofstream file(in, std::ios::binary);
        for (const std::uint32_t word : {0xa1b2c3d4u, 0x00040002u, 0u, 0u, 65535u, 1u}) {
            put(file, word);
        }
        for (std::uint8_t i = 0; i < 3; ++i) {
            for (const std::uint32_t word : {1u, 0u, 60u, 60u}) put(file, word);
            const auto bytes = frame(60, i);
            file.write(reinterpret_cast<const char*>(bytes.data()), 60);
        }
    }
    auto both = spec(Kind::pcap, in.string());
    both.options = {{"out", out.string()}};
    auto port = proxy::open_port(both, 2, Environment::pool());
    ASSERT_TRUE(port) << port.error();
    EXPECT_EQ(port->rx_queues, 1);
    for (std::uint8_t i = 0; i < 3; ++i) {
        rte_mbuf* got = receive(*port);
        ASSERT_NE(got, nullptr);
        EXPECT_EQ(bytes_of(got), frame(60, i));
        ASSERT_EQ(port->data.tx_burst(0, &got, 1), 1);
    }
    proxy::close_port(*port);
    EXPECT_EQ(std::filesystem::file_size(out), 24u + 3 * (16 + 60));
    std::filesystem::remove(in);
    std::filesystem::remove(out);
}

TEST(Pools, HoldWhatTheySayAndSayWhatTheyNeed) {
    proxy::PoolSizes sizes;
    sizes.packets = 4095;
    sizes.jumbo = 31;
    sizes.private_bytes = 64;
    auto pools = proxy::make_pools(sizes);
    ASSERT_TRUE(pools) << pools.error();
    EXPECT_EQ(rte_pktmbuf_data_room_size(pools->packets), 2048 + 128);
    EXPECT_EQ(rte_pktmbuf_priv_size(pools->packets), 64);
    std::vector<rte_mbuf*> taken(4096);
    unsigned count = 0;
    while (count < taken.size() && (taken[count] = rte_pktmbuf_alloc(pools->packets)) != nullptr) {
        ++count;
    }
    EXPECT_EQ(count, 4095u);
    rte_pktmbuf_free_bulk(taken.data(), count);
    rte_mbuf* big = rte_pktmbuf_alloc(pools->jumbo);
    ASSERT_NE(big, nullptr);
    EXPECT_NE(rte_pktmbuf_append(big, 12 * 1024), nullptr);
    rte_pktmbuf_free(big);
    proxy::free_pools(*pools);

    sizes.packets = 1'000'000;
    EXPECT_GT(proxy::pool_memory_bytes(sizes), std::size_t{2} << 30);
    const auto many = proxy::make_pools(sizes);
    ASSERT_FALSE(many);
    EXPECT_NE(many.error().find("set eal.memory_mb to 2"), std::string::npos) << many.error();
    // The names are free again.
    sizes.packets = 63;
    pools = proxy::make_pools(sizes);
    ASSERT_TRUE(pools) << pools.error();
    proxy::free_pools(*pools);
}

TEST(Eal, StartsOnce) {
    const auto again = proxy::start_eal(config::Eal{}, "test", Environment::directory());
    ASSERT_FALSE(again);
    EXPECT_NE(again.error().find("only be started once"), std::string::npos) << again.error();
    EXPECT_TRUE(std::filesystem::exists(Environment::directory() / "dpdk/test/dpdk_telemetry.v2"));
    EXPECT_EQ(std::getenv("RUNTIME_DIRECTORY"), nullptr);
}

}  // namespace
