#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include <linux/if_packet.h>
#include <rte_bus_vdev.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mempool.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/ports/device_arguments.hh"
#include "proxy/ports/eal.hh"
#include "proxy/ports/eth_port.hh"
#include "proxy/ports/kernel_interface.hh"
#include "proxy/ports/ring_port.hh"

namespace proxy {
namespace {

using Kind = config::PortSpec::Kind;

// DPDK names must not repeat while both live; ours never do.
std::string next_device_name(const std::string& driver) {
    static unsigned next = 0;
    return driver + "_q" + std::to_string(next++);
}

// The calling thread on the processor it is on, as new_sockets() wants it.
class PinnedHere {
  public:
    PinnedHere() {
        CPU_ZERO(&before_);
        known_ = sched_getaffinity(0, sizeof before_, &before_) == 0;
        const int cpu = sched_getcpu();
        if (!known_ || cpu < 0) return;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(static_cast<unsigned>(cpu), &one);
        sched_setaffinity(0, sizeof one, &one);
    }
    ~PinnedHere() {
        if (known_) sched_setaffinity(0, sizeof before_, &before_);
    }
    PinnedHere(const PinnedHere&) = delete;
    PinnedHere& operator=(const PinnedHere&) = delete;

  private:
    cpu_set_t before_;
    bool known_ = false;
};

bool on_interface(Kind kind) { return kind == Kind::af_packet || kind == Kind::af_xdp; }

// What can be found out, and put right, before DPDK is asked.
tl::expected<void, std::string> prepare(const config::PortSpec& spec, std::uint16_t& queues) {
    if (spec.kind == Kind::pcap) {
        const std::string in = spec.what.substr(0, spec.what.find(','));
        if (access(in.c_str(), R_OK) != 0) {
            return tl::unexpected("capture file " + in + " cannot be read (" +
                                  std::strerror(errno) + "): correct the port's file name");
        }
    }
    if (spec.kind == Kind::tap && access("/dev/net/tun", R_OK | W_OK) != 0) {
        return tl::unexpected(std::string("/dev/net/tun cannot be opened (") +
                              std::strerror(errno) + "): load the tun module, or use veth");
    }
    if (!on_interface(spec.kind)) return {};
    if (const auto found = find_interface(spec.what); !found) return tl::unexpected(found.error());
    if (auto allowed = may_open_packet_sockets(); !allowed) return allowed;
    if (spec.kind == Kind::af_xdp) {
        queues =
            static_cast<std::uint16_t>(std::min<unsigned>(queues, interface_channels(spec.what)));
    }
    return bring_up(spec.what);
}

tl::expected<std::string, std::string> attach(const config::PortSpec& spec, std::uint16_t queues) {
    if (spec.kind == Kind::pci) {
        std::uint16_t id = 0;
        if (rte_eth_dev_get_port_by_name(spec.what.c_str(), &id) == 0) return spec.what;
        return tl::unexpected("physical port " + spec.what +
                              " is not one DPDK has taken: it must be in the configuration at "
                              "start, and bound to vfio-pci (dpdk-devbind.py --status)");
    }
    auto words = device_arguments(spec, queues);
    if (!words) return tl::unexpected(words.error());
    std::string name = next_device_name(words->driver);
    LogCapture log;
    if (const int failed = rte_eal_hotplug_add("vdev", name.c_str(), words->arguments.c_str())) {
        return tl::unexpected("DPDK cannot open it (" + words->driver + "," + words->arguments +
                              "): " + rte_strerror(-failed) + "; " + log.text());
    }
    return name;
}

void detach(const OpenedPort& port) {
    LogCapture quiet;
    if (port.data.id < RTE_MAX_ETHPORTS) {
        rte_eth_dev_stop(port.data.id);
        if (port.spec.kind == Kind::pci) return;  // stays DPDK's until it stops
        rte_eth_dev_close(port.data.id);
    }
    rte_eal_hotplug_remove("vdev", port.device.c_str());
}

// Packet checksums are verified by the device where it can.
constexpr std::uint64_t checksum_offloads =
    RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM;

rte_eth_conf choose(OpenedPort& port, const rte_eth_dev_info& info) {
    rte_eth_conf conf{};
    // Freeing to one pool without looking at the reference count (MBUF_FAST_FREE) must stay off:
    // clones are shared.
    conf.txmode.offloads = info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    port.multi_segment_tx = conf.txmode.offloads != 0 && port.spec.kind != Kind::af_xdp;
    if (port.spec.kind == Kind::pci) {
        if ((info.rx_offload_capa & checksum_offloads) == checksum_offloads) {
            conf.rxmode.offloads |= checksum_offloads;
            port.rx_checksum_trusted = true;
        }
        if (port.rx_queues > 1) {
            conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf =
                info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_TCP);
        }
    }
    return conf;
}

tl::expected<void, std::string> start(OpenedPort& port, std::uint16_t queues, rte_mempool* pool) {
    const std::uint16_t id = port.data.id;
    const auto failed = [](const char* step, int code) {
        return tl::unexpected(std::string(step) + " failed: " + rte_strerror(-code));
    };
    rte_eth_dev_info info{};
    if (const int code = rte_eth_dev_info_get(id, &info)) return failed("asking the device", code);
    port.rx_queues = std::min(queues, info.max_rx_queues);
    port.tx_queues = std::min(queues, info.max_tx_queues);
    const rte_eth_conf conf = choose(port, info);
    if (const int code = rte_eth_dev_configure(id, port.rx_queues, port.tx_queues, &conf)) {
        return failed("configuring the device", code);
    }
    std::uint16_t rx_descriptors = 1024;
    std::uint16_t tx_descriptors = 1024;
    if (const int code = rte_eth_dev_adjust_nb_rx_tx_desc(id, &rx_descriptors, &tx_descriptors)) {
        return failed("sizing its queues", code);
    }
    const auto node = static_cast<unsigned>(rte_eth_dev_socket_id(id));
    for (std::uint16_t queue = 0; queue < port.rx_queues; ++queue) {
        const int code = rte_eth_rx_queue_setup(id, queue, rx_descriptors, node, nullptr, pool);
        if (code != 0) return failed("setting up a receive queue", code);
    }
    for (std::uint16_t queue = 0; queue < port.tx_queues; ++queue) {
        const int code = rte_eth_tx_queue_setup(id, queue, tx_descriptors, node, nullptr);
        if (code != 0) return failed("setting up a transmit queue", code);
    }
    if (const int code = rte_eth_dev_start(id)) return failed("starting the device", code);
    return {};
}

void find_wake_descriptors(OpenedPort& port, const std::vector<int>& before) {
    const std::vector<int> after = open_descriptors();
    switch (port.spec.kind) {
        case Kind::af_packet:
            port.wake_descriptors = new_sockets(before, after, AF_PACKET);
            break;
        case Kind::af_xdp:
            port.wake_descriptors = new_sockets(before, after, AF_XDP);
            break;
        case Kind::tap:
            port.wake_descriptors = new_tuns(before, after);
            break;
        default:
            break;
    }
    if (port.wake_descriptors.size() != port.rx_queues && !port.wake_descriptors.empty()) {
        port.notes.push_back("found " + std::to_string(port.wake_descriptors.size()) +
                             " descriptors for " + std::to_string(port.rx_queues) + " queues of " +
                             port.spec.what + ": it is polled instead");
        port.wake_descriptors.clear();
    }
}

void describe(OpenedPort& port) {
    rte_ether_addr mac{};
    rte_eth_macaddr_get(port.data.id, &mac);
    std::copy(std::begin(mac.addr_bytes), std::end(mac.addr_bytes), port.mac.octets.begin());
    rte_eth_dev_get_mtu(port.data.id, &port.mtu);
    if (!on_interface(port.spec.kind)) return;
    const auto found = find_interface(port.spec.what);
    if (!found) return;
    port.mtu = found->mtu;
    if (port.mtu > 1968) {
        port.notes.push_back("interface " + port.spec.what + " has an MTU of " +
                             std::to_string(port.mtu) +
                             ": frames over 1,982 bytes will be cut and dropped; set its MTU to "
                             "1500, and that of its peer");
    }
}

}  // namespace

