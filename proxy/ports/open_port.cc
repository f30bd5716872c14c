#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>
#include <string_view>
#include <thread>
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
#include "proxy/ports/netback.hh"
#include "proxy/ports/packet_sockets.hh"
#include "proxy/ports/ring_port.hh"
#include "proxy/ports/xdp_pool.hh"

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

// Of an af_packet ring's slot of 2,048 bytes, what the kernel's header leaves.
constexpr std::uint16_t frame_bytes_max = 1982;

bool on_interface(Kind kind) { return kind == Kind::af_packet || kind == Kind::af_xdp; }

// How a port will be opened.
struct Plan {
    config::PortSpec spec;  // with what had to be changed
    std::uint16_t queues = 1;
    std::vector<std::string> notes;
};

// The rings are mapped locked; who may lock little gets short rings.
tl::expected<void, std::string> fit_packet_rings(Plan& plan) {
    const std::uint32_t wanted = packet_ring_frames(plan.spec);
    std::uint32_t frames = wanted;
    auto room = may_lock_memory(packet_ring_bytes(frames));
    while (!room && frames / 2 >= packet_ring_frames_min) {
        frames /= 2;
        if (may_lock_memory(packet_ring_bytes(frames))) {
            plan.notes.push_back("rings of " + plan.spec.what + " have " + std::to_string(frames) +
                                 " packets instead of " + std::to_string(wanted) + ": " +
                                 room.error());
            std::erase_if(plan.spec.options,
                          [](const auto& one) { return one.first == "framecnt"; });
            plan.spec.options.emplace_back("framecnt", std::to_string(frames));
            return {};
        }
    }
    return room;
}

// What can be found out, and put right, before DPDK is asked.
tl::expected<Plan, std::string> prepare(const config::PortSpec& spec, std::uint16_t queues_wanted) {
    Plan plan{spec, std::max<std::uint16_t>(1, queues_wanted), {}};
    if (spec.kind == Kind::pcap && access(spec.what.c_str(), R_OK) != 0) {
        return tl::unexpected("capture file " + spec.what + " cannot be read (" +
                              std::strerror(errno) + "): correct the port's file name");
    }
    if (spec.kind == Kind::tap && access("/dev/net/tun", R_OK | W_OK) != 0) {
        return tl::unexpected(std::string("/dev/net/tun cannot be opened (") +
                              std::strerror(errno) + "): load the tun module, or use veth");
    }
    if (!on_interface(spec.kind)) return plan;
    if (const auto found = find_interface(spec.what); !found) return tl::unexpected(found.error());
    if (const auto allowed = may_open_packet_sockets(); !allowed) {
        return tl::unexpected(allowed.error());
    }
    if (spec.kind == Kind::af_packet) {
        if (const auto fits = fit_packet_rings(plan); !fits) return tl::unexpected(fits.error());
    } else {
        plan.queues = static_cast<std::uint16_t>(
            std::min<unsigned>(plan.queues, interface_channels(spec.what)));
    }
    if (const auto up = bring_up(spec.what); !up) return tl::unexpected(up.error());
    return plan;
}

std::string full_pci_address(const std::string& address) {
    return address.size() == 7 ? "0000:" + address : address;
}

