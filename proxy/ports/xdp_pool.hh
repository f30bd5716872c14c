// Pools for af_xdp ports, one each: DPDK's driver fills a kernel queue from the pool and never
// gives those packets back when it is closed (seen on 22.11: 2,048 a queue, and those sent but not
// yet reclaimed, up to 1,024). The common pool would run dry; a pool of the port's own can go with
// it.
//
// Known limit: it can only go where nothing was sent that is not reclaimed. Else its 10 MB a queue
// are lost to the process: an af_xdp port can be reopened as often as eal.memory_mb allows.
#pragma once

#include <cstdint>
#include <string>

struct rte_mempool;

namespace proxy {

// Packets shaped as those of `like`. Null: no memory. Also frees what can be of retired pools.
rte_mempool* make_xdp_pool(const std::string& device, const rte_mempool* like,
                           std::uint16_t queues);
// Once the port runs and before its first packet: what the driver holds now, it will keep.
void note_xdp_pool_filled(const std::string& device);
// The port is closed, or never ran: then all that is out of its pool is the driver's.
void retire_xdp_pool(const std::string& device);

}  // namespace proxy