tl::expected<OpenedPort, std::string> open_port(const config::PortSpec& spec,
                                                std::uint16_t queues_wanted, rte_mempool* pool) {
    const std::string where = "port " + port_text(spec) + ": ";
    if (spec.kind == Kind::ring) {
        auto pair = open_ring_pair(spec.what, 1024, pool);
        if (!pair) return tl::unexpected(where + pair.error());
        pair->port.spec = spec;
        return std::move(pair->port);
    }
    std::uint16_t queues = std::max<std::uint16_t>(1, queues_wanted);
    if (auto ready = prepare(spec, queues); !ready) return tl::unexpected(where + ready.error());

    const PinnedHere pinned;
    const std::vector<int> before = open_descriptors();
    OpenedPort port;
    port.spec = spec;
    auto device = attach(spec, queues);
    if (!device) return tl::unexpected(where + device.error());
    port.device = *device;
    if (const int code = rte_eth_dev_get_port_by_name(port.device.c_str(), &port.data.id)) {
        detach(port);
        return tl::unexpected(where + "DPDK lost it: " + rte_strerror(-code));
    }
    std::string log;
    auto running = [&] {
        LogCapture capture;
        auto result = start(port, queues, pool);
        log = capture.text();
        return result;
    }();
    if (!running) {
        detach(port);
        return tl::unexpected(where + running.error() + (log.empty() ? "" : " (" + log + ")"));
    }
    find_wake_descriptors(port, before);
    describe(port);
    return port;
}

void close_port(OpenedPort& port) {
    if (port.device.empty()) return;
    if (port.spec.kind == Kind::ring) {
        close_ring_port(port);
    } else {
        detach(port);
    }
    port = OpenedPort{};
}

InterfaceState interface_state(const OpenedPort& port) {
    if (!on_interface(port.spec.kind)) return InterfaceState::up;
    // A packet socket knows that its interface is gone even when another has taken the name.
    if (port.spec.kind == Kind::af_packet) {
        for (const int fd : port.wake_descriptors) {
            sockaddr_ll address{};
            socklen_t length = sizeof address;
            if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0 &&
                address.sll_ifindex <= 0) {
                return InterfaceState::gone;
            }
        }
    }
    const auto found = find_interface(port.spec.what);
    if (!found) return InterfaceState::gone;
    return found->up ? InterfaceState::up : InterfaceState::down;
}

}  // namespace proxy