tl::expected<std::string, std::string> attach(const config::PortSpec& spec, std::uint16_t queues) {
    if (spec.kind == Kind::pci) {
        std::uint16_t id = 0;
        std::string name = full_pci_address(spec.what);
        if (rte_eth_dev_get_port_by_name(name.c_str(), &id) == 0) return name;
        return tl::unexpected("physical port " + spec.what +
                              " is not one DPDK has taken: it must be in the configuration at "
                              "start, and bound to vfio-pci (dpdk-devbind.py --status)");
    }
    auto words = device_arguments(spec, queues);
    if (!words) return tl::unexpected(words.error());
    std::string name = next_device_name(words->driver);
    LogCapture log;
    int failed = 0;
    const auto plug = [&] {
        failed = rte_eal_hotplug_add("vdev", name.c_str(), words->arguments.c_str());
    };
    if (spec.kind == Kind::af_packet) {
        without_packet_fanout(plug);
    } else {
        plug();
    }
    if (failed != 0) {
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
    if (port.spec.kind != Kind::af_xdp) return;
    // The driver of 22.11 leaves its sockets open, and with them the interface's queues taken.
    for (const int fd : port.wake_descriptors) close_leftover_xdp_socket(fd);
    retire_xdp_pool(port.device);
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

// The af_xdp and tap drivers open a queue's descriptor when it is set up.
void find_queue_descriptor(OpenedPort& port, const std::vector<int>& before) {
    std::vector<int> found;
    if (port.spec.kind == Kind::af_xdp) found = new_sockets(before, open_descriptors(), AF_XDP);
    if (port.spec.kind == Kind::tap) found = new_tuns(before, open_descriptors());
    if (found.size() == 1) port.wake_descriptors.push_back(found.front());
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
        const std::vector<int> before = open_descriptors();
        const int code = rte_eth_rx_queue_setup(id, queue, rx_descriptors, node, nullptr, pool);
        find_queue_descriptor(port, before);
        if (code != 0) return failed("setting up a receive queue", code);
    }
    for (std::uint16_t queue = 0; queue < port.tx_queues; ++queue) {
        const int code = rte_eth_tx_queue_setup(id, queue, tx_descriptors, node, nullptr);
        if (code != 0) return failed("setting up a transmit queue", code);
    }
    if (const int code = rte_eth_dev_start(id)) return failed("starting the device", code);
    return {};
}

// The af_packet driver opens its sockets when it is plugged in, one for each queue.
void find_packet_sockets(OpenedPort& port, const std::vector<int>& before) {
    if (port.spec.kind != Kind::af_packet) return;
    port.wake_descriptors = new_sockets(before, open_descriptors(), AF_PACKET);
}

void check_wake_descriptors(OpenedPort& port) {
    const std::size_t found = port.wake_descriptors.size();
    if (found == 0 || found == port.rx_queues) return;
    port.notes.push_back("found " + std::to_string(found) + " descriptors for " +
                         std::to_string(port.rx_queues) + " queues of " + port.spec.what +
                         ": it is polled instead of slept on");
    port.wake_descriptors.clear();
}

// Several sockets have each seen everything until they were told to share.
void discard_waiting(const OpenedPort& port) {
    rte_mbuf* packets[32];
    for (std::uint16_t queue = 0; queue < port.rx_queues; ++queue) {
        for (int burst = 0; burst < 64; ++burst) {
            const std::uint16_t got = port.data.rx_burst(queue, packets, 32);
            if (got == 0) break;
            rte_pktmbuf_free_bulk(packets, got);
        }
    }
}

tl::expected<void, std::string> settle(OpenedPort& port) {
    if (port.spec.kind != Kind::af_packet || port.wake_descriptors.empty()) return {};
    const auto found = find_interface(port.spec.what);
    if (!found) return tl::unexpected(found.error());
    if (auto done = settle_packet_sockets(port.wake_descriptors, found->index); !done) return done;
    if (port.rx_queues > 1) {
        discard_waiting(port);
    } else if (packet_fanout_joined(port.wake_descriptors.front())) {
        port.notes.push_back("no seccomp here: the kernel reassembles IPv4 fragments on " +
                             port.spec.what + ", and datagrams over 1,948 bytes are lost");
    }
    return {};
}

// The appliance has an address of its own on a link, made from the interface's, so that it is
// stable. Was it the interface's, the host's own network stack would take each packet for its own
// and look where to route it: a way around the vote where forwarding is on, and, measured on veth,
// 0.6 to 1 us of 3 to 4 us a packet.
wire::MacAddress own_address(const wire::MacAddress& interface, std::string_view name) {
    std::uint32_t mixed = 2166136261u;  // FNV-1a, 32 bits
    const auto mix = [&](std::uint8_t octet) { mixed = (mixed ^ octet) * 16777619u; };
    for (const auto octet : interface.octets) mix(octet);
    for (const char c : name) mix(static_cast<std::uint8_t>(c));
    return {{0x02, 0x51, static_cast<std::uint8_t>(mixed >> 24),
             static_cast<std::uint8_t>(mixed >> 16), static_cast<std::uint8_t>(mixed >> 8),
             static_cast<std::uint8_t>(mixed)}};
}

tl::expected<OpenedPort, std::string> open_netback_port(const config::PortSpec& spec,
                                                        std::uint16_t queues) {
    if (!netback_runs()) {
        return tl::unexpected<std::string>(
            "netback does not run: it is started with the appliance where the configuration has "
            "Xen replicas; restart quorate-proxy");
    }
    xen::netback::DeviceOptions options;
    for (const auto& [key, value] : spec.options) {
        if (key == "type" && value == "vif") options.type = xen::netback::BackendType::vif;
        if (key == "scatter-gather") options.offer.scatter_gather = value == "on";
        if (key == "segmentation") options.offer.segmentation = value == "on";
    }
    const auto lane = open_netback_lane(spec.what, options);
    if (!lane) return tl::unexpected(lane.error());
    OpenedPort port;
    port.spec = spec;
    port.data.id = static_cast<std::uint16_t>(netback_port_base + *lane);
    port.device = "netback " + spec.what;
    port.rx_queues = queues;
    port.tx_queues = queues;
    port.mac = own_address({}, spec.what);
    port.mtu = netback_mtu;
    for (std::uint16_t worker = 0; worker < queues; ++worker) {
        port.wake_descriptors.push_back(netback_descriptor(worker));
    }
    return port;
}

void describe(OpenedPort& port) {
    rte_ether_addr mac{};
    rte_eth_macaddr_get(port.data.id, &mac);
    std::copy(std::begin(mac.addr_bytes), std::end(mac.addr_bytes), port.mac.octets.begin());
    rte_eth_dev_get_mtu(port.data.id, &port.mtu);
    if (port.spec.kind == Kind::tap) port.mac = own_address({}, port.spec.what);
    if (!on_interface(port.spec.kind)) return;
    const auto found = find_interface(port.spec.what);
    if (!found) return;
    if (port.spec.kind == Kind::af_packet) port.mac = own_address(found->mac, {});
    port.mtu = found->mtu;
    if (port.mtu > frame_bytes_max - 14) {
        port.notes.push_back("interface " + port.spec.what + " has an MTU of " +
                             std::to_string(port.mtu) +
                             ": frames over 1,982 bytes arrive cut off; set its MTU to "
                             "1500, and that of its peer");
    }
}

// One attempt, as a device of DPDK's.
tl::expected<OpenedPort, std::string> open_device(const Plan& plan, rte_mempool* pool) {
    const PinnedHere pinned;
    const std::vector<int> before = open_descriptors();
    OpenedPort port;
    port.spec = plan.spec;
    port.notes = plan.notes;
    auto device = attach(plan.spec, plan.queues);
    if (!device) return tl::unexpected(device.error());
    port.device = *device;
    if (const int code = rte_eth_dev_get_port_by_name(port.device.c_str(), &port.data.id)) {
        detach(port);
        return tl::unexpected(std::string("DPDK lost it: ") + rte_strerror(-code));
    }
    find_packet_sockets(port, before);
    const bool xdp = plan.spec.kind == Kind::af_xdp;
    if (xdp) pool = make_xdp_pool(port.device, pool, plan.queues);
    if (pool == nullptr) {
        detach(port);
        return tl::unexpected<std::string>(
            "no memory for its packets: an af_xdp port needs 10 MB a queue, and loses it when "
            "closed: raise eal.memory_mb");
    }
    std::string log;
    const auto running = [&] {
        LogCapture capture;
        auto result = start(port, plan.queues, pool);
        log = capture.text();
        return result;
    }();
    if (!running) {
        detach(port);
        return tl::unexpected(running.error() + (log.empty() ? "" : " (" + log + ")") +
                              (xdp ? "; af_xdp needs root outside of user namespaces, af_packet "
                                     "does not"
                                   : ""));
    }
    check_wake_descriptors(port);
    if (auto settled = settle(port); !settled) {
        detach(port);
        return tl::unexpected(settled.error());
    }
    if (xdp) note_xdp_pool_filled(port.device);
    describe(port);
    return port;
}

// A queue of an interface stays taken for some time after its AF_XDP socket was closed, by us or by
// a predecessor that was killed: the kernel lets go of it in a work of its own (xp_put_pool() in
// net/xdp/xsk_buff_pool.c; seen on a busy machine: tens of ms). The driver cannot tell that from
// what will never work.
constexpr std::chrono::milliseconds xdp_release_max{1000};
constexpr std::chrono::milliseconds xdp_look_interval{50};

}  // namespace

