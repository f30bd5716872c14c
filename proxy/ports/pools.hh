// Where packets live. One pool for all ports and workers, with a cache per worker; one small pool
// of big buffers for datagrams that were reassembled and are needed in one piece.
//
// Known limit: in a pool for Xen each packet has a page of its own, whatever it carries, and lies
// outside of DPDK's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <tl/expected.hpp>

struct rte_mempool;

namespace proxy {

constexpr std::uint16_t packet_bytes_max = 2048;  // of data, headroom not counted
constexpr std::uint16_t jumbo_bytes_max = 12 * 1024;

struct PoolSizes {
    // The sum of what its named holders hold at most: rings of ports, ballots, logs, caches.
    std::uint32_t packets = 16'383;  // best: a power of two less one
    std::uint32_t jumbo = 255;
    std::uint32_t workers = 1;             // each has a cache,
    std::uint32_t cache_per_worker = 256;  // of this many packets (x 1.5)
    std::uint16_t private_bytes = 0;       // per packet, multiple of 8
    // A packet's bytes within one 4 KiB page each: a grant copy across two costs two operations.
    // Not for ports on physical devices.
    bool within_pages = false;
};

struct Pools {
    rte_mempool* packets = nullptr;
    rte_mempool* jumbo = nullptr;

    std::uint32_t size() const;  // packets of both
    // Of those, in somebody's hands: all that is held, and what devices have. Exact while nobody
    // allocates or frees.
    std::uint32_t in_use() const;
};

// What make_pools() will take of eal.memory_mb (within_pages: of the machine), rounded up, driver
// needs not included.
std::size_t pool_memory_bytes(const PoolSizes& sizes);

// The error says how much memory to give. Names must be free: one set of pools in a process.
tl::expected<Pools, std::string> make_pools(const PoolSizes& sizes);
void free_pools(Pools& pools);  // when all ports are closed

}  // namespace proxy
