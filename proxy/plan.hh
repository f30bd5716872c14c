// What the workers run on: ports, services, groups and the roster as of one moment. Built by the
// control thread, never changed afterwards; workers take up a new one at the head of a turn and say
// so, and what the old one alone used is closed only after every worker has.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "config/config.hh"
#include "proxy/limits.hh"
#include "proxy/ports/eth_port.hh"
#include "recovery/roster.hh"
#include "voter/types.hh"

namespace proxy {

// Addresses of the private link between the appliance and a replica. Every link has the same: a
// request is the same frame for all replicas.
constexpr wire::MacAddress link_appliance_mac{{0x02, 0x51, 0, 0, 0, 1}};
constexpr wire::MacAddress link_replica_mac{{0x02, 0x51, 0, 0, 0, 2}};

struct PlanPort {
    enum class Role : std::uint8_t { none, client, replica };
    EthPort data{};
    Role role = Role::none;
    std::uint8_t client = 0;  // client: 0 outside, 1 inside
    std::uint8_t group = 0;   // replica
    voter::ReplicaId slot{};  // replica
    std::uint16_t rx_queues = 1;
    std::uint16_t tx_queues = 1;
    std::uint16_t mtu = mtu_default;
    bool multi_segment_tx = true;
    bool rx_checksum_trusted = false;
    wire::MacAddress mac;
};

struct PlanService {
    wire::IpAddress address;
    std::uint16_t port = 0;
    std::uint8_t group = 0;
    bool is_dns = false;
    voter::Matcher matcher;
    voter::Comparator comparator;
    voter::dns::RefuseSet refuse;
};

struct PlanSeat {
    recovery::Standing standing = recovery::Standing::absent;
    voter::Incarnation incarnation;
    std::uint8_t port = UINT8_MAX;  // index in Plan::ports; UINT8_MAX: none
};

struct PlanGroup {
    std::uint8_t replicas = 0;
    voter::Rules rules;
    config::Mode mode = config::Mode::enforce;
    config::QuorumLost quorum_lost = config::QuorumLost::silence;
    voter::ReplicaId primary{};
    bool logged = false;     // stateful: requests go through the request log
    std::uint8_t owner = 0;  // logged: the worker whose group it is. It must have a transmit queue
                             // on every port of the group: worker 0 has one for sure
    std::uint64_t deadline_ticks = 0;
    std::uint32_t inflight_max = 0;  // per replica and worker
    std::uint32_t stranger_inflight_max = 0;
    std::uint32_t stranger_records_max = 0;
    std::array<PlanSeat, voter::replicas_max> seats;
    voter::SlotSet admitted;  // their votes count
    voter::SlotSet fed;       // they get requests: the admitted that have a port
};

struct Plan {
    std::uint64_t epoch = 0;
    config::Topology topology = config::Topology::vip;
    bool has_gateway = false;
    wire::MacAddress gateway;
    std::uint8_t ports_count = 0;
    std::uint8_t services_count = 0;
    std::uint8_t groups_count = 0;
    std::array<PlanPort, ports_max> ports;
    std::array<PlanService, services_max> services;
    std::array<PlanGroup, groups_max> groups;
    // Client ports in order: outside, inside.
    std::array<std::uint8_t, client_ports_max> client_ports{UINT8_MAX, UINT8_MAX};
};

}  // namespace proxy