tl::expected<OpenedPort, std::string> open_port(const config::PortSpec& spec,
                                                std::uint16_t queues_wanted, rte_mempool* pool) {
    const std::string where = "port " + spec.text() + ": ";
    if (spec.kind == Kind::ring) {
        auto pair = open_ring_pair(spec.what, 1024, pool);
        if (!pair) return tl::unexpected(where + pair.error());
        pair->port.spec = spec;
        return std::move(pair->port);
    }
    if (spec.kind == Kind::netback) {
        auto port = open_netback_port(spec, queues_wanted);
        if (!port) return tl::unexpected(where + port.error());
        return port;
    }
    const auto plan = prepare(spec, queues_wanted);
    if (!plan) return tl::unexpected(where + plan.error());
    auto port = open_device(*plan, pool);
    const auto deadline = std::chrono::steady_clock::now() + xdp_release_max;
    while (!port && spec.kind == Kind::af_xdp && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(xdp_look_interval);
        port = open_device(*plan, pool);
    }
    if (!port) return tl::unexpected(where + port.error());
    port->spec = spec;
    return port;
}

void close_port(OpenedPort& port) {
    if (port.device.empty()) return;
    if (port.spec.kind == Kind::ring) {
        close_ring_port(port);
    } else if (port.data.is_netback()) {
        if (netback_runs()) close_netback_lane(port.data.lane());
    } else {
        detach(port);
    }
    port = OpenedPort{};
}

InterfaceState interface_state(const OpenedPort& port) {
    if (!on_interface(port.spec.kind)) return InterfaceState::up;
    // A packet socket knows that its interface is gone even when another has taken the name.
    if (port.spec.kind == Kind::af_packet &&
        std::any_of(port.wake_descriptors.begin(), port.wake_descriptors.end(),
                    packet_socket_orphaned)) {
        return InterfaceState::gone;
    }
    const auto found = find_interface(port.spec.what);
    if (!found) return InterfaceState::gone;
    return found->up ? InterfaceState::up : InterfaceState::down;
}

std::uint32_t take_missed(const OpenedPort& port) {
    if (port.spec.kind != Kind::af_packet) return 0;
    return std::accumulate(
        port.wake_descriptors.begin(), port.wake_descriptors.end(), 0u,
        [](std::uint32_t sum, int fd) { return sum + take_packet_socket_drops(fd); });
}

}  // namespace proxy
