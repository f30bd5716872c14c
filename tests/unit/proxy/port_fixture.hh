// A test program's own network namespace and its one DPDK, both from before the first test.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <rte_mbuf.h>
#include <sched.h>
#include <unistd.h>

#include "proxy/ports/eal.hh"
#include "proxy/ports/eth_port.hh"

namespace port_test {

inline bool run(const std::string& command) {
    return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

// Why there is no namespace; empty when there is one.
inline std::string& no_namespace() {
    static std::string reason = "not entered";
    return reason;
}

// What counts for capable(): the first user namespace maps all identifiers to themselves.
inline bool in_user_namespace() {
    std::ifstream map("/proc/self/uid_map");
    unsigned inside = 0, outside = 0, count = 0;
    return !(map >> inside >> outside >> count) || count != 4294967295u;
}

inline void write_file(const char* path, const std::string& text) {
    if (FILE* file = std::fopen(path, "w")) {
        std::fwrite(text.data(), 1, text.size(), file);
        std::fclose(file);
    }
}

inline void enter_namespace() {
    const uid_t uid = geteuid();
    const gid_t gid = getegid();
    if (uid == 0 && unshare(CLONE_NEWNET) == 0) {
        no_namespace().clear();
        return;
    }
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0) {
        write_file("/proc/self/setgroups", "deny");
        write_file("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1");
        write_file("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1");
        no_namespace().clear();
        return;
    }
    no_namespace() = std::string("no network namespace of our own: ") + std::strerror(errno);
}

class Environment : public ::testing::Environment {
  public:
    void SetUp() override {
        enter_namespace();
        char name[] = "/tmp/qports-XXXXXX";
        directory_ = mkdtemp(name);
        config::Eal eal;
        eal.memory_mb = 128;
        const auto started = proxy::start_eal(eal, "test", directory_);
        ASSERT_TRUE(started) << started.error();
        pool_ = rte_pktmbuf_pool_create("test", 8191, 0, 0, 2048 + RTE_PKTMBUF_HEADROOM, 0);
        ASSERT_NE(pool_, nullptr);
    }
    void TearDown() override {
        EXPECT_EQ(rte_mempool_in_use_count(pool_), 0u) << "packets were leaked";
        rte_mempool_free(pool_);
        proxy::stop_eal();
        EXPECT_TRUE(std::filesystem::is_empty(directory_)) << "DPDK left something behind";
        std::filesystem::remove_all(directory_);
    }
    static rte_mempool* pool() { return pool_; }
    static const std::filesystem::path& directory() { return directory_; }

  private:
    static inline std::filesystem::path directory_;
    static inline rte_mempool* pool_ = nullptr;
};

inline ::testing::Environment* const environment =
    ::testing::AddGlobalTestEnvironment(new Environment);

inline config::PortSpec spec(config::PortSpec::Kind kind, std::string what) {
    config::PortSpec made;
    made.kind = kind;
    made.what = std::move(what);
    return made;
}

inline rte_mbuf* packet(const std::vector<std::uint8_t>& bytes) {
    rte_mbuf* made = rte_pktmbuf_alloc(Environment::pool());
    if (made == nullptr) return nullptr;
    std::memcpy(rte_pktmbuf_append(made, static_cast<std::uint16_t>(bytes.size())), bytes.data(),
                bytes.size());
    return made;
}

inline std::vector<std::uint8_t> bytes_of(const rte_mbuf* packet) {
    std::vector<std::uint8_t> bytes(rte_pktmbuf_pkt_len(packet));
    const void* data =
        rte_pktmbuf_read(packet, 0, static_cast<std::uint32_t>(bytes.size()), bytes.data());
    if (data != bytes.data()) std::memcpy(bytes.data(), data, bytes.size());
    return bytes;
}

}  // namespace port_test
