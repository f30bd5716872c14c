#include "proxy/runtime/plan_builder.hh"

#include <algorithm>

#include "proxy/ports/netback.hh"

namespace proxy {

static_assert(config::groups_max <= groups_max);
static_assert(config::services_max * 2 <= services_max, "a service has up to two addresses");
static_assert(config::workers_max <= workers_max);

namespace {

using recovery::Standing;
using voter::ReplicaId;

void add_ports(Plan& plan, const PortTable& ports) {
    for (std::uint8_t index = 0; index < ports_max; ++index) {
        const PortTable::Entry& entry = ports.entries[index];
        if (!entry.open) continue;
        PlanPort& port = plan.ports[index];
        port.data = entry.port.data;
        port.role = entry.role;
        port.client = entry.client;
        port.group = entry.group;
        port.slot = entry.slot;
        port.rx_queues = entry.port.rx_queues;
        port.tx_queues = entry.port.tx_queues;
        if (entry.port.data.is_netback()) {
            // As many as the domain has connected; the other workers' clones leave by the first.
            const unsigned connected = netback_status(entry.port.data.lane()).device.queues;
            port.tx_queues = static_cast<std::uint16_t>(std::max(1u, connected));
        }
        port.mtu = entry.port.mtu == 0 ? mtu_default : entry.port.mtu;
        port.rx_checksum_trusted = entry.port.rx_checksum_trusted;
        port.mac = entry.port.mac;
        if (entry.role == PlanPort::Role::client) plan.client_ports[entry.client] = index;
        plan.ports_count =
            static_cast<std::uint8_t>(std::max<unsigned>(plan.ports_count, index + 1u));
    }
}

void add_services(Plan& plan, const config::Config& config) {
    for (const config::Service& service : config.services) {
        for (const wire::IpAddress& address : service.addresses) {
            PlanService& entry = plan.services[plan.services_count++];
            entry.address = address;
            entry.port = service.port;
            entry.group = static_cast<std::uint8_t>(*config.group_index(service.group));
            entry.is_dns = service.is_dns;
            entry.matcher = service.matcher;
            entry.comparator = service.comparator;
            entry.refuse = service.refuse;
        }
    }
}

void seat_replicas(PlanGroup& group, std::uint8_t index, const recovery::GroupRoster* roster,
                   const PortTable& ports) {
    for (std::uint8_t slot = 0; slot < group.replicas; ++slot) {
        if (roster == nullptr || slot >= roster->seats.size()) continue;
        const recovery::Seat& seat = roster->seats[slot];
        PlanSeat& planned = group.seats[slot];
        planned.standing = seat.standing;
        planned.incarnation = seat.incarnation;
        for (std::uint8_t port = 0; port < ports_max; ++port) {
            const PortTable::Entry& entry = ports.entries[port];
            if (entry.open && entry.role == PlanPort::Role::replica && entry.group == index &&
                entry.slot.value == slot && entry.incarnation == seat.incarnation) {
                planned.port = port;
            }
        }
        if (seat.standing == Standing::admitted && planned.port != UINT8_MAX) {
            group.admitted.insert(ReplicaId{slot});
            group.fed.insert(ReplicaId{slot});
        }
    }
}

}  // namespace

std::unique_ptr<Plan> build_plan(const config::Config& config, const recovery::Roster& roster,
                                 const PortTable& ports, std::uint64_t epoch,
                                 std::uint64_t ticks_per_second, bool measure_without_voting) {
    auto plan = std::make_unique<Plan>();
    plan->epoch = epoch;
    plan->topology = config.topology;
    plan->has_gateway = config.gateway.has_value();
    if (config.gateway) plan->gateway = *config.gateway;
    add_ports(*plan, ports);
    add_services(*plan, config);
    for (const config::Group& from : config.groups) {
        const std::uint8_t index = plan->groups_count++;
        PlanGroup& group = plan->groups[index];
        group.replicas = static_cast<std::uint8_t>(from.replicas.size());
        group.rules = {measure_without_voting ? std::uint8_t{1} : from.quorum, from.release};
        group.mode = from.mode;
        group.quorum_lost = from.quorum_lost;
        group.primary = ReplicaId{from.primary};
        group.logged = from.state == config::State::log;
        group.deadline_ticks = ticks_per_second * from.deadline_ms / 1000;
        // A group's requests are spread over the workers, so each has its part of the window; a
        // logged group has one worker.
        const std::uint32_t workers = group.logged ? 1 : config.workers;
        group.inflight_max = std::max<std::uint32_t>(1, from.inflight_max / workers);
        const std::uint32_t for_strangers = 100 - from.reserved_percent;
        group.stranger_inflight_max =
            std::max<std::uint32_t>(1, group.inflight_max * for_strangers / 100);
        group.stranger_records_max =
            static_cast<std::uint32_t>(std::uint64_t{config.ballots_max} * for_strangers / 100);
        seat_replicas(group, index, roster.group(from.name), ports);
    }
    return plan;
}

}  // namespace proxy
