#include "proxy/ports/netback.hh"

#include <array>
#include <utility>

#include "proxy/ports/eth_port.hh"

namespace proxy {

namespace {

using xen::netback::DeviceOptions;
using xen::netback::QueueSlot;
using xen::netback::Violation;

struct Netback {
    NetbackSettings settings;
    std::array<std::array<QueueSlot, workers_max>, ports_max> slots;
    std::array<std::unique_ptr<NetbackLanes>, workers_max> lanes;
    std::array<std::string, ports_max> names;  // empty: the lane is free
    std::array<bool, ports_max> closing{};     // its slots may still be withdrawn
    std::unique_ptr<xen::netback::Service> service;
};

// One in a process, as DPDK's devices. writer: control, while no worker runs.
std::unique_ptr<Netback> netback;
// What the data path sees of it, by worker. writer: control, while no worker runs.
std::array<NetbackLanes*, workers_max> lanes_of{};

}  // namespace

tl::expected<void, std::string> start_netback(const NetbackSettings& settings) {
    auto starting = std::make_unique<Netback>();
    starting->settings = settings;
    for (unsigned worker = 0; worker < settings.workers; ++worker) {
        auto copier = xen::netback::open_copier();
        if (!copier) return tl::unexpected(copier.error());
        auto lanes = NetbackLanes::make(*copier, settings.packets);
        if (!lanes) return tl::unexpected(lanes.error());
        starting->lanes[worker] = std::move(*lanes);
        for (auto& lane : starting->slots) {
            lane[worker].sleep_on = starting->lanes[worker]->descriptor();
        }
    }
    const auto wake_all = [all = starting.get()] {
        for (unsigned worker = 0; worker < all->settings.workers; ++worker) {
            all->lanes[worker]->wake();
        }
    };
    auto hypervisor = xen::netback::open_hypervisor();
    if (!hypervisor) return tl::unexpected(hypervisor.error());
    auto service = xen::netback::Service::start(
        {settings.state_dir, settings.workers, wake_all, {}}, std::move(*hypervisor));
    if (!service) return tl::unexpected("xenstore: " + service.error());
    starting->service = std::move(*service);
    netback = std::move(starting);
    for (unsigned worker = 0; worker < settings.workers; ++worker) {
        lanes_of[worker] = netback->lanes[worker].get();
    }
    return {};
}

bool netback_runs() { return netback != nullptr; }

void stop_netback() {
    if (!netback) return;
    netback->service.reset();
    for (unsigned worker = 0; worker < netback->settings.workers; ++worker) {
        lanes_of[worker] = nullptr;
        netback->lanes[worker].reset();
    }
    netback.reset();
}

namespace {

void free_lane(unsigned lane) {
    for (unsigned worker = 0; worker < netback->settings.workers; ++worker) {
        netback->lanes[worker]->retire(lane);
    }
    netback->names[lane].clear();
    netback->closing[lane] = false;
}

// Those whose workers took longer to let go than anybody waited.
void free_closed_lanes() {
    for (unsigned lane = 0; lane < ports_max; ++lane) {
        if (netback->closing[lane] && netback->service->closed(netback->names[lane])) {
            free_lane(lane);
        }
    }
}

}  // namespace

tl::expected<unsigned, std::string> open_netback_lane(const std::string& domain_name,
                                                      const DeviceOptions& options) {
    free_closed_lanes();
    for (unsigned lane = 0; lane < ports_max; ++lane) {
        if (!netback->closing[lane] || netback->names[lane] != domain_name) continue;
        return tl::unexpected("a worker still uses the rings of " + domain_name + "; try again");
    }
    for (unsigned lane = 0; lane < ports_max; ++lane) {
        if (!netback->names[lane].empty()) continue;
        netback->names[lane] = domain_name;
        const unsigned workers = netback->settings.workers;
        for (unsigned worker = 0; worker < workers; ++worker) {
            netback->lanes[worker]->use(lane, &netback->slots[lane][worker]);
        }
        netback->service->open(domain_name, options,
                               std::span(netback->slots[lane]).first(workers));
        return lane;
    }
    return tl::unexpected<std::string>("all netback lanes are in use");
}

void close_netback_lane(unsigned lane) {
    netback->closing[lane] = true;
    if (netback->service->close(netback->names[lane])) free_lane(lane);
}

NetbackStatus netback_status(unsigned lane) {
    NetbackStatus status;
    status.domain_name = netback->names[lane];
    status.device = netback->service->status(status.domain_name);
    status.violation = status.device.violation;
    for (unsigned worker = 0; worker < netback->settings.workers; ++worker) {
        const LaneCounters& counters = netback->lanes[worker]->counters(lane);
        status.frames_in += counters.frames_in.get();
        status.frames_out += counters.frames_out.get();
        status.no_room += counters.no_room.get();
        status.refused_grants += counters.refused_grants.get();
        status.failed_copies += counters.failed_copies.get();
        status.no_memory += counters.no_memory.get();
        status.unwanted += counters.unwanted.get();
        status.checksums_filled += counters.checksums_filled.get();
        status.to_be_cut += counters.to_be_cut.get();
        status.idle_wakes += counters.idle_wakes.get();
        if (const std::uint64_t broken = counters.broken.get(); broken != 0) {
            status.violation = static_cast<Violation>(broken);
        }
    }
    if (status.violation == Violation::none && status.refused_grants != 0) {
        status.violation = Violation::grant_refused;
    }
    return status;
}

unsigned netback_changes() { return netback->service->changes(); }

NetbackCopies netback_copies() {
    NetbackCopies copies;
    if (!netback) return copies;
    for (unsigned worker = 0; worker < netback->settings.workers; ++worker) {
        copies.calls += netback->lanes[worker]->copies();
        copies.segments += netback->lanes[worker]->segments();
    }
    return copies;
}

int netback_descriptor(unsigned worker) { return netback->lanes[worker]->descriptor(); }

std::uint16_t netback_receive(unsigned lane, std::uint16_t worker, rte_mbuf** packets,
                              std::uint16_t count) {
    return lanes_of[worker]->receive(lane, packets, count);
}

std::uint16_t netback_send(unsigned lane, std::uint16_t worker, rte_mbuf** packets,
                           std::uint16_t count) {
    return lanes_of[worker]->send(lane, packets, count);
}

NetbackLanes* netback_lanes(unsigned worker) { return lanes_of[worker]; }

void simulate_netback(unsigned worker, NetbackLanes* lanes) { lanes_of[worker] = lanes; }

}  // namespace proxy
