#include "tests/appliance/appliance.hh"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <rte_mbuf.h>
#include <rte_ring.h>

#include "proxy/ports/eal.hh"
#include "proxy/ports/netback.hh"

namespace appliance_test {

using proxy::Plan;
using proxy::PlanPort;
using voter::ReplicaId;

namespace {

constexpr unsigned client_ports = 2;
constexpr unsigned ports_count = client_ports + voter::replicas_max * places;
constexpr unsigned ring_len = 1024;

struct Process {
    std::filesystem::path directory;
    Pool pool;
    std::vector<proxy::RingPair> ports;
};
Process& process() {
    static Process instance;
    return instance;
}

constexpr unsigned port_of(unsigned slot, unsigned place) {
    return client_ports + slot * places + place;
}

bool put(rte_ring* ring, const Octets& frame) {
    // As a card would: what is longer than a buffer comes in several.
    rte_mbuf* whole = nullptr;
    std::size_t at = 0;
    do {
        rte_mbuf* packet = rte_pktmbuf_alloc(pool().packets);
        if (packet == nullptr) {
            rte_pktmbuf_free(whole);
            return false;
        }
        const std::size_t length = std::min<std::size_t>(frame.size() - at, proxy::frame_len_max);
        char* room = rte_pktmbuf_append(packet, static_cast<std::uint16_t>(length));
        if (length != 0) std::memcpy(room, frame.data() + at, length);
        at += length;
        if (whole == nullptr) {
            whole = packet;
        } else {
            rte_pktmbuf_chain(whole, packet);
        }
    } while (at < frame.size());
    if (rte_ring_sp_enqueue(ring, whole) == 0) return true;
    rte_pktmbuf_free(whole);
    return false;
}

std::vector<Octets> take(rte_ring* ring) {
    std::vector<Octets> out;
    void* next = nullptr;
    while (rte_ring_sc_dequeue(ring, &next) == 0) {
        auto* packet = static_cast<rte_mbuf*>(next);
        Octets frame(packet->pkt_len);
        const void* data = rte_pktmbuf_read(packet, 0, packet->pkt_len, frame.data());
        if (data != frame.data()) std::memcpy(frame.data(), data, frame.size());
        out.push_back(std::move(frame));
        rte_pktmbuf_free(packet);
    }
    return out;
}

void drain(rte_ring* ring) {
    void* packet = nullptr;
    while (rte_ring_sc_dequeue(ring, &packet) == 0) {
        rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
    }
}

}  // namespace

const wire::MacAddress appliance_mac = mac("02:aa:00:00:00:01");
const wire::IpAddress service_v4 = address("192.0.2.53");
const wire::IpAddress service_v6 = address("2001:db8::53");

std::string start_dpdk(unsigned memory_mb) {
    Process& mine = process();
    char name[] = "/tmp/qtest-XXXXXX";
    if (mkdtemp(name) == nullptr) return "no temporary directory";
    mine.directory = name;
    config::Eal eal;
    eal.memory_mb = memory_mb;
    if (auto started = proxy::start_eal(eal, "test", mine.directory); !started) {
        return started.error();
    }
    mine.pool.packets = rte_pktmbuf_pool_create("test", 16'383, 256, 0,
                                                proxy::frame_len_max + RTE_PKTMBUF_HEADROOM, 0);
    mine.pool.jumbos = rte_pktmbuf_pool_create("test_jumbo", 255, 0, 0,
                                               proxy::jumbo_len_max + RTE_PKTMBUF_HEADROOM, 0);
    if (mine.pool.packets == nullptr || mine.pool.jumbos == nullptr) return "no packet pool";
    for (unsigned i = 0; i < ports_count; ++i) {
        auto pair = proxy::open_ring_pair(std::string("t").append(std::to_string(i)), ring_len,
                                          mine.pool.packets);
        if (!pair) return pair.error();
        mine.ports.push_back(*pair);
    }
    return {};
}

void stop_dpdk() {
    Process& mine = process();
    for (auto& pair : mine.ports) proxy::close_port(pair.port);
    rte_mempool_free(mine.pool.packets);
    rte_mempool_free(mine.pool.jumbos);
    proxy::stop_eal();
    std::error_code ignored;
    std::filesystem::remove_all(mine.directory, ignored);
}

const Pool& pool() { return process().pool; }

unsigned Pool::in_use() const {
    return rte_mempool_in_use_count(packets) + rte_mempool_in_use_count(jumbos);
}

Appliance::Appliance(const Shape& setup)
    : setup_(setup),
      counters_(std::make_unique<proxy::WorkerCounters>()),
      events_(std::make_unique<proxy::EventQueue>()) {
    next_.topology = setup.topology;
    next_.has_gateway = setup.gateway.has_value();
    if (setup.gateway) next_.gateway = *setup.gateway;
    next_.ports_count = ports_count;
    const unsigned clients = setup.topology == config::Topology::inline_ ? 2 : 1;
    for (std::uint8_t i = 0; i < clients; ++i) {
        PlanPort& port = next_.ports[i];
        port.data = process().ports[i].port.data;
        port.role = PlanPort::Role::client;
        port.client = i;
        port.mac = appliance_mac;
        next_.client_ports[i] = i;
    }
    for (unsigned slot = 0; slot < setup.replicas; ++slot) {
        for (unsigned place = 0; place < places; ++place) {
            PlanPort& port = next_.ports[port_of(slot, place)];
            port.data = process().ports[port_of(slot, place)].port.data;
            if (setup.netback != nullptr) {
                port.data.id =
                    static_cast<std::uint16_t>(proxy::netback_port_base + lane_of(slot, place));
            }
            port.role = PlanPort::Role::replica;
            port.slot = ReplicaId{static_cast<std::uint8_t>(slot)};
        }
    }
    for (const wire::IpAddress& at : {service_v4, service_v6}) {
        proxy::PlanService& service = next_.services[next_.services_count++];
        service.address = at;
        service.port = setup.service_port;
        service.is_dns = setup.is_dns;
        service.matcher = setup.matcher;
        service.comparator = setup.comparator;
        service.refuse = setup.refuse;
    }
    next_.groups_count = 1;
    proxy::PlanGroup& group = next_.groups[0];
    group.replicas = static_cast<std::uint8_t>(setup.replicas);
    group.rules = setup.rules;
    group.mode = setup.mode;
    group.quorum_lost = setup.quorum_lost;
    group.primary = setup.primary;
    group.deadline_ticks = setup.deadline_us;
    group.inflight_max = setup.inflight_max;
    group.stranger_inflight_max = setup.stranger_inflight_max;
    group.stranger_records_max = setup.records * 3 / 4;
    for (unsigned slot = 0; slot < setup.replicas; ++slot) admit(slot, 0);
    start_process(setup.netback);
    offer();
}

void Appliance::start_process(proxy::NetbackLanes* netback) {
    proxy::WorkerSettings settings;
    settings.records = setup_.records;
    settings.hash_secrets = {setup_.seed * 0x9e3779b97f4a7c15u | 1u, 0x1234567812345671u,
                             setup_.seed ^ 0xabcdef0123456789u, 0x3141592653589793u};
    settings.digest_key = {setup_.seed};
    settings.ticks_per_second = ticks_per_second;
    settings.accusation[0] = setup_.accusation;
    settings.vote = setup_.vote;
    settings.clock = setup_.clock;
    proxy::WorkerSurroundings around;
    around.packets = pool().packets;
    around.jumbos = pool().jumbos;
    around.counters = counters_.get();
    around.handoff = &handoff_;
    around.events = events_.get();
    around.netback = netback;
    proxy::simulate_netback(0, netback);
    worker_ = std::make_unique<proxy::Worker>(settings, around);
    if (!offered_.empty()) worker_->offer(offered_.back().get());
}

bool Appliance::end_process() {
    worker_->drain();
    worker_.reset();
    proxy::simulate_netback(0, nullptr);
    discard_output();
    return counters_->balanced() && counters_->held.get() == 0;
}

Appliance::~Appliance() {
    worker_.reset();
    proxy::simulate_netback(0, nullptr);
    discard_output();
    for (auto& pair : process().ports) drain(pair.far.to_port);
}

Endpoint Appliance::service(const Endpoint& client) const {
    return {appliance_mac, client.ip.is_v4() ? service_v4 : service_v6, setup_.service_port};
}
Endpoint Appliance::replica_side(const Endpoint& client) const {
    return {proxy::link_appliance_mac, client.ip, client.port};
}
Endpoint Appliance::replica(const Endpoint& client) const {
    return {proxy::link_replica_mac, client.ip.is_v4() ? service_v4 : service_v6,
            setup_.service_port};
}
Octets Appliance::request(const Endpoint& client, const Octets& payload) const {
    return udp_frame(client, service(client), payload);
}
Octets Appliance::reply(const Endpoint& client, const Octets& payload) const {
    return udp_frame(replica(client), replica_side(client), payload);
}

bool Appliance::from_client(const Octets& frame, unsigned client) {
    return put(process().ports[client].far.to_port, frame);
}
bool Appliance::from_replica(unsigned slot, const Octets& frame, unsigned place) {
    return put(process().ports[port_of(slot, place)].far.to_port, frame);
}

bool Appliance::step(std::uint64_t us) {
    now_ += us;
    worker_->run_once(now_);
    while (offered_.size() > 1 && worker_->taken_up() == offered_.back()->epoch) {
        offered_.erase(offered_.begin());
    }
    return counters_->balanced();
}

std::vector<Octets> Appliance::to_client(unsigned client) {
    return take(process().ports[client].far.from_port);
}
std::vector<Octets> Appliance::to_replica(unsigned slot, unsigned place) {
    return take(process().ports[port_of(slot, place)].far.from_port);
}
void Appliance::discard_output() {
    for (auto& pair : process().ports) drain(pair.far.from_port);
}

std::vector<proxy::Event> Appliance::events() {
    std::vector<proxy::Event> out;
    while (const auto event = events_->pop()) out.push_back(*event);
    return out;
}

void Appliance::offer() {
    next_.epoch += 1;
    offered_.push_back(std::make_unique<Plan>(next_));
    worker_->offer(offered_.back().get());
}

void Appliance::suspend(unsigned slot) {
    proxy::PlanGroup& group = next_.groups[0];
    const ReplicaId id{static_cast<std::uint8_t>(slot)};
    group.admitted.erase(id);
    group.fed.erase(id);
    group.seats[slot].standing = recovery::Standing::suspended;
}

void Appliance::admit(unsigned slot, unsigned place) {
    proxy::PlanGroup& group = next_.groups[0];
    const ReplicaId id{static_cast<std::uint8_t>(slot)};
    group.admitted.insert(id);
    group.fed.insert(id);
    proxy::PlanSeat& seat = group.seats[slot];
    seat.standing = recovery::Standing::admitted;
    seat.incarnation = voter::Incarnation{++incarnations_};
    seat.port = static_cast<std::uint8_t>(port_of(slot, place));
}

std::optional<unsigned> Appliance::place_of(unsigned slot) const {
    const proxy::PlanGroup& group = next_.groups[0];
    if (!group.admitted.contains(ReplicaId{static_cast<std::uint8_t>(slot)})) return std::nullopt;
    return (group.seats[slot].port - client_ports) % places;
}

bool Appliance::finish() {
    worker_->drain();
    return counters_->balanced() && counters_->held.get() == 0;
}

}  // namespace appliance_test
