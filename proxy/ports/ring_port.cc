// Ring ports: a DPDK device made of two rings, of which the other ends are given out.
#include "proxy/ports/ring_port.hh"

#include <algorithm>
#include <string>

#include <rte_bus_vdev.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include "proxy/ports/eal.hh"
#include "proxy/ports/eth_port.hh"

namespace proxy {
namespace {

constexpr std::size_t ring_name_max = 16;

std::string to_name(std::string_view name) { return "qto_" + std::string(name); }
std::string from_name(std::string_view name) { return "qfrom_" + std::string(name); }

void drain_and_free(rte_ring* ring) {
    void* packet = nullptr;
    while (ring != nullptr && rte_ring_dequeue(ring, &packet) == 0) {
        rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
    }
    rte_ring_free(ring);
}

void free_rings(std::string_view name) {
    drain_and_free(rte_ring_lookup(to_name(name).c_str()));
    drain_and_free(rte_ring_lookup(from_name(name).c_str()));
}

// A ring device never allocates, but ethdev wants to see a pool.
int start(std::uint16_t id, rte_mempool* pool) {
    rte_eth_conf conf{};
    if (const int code = rte_eth_dev_configure(id, 1, 1, &conf)) return code;
    if (const int code = rte_eth_rx_queue_setup(id, 0, 0, 0, nullptr, pool)) return code;
    if (const int code = rte_eth_tx_queue_setup(id, 0, 0, 0, nullptr)) return code;
    return rte_eth_dev_start(id);
}

}  // namespace

RingEnd ring_far_end(std::string_view name) {
    return {rte_ring_lookup(to_name(name).c_str()), rte_ring_lookup(from_name(name).c_str())};
}

tl::expected<RingPair, std::string> open_ring_pair(std::string_view name, unsigned size,
                                                   rte_mempool* pool) {
    if (name.empty() || name.size() > ring_name_max) {
        return tl::unexpected("ring name \"" + std::string(name) +
                              "\" must have 1 to 16 characters");
    }
    if (ring_far_end(name).to_port != nullptr) {
        return tl::unexpected("a ring named " + std::string(name) + " is open already");
    }
    LogCapture log;
    const unsigned flags = RING_F_SP_ENQ | RING_F_SC_DEQ;
    rte_ring* to_port = rte_ring_create(to_name(name).c_str(), size, SOCKET_ID_ANY, flags);
    rte_ring* from_port = rte_ring_create(from_name(name).c_str(), size, SOCKET_ID_ANY, flags);
    if (to_port == nullptr || from_port == nullptr) {
        const std::string cause = rte_strerror(rte_errno);
        free_rings(name);
        return tl::unexpected("cannot make rings of " + std::to_string(size) +
                              " packets: " + cause);
    }
    const std::string label = "q_" + std::string(name);
    const int id = rte_eth_from_rings(label.c_str(), &to_port, 1, &from_port, 1, 0);
    RingPair pair;
    pair.port.spec.kind = config::PortSpec::Kind::ring;
    pair.port.spec.what = name;
    pair.port.device = "net_ring_" + label;
    if (id < 0) {
        free_rings(name);
        return tl::unexpected("DPDK cannot make a ring device: " + log.text());
    }
    pair.port.data.id = static_cast<std::uint16_t>(id);
    if (const int code = start(pair.port.data.id, pool)) {
        close_port(pair.port);
        return tl::unexpected(std::string("cannot start the ring device: ") + rte_strerror(-code));
    }
    pair.port.rx_queues = 1;
    pair.port.tx_queues = 1;
    pair.port.multi_segment_tx = true;  // packets pass as they are
    pair.port.mtu = 1500;
    rte_ether_addr mac{};
    rte_eth_macaddr_get(pair.port.data.id, &mac);
    std::copy(std::begin(mac.addr_bytes), std::end(mac.addr_bytes), pair.port.mac.octets.begin());
    pair.far = {to_port, from_port};
    return pair;
}

void close_ring_port(OpenedPort& port) {
    LogCapture quiet;
    rte_eth_dev_stop(port.data.id);
    rte_eth_dev_close(port.data.id);
    rte_vdev_uninit(port.device.c_str());
    free_rings(port.spec.what);
}

}  // namespace proxy
