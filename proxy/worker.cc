// A worker's beginning and end, and how it takes up a new plan. Everything it will ever need is
// allocated here, before the first packet.
#include <cassert>

#include <rte_cycles.h>

#include "proxy/pipeline.hh"

namespace proxy {

using voter::ReplicaId;
using voter::SlotSet;
using wire::DropReason;

namespace {

const Plan no_plan{};

rte_ip_frag_tbl* new_fragment_table(std::uint32_t flows, std::uint64_t ticks_per_second) {
    const std::uint64_t ticks = ticks_per_second * reassembly_timeout_ms / 1000;
    // Twice as many places as flows: two hashes, buckets of some entries each.
    return rte_ip_frag_table_create(flows / fragment_bucket_entries, fragment_bucket_entries, flows,
                                    ticks, SOCKET_ID_ANY);
}

}  // namespace

Worker::Worker(const WorkerSettings& settings, const WorkerSurroundings& surroundings)
    : settings_(settings),
      around_(surroundings),
      counters_(*surroundings.counters),
      plan_(&no_plan),
      key_hash_(settings.hash_secrets),
      records_(settings.records),
      known_(settings.ticks_per_second * known_for_ms / 1000),
      workspace_(voter::make_workspace()),
      deferred_(std::make_unique<DeferredQueue[][voter::replicas_max]>(groups_max)),
      tx_(std::make_unique<std::array<TxBuffer, ports_max>>()),
      compose_buffer_(jumbo_len_max),
      offered_(&no_plan) {
    for (const auto& rules : settings.accusation) accusations_.emplace_back(rules);
    decided_.reserve(settings.records + 1);
    client_fragments_ = new_fragment_table(reassembly_flows_max, settings.ticks_per_second);
    ns_per_tick_shifted_ = (std::uint64_t{1'000'000'000} << ns_shift) / settings.ticks_per_second;
    identification_ = static_cast<std::uint16_t>(settings.hash_secrets[0]);
    open_logs();
}

Worker::~Worker() {
    drain();
    if (client_fragments_ != nullptr) rte_ip_frag_table_destroy(client_fragments_);
    for (auto& group : replica_fragments_) {
        for (rte_ip_frag_tbl* table : group) {
            if (table != nullptr) rte_ip_frag_table_destroy(table);
        }
    }
}

// Called at the head of a turn, when the transmit buffers are empty.
void Worker::take_up_plan() {
    // Partner: the release store in offer().
    const Plan* offered = offered_.load(std::memory_order_acquire);
    if (offered == plan_) return;
    const Plan& before = *plan_;
    withdraw_departed(before, *offered);
    plan_ = offered;
    for (std::uint8_t group = 0; group < plan_->groups_count; ++group) {
        for (unsigned slot = 0; slot < plan_->groups[group].replicas; ++slot) {
            rte_ip_frag_tbl*& table = replica_fragments_[group][slot];
            if (table == nullptr) {
                table =
                    new_fragment_table(replica_reassembly_flows_max, settings_.ticks_per_second);
            }
        }
        if (stateful_[group] != nullptr) adopt_seats(group);
    }
    release_decided();
    taken_up_.store(plan_->epoch, std::memory_order_release);
}

// Whoever is not admitted any more, or is another incarnation now, no longer counts: not in ballots
// that are open, and not as somebody who owes answers.
void Worker::withdraw_departed(const Plan& before, const Plan& after) {
    for (std::uint8_t index = 0; index < before.groups_count; ++index) {
        const PlanGroup& old_group = before.groups[index];
        const PlanGroup& new_group = after.groups[index];
        SlotSet departed;
        old_group.admitted.for_each([&](ReplicaId slot) {
            const bool stays =
                index < after.groups_count && new_group.admitted.contains(slot) &&
                new_group.seats[slot.value].incarnation == old_group.seats[slot.value].incarnation;
            if (!stays) departed.insert(slot);
        });
        departed.for_each([&](ReplicaId slot) {
            withdraw(index, slot);
            accusations_[index].forget(slot);
        });
    }
}

void Worker::withdraw(std::uint8_t group, ReplicaId slot) {
    for (Record* record = records_.oldest(group); record != nullptr;
         record = records_.next(*record)) {
        record->ballot.withdraw(slot);
        record->deferred.erase(slot);
        if (record->ballot.decided() || record->ballot.complete()) list(*record);
    }
    inflight_[group][slot.value] = 0;
    deferred_[group][slot.value].clear();
}

// An answer, or the end of waiting for one.
void Worker::answered(std::uint8_t group, ReplicaId slot) {
    std::uint32_t& inflight = inflight_[group][slot.value];
    if (inflight != 0) inflight -= 1;
}

bool Worker::is_service_address(const wire::IpAddress& address) const {
    for (std::uint8_t i = 0; i < plan_->services_count; ++i) {
        if (plan_->services[i].address == address) return true;
    }
    return false;
}

// Of a frame that does not parse: is it meant for a service all the same? Such a frame passes
// nowhere.
bool Worker::frame_is_for_service(wire::Bytes frame) const {
    std::size_t at = wire::ethernet_header_len;
    if (frame.size() < at) return false;
    std::uint16_t type = wire::load_be16(frame.data() + at - 2);
    if (type == wire::ether_type_vlan && frame.size() >= at + wire::vlan_tag_len) {
        at += wire::vlan_tag_len;
        type = wire::load_be16(frame.data() + at - 2);
    }
    wire::IpAddress destination;
    if (type == wire::ether_type_ipv4 && frame.size() >= at + wire::ipv4_header_len) {
        destination = wire::IpAddress::v4(wire::load_be32(frame.data() + at + 16));
        // Another port, or another protocol, of a station that is also there by itself.
        const bool whole = (wire::load_be16(frame.data() + at + 6) & 0x3fff) == 0;
        const auto protocol = wire::load_u8(frame.data() + at + 9);
        const std::size_t l4 = at + (wire::load_u8(frame.data() + at) & 0x0fu) * 4u;
        return is_service_address(destination) &&
               port_is_a_services(frame, whole, protocol, l4, destination);
    }
    if (type == wire::ether_type_ipv6 && frame.size() >= at + wire::ipv6_header_len) {
        std::memcpy(destination.octets.data(), frame.data() + at + 24, destination.octets.size());
        return is_service_address(destination) &&
               port_is_a_services(frame, true, wire::load_u8(frame.data() + at + 6),
                                  at + wire::ipv6_header_len, destination);
    }
    return false;
}

bool Worker::port_is_a_services(wire::Bytes frame, bool whole, std::uint8_t protocol,
                                std::size_t l4, const wire::IpAddress& destination) const {
    if (protocol == wire::protocol_icmp || protocol == wire::protocol_icmpv6) return false;
    if (!whole || frame.size() < l4 + 4) return true;  // cannot tell: it stays here
    if (protocol != wire::protocol_udp && protocol != wire::protocol_tcp) return false;
    return find_service(destination, wire::load_be16(frame.data() + l4 + 2)) != no_service;
}

std::uint64_t Worker::next_deadline() {
    if (!decided_.empty()) return now_;
    std::uint64_t next = UINT64_MAX;
    for (std::uint8_t group = 0; group < plan_->groups_count; ++group) {
        if (const Record* record = records_.oldest(group)) {
            next = std::min(next, record->opened_at + plan_->groups[group].deadline_ticks);
        }
        if (stateful_[group] != nullptr) next = std::min(next, next_feed_deadline(group));
    }
    return next;
}

bool Worker::handoff_waits() const {
    for (unsigned from = 0; from < settings_.workers; ++from) {
        const rte_ring* ring = around_.handoff->rings[from][settings_.index];
        if (ring != nullptr && rte_ring_empty(ring) == 0) return true;
    }
    return false;
}

void Worker::drain() {
    for (std::uint8_t group = 0; group < groups_max; ++group) {
        while (Record* record = records_.oldest(group)) {
            record->superseded = true;
            close(*record);
        }
    }
    for (unsigned from = 0; from < settings_.workers; ++from) {
        rte_ring* ring = around_.handoff->rings[from][settings_.index];
        void* packet = nullptr;
        while (ring != nullptr && rte_ring_sc_dequeue(ring, &packet) == 0) {
            counters_.taken_over.add(1);
            drop(Handed::from_word(packet).packet, DropReason::consumed);
        }
    }
    if (around_.netback != nullptr) around_.netback->release();
    // What reassembly holds goes with its tables; the counters forget it here.
    free_dropped();
    counters_.drop(DropReason::consumed, held_);
    held_ = 0;
    counters_.held.set(0);
}

}  // namespace proxy
