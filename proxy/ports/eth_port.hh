// A port of the appliance on any DPDK device: the two bytes the data path needs (EthPort), and what
// the privileged thread knows about it (OpenedPort). Ports come and go while others run, all by the
// one privileged thread; who closes a port has first made sure that no worker uses it any more.
//
// Known limits: see README.md (af_packet cuts frames over 1,982 bytes; only kernel sockets can wake
// a sleeper).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <rte_ethdev.h>
#include <tl/expected.hpp>

#include "config/config.hh"
#include "proxy/ports/port.hh"
#include "wire/address.hh"

struct rte_mempool;
struct rte_ring;

namespace proxy {

// Ports to Xen domains have numbers from here on, above any of DPDK's: netback.hh.
constexpr std::uint16_t netback_port_base = 0x8000;
static_assert(RTE_MAX_ETHPORTS < netback_port_base);
std::uint16_t netback_receive(unsigned lane, std::uint16_t worker, rte_mbuf** packets,
                              std::uint16_t count);
std::uint16_t netback_send(unsigned lane, std::uint16_t worker, rte_mbuf** packets,
                           std::uint16_t count);

struct EthPort {
    std::uint16_t id = RTE_MAX_ETHPORTS;

    bool is_netback() const { return id >= netback_port_base; }
    unsigned lane() const { return id - netback_port_base; }

    std::uint16_t rx_burst(std::uint16_t queue, rte_mbuf** packets, std::uint16_t count) const {
        if (is_netback()) return netback_receive(lane(), queue, packets, count);
        return rte_eth_rx_burst(id, queue, packets, count);
    }
    std::uint16_t tx_burst(std::uint16_t queue, rte_mbuf** packets, std::uint16_t count) const {
        if (is_netback()) return netback_send(lane(), queue, packets, count);
        return rte_eth_tx_burst(id, queue, packets, count);
    }
};
static_assert(Port<EthPort> && std::is_trivially_copyable_v<EthPort>);

struct OpenedPort {
    EthPort data;
    std::string device;  // DPDK's name for it
    std::uint16_t rx_queues = 0;
    std::uint16_t tx_queues = 0;
    bool multi_segment_tx = false;      // false: linearise before tx_burst
    bool rx_checksum_trusted = false;   // RTE_MBUF_F_RX_*_CKSUM_GOOD is set where it is so
    wire::MacAddress mac;               // of the interface
    std::uint16_t mtu = 0;              // bytes of IP, without the Ethernet header
    std::vector<int> wake_descriptors;  // position = rx queue; readable when packets wait. Owned by
                                        // the driver. Empty: this kind cannot wake a sleeper
    config::PortSpec spec;
    std::vector<std::string> notes;  // what a person should know, each a sentence
};

// Opens with as many queues as wanted or possible (at least one). `pool` outlives the port. The
// error says what to do. Leaves nothing open on failure.
tl::expected<OpenedPort, std::string> open_port(const config::PortSpec& spec,
                                                std::uint16_t queues_wanted, rte_mempool* pool);
void close_port(OpenedPort& port);

// An in-process port and its other end, for tests and for replaying: what is put into `to_port` is
// received by the port, what the port sends comes out of `from_port`. Single producer, single
// consumer each. The rings go with close_port; what is in them is freed.
struct RingEnd {
    rte_ring* to_port = nullptr;
    rte_ring* from_port = nullptr;
};
struct RingPair {
    OpenedPort port;
    RingEnd far;
};
// `size`: packets each way, a power of two. `name`: at most 16 characters, unique in the process.
// `pool` is what DPDK insists on; nothing is taken from it.
tl::expected<RingPair, std::string> open_ring_pair(std::string_view name, unsigned size,
                                                   rte_mempool* pool);
// The far end of a ring port opened by open_port; null pointers when there is none of that name.
RingEnd ring_far_end(std::string_view name);

// What became of the kernel interface below a port. Ports without one are always `up`.
enum class InterfaceState : std::uint8_t { up, down, gone };
InterfaceState interface_state(const OpenedPort& port);

// Frames the kernel had no room for since the last call (af_packet; 0 for others, see the device's
// statistics).
std::uint32_t take_missed(const OpenedPort& port);

}  // namespace proxy
