// Ports to Xen replicas: netback in this process. Like DPDK's, its ports are numbers that index a
// table of the process; EthPort tells the two apart. xen/netback has the rings, this the packets.
//
// Started by the first port that needs it; the control thread calls all of this but the functions
// of the data path at the end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "proxy/limits.hh"
#include "proxy/ports/netback_lanes.hh"
#include "xen/netback/service.hh"

struct rte_mbuf;
struct rte_mempool;

namespace proxy {

// Frontends take it from their own default; nothing larger is sent to one.
constexpr std::uint16_t netback_mtu = 1500;

struct NetbackSettings {
    std::filesystem::path state_dir;
    unsigned workers = 1;
    rte_mempool* packets = nullptr;
};

// The error says what to do: most likely this is not Xen's Dom0.
tl::expected<void, std::string> start_netback(const NetbackSettings& settings);
bool netback_runs();
// When no worker runs any more. Guests keep their connections for a successor.
void stop_netback();

// Lanes are numbers from 0. The device may appear later than the port is opened.
tl::expected<unsigned, std::string> open_netback_lane(const std::string& domain_name,
                                                      const xen::netback::DeviceOptions& options);
void close_netback_lane(unsigned lane);  // nothing is mapped any more

struct NetbackStatus {
    std::string domain_name;
    xen::netback::DeviceStatus device;
    // Of all workers. `violation`: the first there was.
    std::uint64_t frames_in = 0;
    std::uint64_t frames_out = 0;
    std::uint64_t no_room = 0;
    std::uint64_t refused_grants = 0;
    std::uint64_t failed_copies = 0;
    std::uint64_t no_memory = 0;
    std::uint64_t unwanted = 0;
    std::uint64_t checksums_filled = 0;
    std::uint64_t to_be_cut = 0;
    std::uint64_t idle_wakes = 0;
    xen::netback::Violation violation = xen::netback::Violation::none;
};
NetbackStatus netback_status(unsigned lane);
// Grows whenever a domain connects or disconnects a queue.
unsigned netback_changes();
// Grant copies of all workers: calls, and segments in them.
struct NetbackCopies {
    std::uint64_t calls = 0;
    std::uint64_t segments = 0;
};
NetbackCopies netback_copies();
// What a worker's sleep watches, for all its lanes.
int netback_descriptor(unsigned worker);

// The data path of a worker.
NetbackLanes* netback_lanes(unsigned worker);  // nullptr: netback does not run

// For simulators, which have guests and slow path in their own hands: what the ports of a worker
// lead to. nullptr: nothing.
void simulate_netback(unsigned worker, NetbackLanes* lanes);

}  // namespace proxy
