// From a datagram to a ballot: classify by service, tie it to what is known of the flow, open a
// ballot and give the request to every replica that has room. A request is the same frame for all
// of them (one MAC, one address), so it is cloned by counting references.
#include <bit>

#include "proxy/pipeline.hh"
#include "wire/checksum.hh"

namespace proxy {

using voter::SlotSet;
using wire::DropReason;

// Sorts a parsed UDP packet of the client side: true if it is for a service and stays in the burst.
bool Worker::is_request(std::uint8_t index, Arrival& arrival) {
    const wire::Frame& frame = arrival.frame;
    arrival.service = find_service(frame.ip_destination, frame.destination_port);
    if (arrival.service == no_service) {
        pass_or_drop(index, arrival.packet, DropReason::no_service);
        return false;
    }
    if (frame.destination.is_multicast() || is_service_address(frame.ip_source)) {
        drop(arrival.packet, DropReason::bad_ip_source);
        return false;
    }
    const auto key = plan_->services[arrival.service].matcher.request_key(
        frame.payload(bytes_of(arrival.packet)));
    if (!key) {
        drop(arrival.packet, DropReason::not_a_request);
        return false;
    }
    arrival.set_key(frame.ip_source, frame.source_port, *key);
    arrival.key.unit = 0;
    arrival.hash = key_hash_(arrival.key);
    records_.prefetch_index(arrival.hash);
    return true;
}

void Worker::requests(std::uint8_t port, std::span<Arrival> arrivals) {
    for (Arrival& arrival : arrivals) request(port, arrival);
}

void Worker::request(std::uint8_t port, Arrival& arrival) {
    const PlanService& service = plan_->services[arrival.service];
    const bool checked = plan_->ports[port].rx_checksum_trusted;
    if (!checked && !wire::l4_checksum_right(bytes_of(arrival.packet), arrival.frame)) {
        note_blank_checksum(arrival);
        return drop(arrival.packet, DropReason::bad_l4_checksum);
    }
    if (arrival.frame.l4_length > datagram_len_max) {
        return drop(arrival.packet, DropReason::oversized);
    }
    if (service.is_dns) {
        const wire::Bytes payload = arrival.frame.payload(bytes_of(arrival.packet));
        if (const auto rcode = voter::dns::refused(payload, service.refuse)) {
            return answer_dns_error(port, arrival, *rcode, DropReason::refused_kind);
        }
    }
    Asking asking;
    const DropReason reason = sequence(port, arrival, asking);
    if (reason == DropReason::no_quorum || reason == DropReason::group_halted) {
        if (plan_->groups[service.group].quorum_lost == config::QuorumLost::error) {
            return answer_error(port, arrival, reason);
        }
    }
    if (reason != DropReason::none) return drop(arrival.packet, reason);

    Record* record = records_.open(arrival.key, arrival.hash, service.group, now_);
    if (record == nullptr) return drop(arrival.packet, DropReason::ballots_full);
    open_ballot(port, arrival, *record, asking);
    give_to_replicas(*record, asking.now);
}

// What may happen to this request now: `asking` is who gets it, and when.
DropReason Worker::sequence(std::uint8_t port, const Arrival& arrival, Asking& asking) {
    const PlanService& service = plan_->services[arrival.service];
    const PlanGroup& group = plan_->groups[service.group];
    const DropReason reason = group.logged ? log_refuses(port, arrival) : not_now(arrival);
    if (reason != DropReason::none) return reason;

    asking.source = key_hash_.accuser(arrival.key.client);
    const bool known = known_.knows(asking.source.value, now_);
    const std::uint32_t room = known ? group.inflight_max : group.stranger_inflight_max;
    SlotSet with_room = group.logged ? log_ask(service.group, room) : group.fed;
    if (group.logged) {
        // A stranger waits for room, but does not make a replica fall behind.
        asking.now = log_ask(service.group, group.inflight_max);
    } else {
        group.fed.for_each([&](voter::ReplicaId slot) {
            if (inflight_[service.group][slot.value] < room) return;
            with_room.erase(slot);
            if (deferred_[service.group][slot.value].has_room(known)) {
                asking.later.insert(slot);
            } else {
                counters_.groups[service.group].replicas[slot.value].skipped.add(1);
            }
        });
        asking.now = with_room;
    }
    const unsigned needed = group.mode == config::Mode::observe ? 1 : group.rules.quorum;
    const bool primary_suffices =
        group.mode == config::Mode::observe || group.quorum_lost == config::QuorumLost::open;
    const SlotSet voters = with_room & group.admitted;
    const bool enough =
        voters.size() >= needed || (primary_suffices && voters.contains(group.primary));
    if (!enough) {
        if (group.admitted.size() < needed) return DropReason::no_quorum;
        return known ? DropReason::inflight_full : DropReason::strangers_full;
    }
    if (!known && open_records_[service.group] >= group.stranger_records_max) {
        return DropReason::strangers_full;
    }
    return DropReason::none;
}

// Groups without state: a request again while its record is open, or one too many of its flow.
DropReason Worker::not_now(const Arrival& arrival) {
    const voter::Matcher& matcher = plan_->services[arrival.service].matcher;
    const wire::Bytes payload = arrival.frame.payload(bytes_of(arrival.packet));
    Record* earlier = records_.find(arrival.key, arrival.hash, [&](const Record& record) {
        return matcher.repeats(record.request_payload(), payload);
    });
    if (earlier != nullptr) return repeated(*earlier);
    if (matcher.one_outstanding() && flow_waits(arrival)) return DropReason::one_outstanding;
    return DropReason::none;
}

DropReason Worker::repeated(Record& record) {
    const PlanGroup& group = plan_->groups[record.group];
    if (record.released || record.ballot.decided()) {
        close_units(record);
        // Its answer may have been lost on the way: work on it anew. Whoever has not answered the
        // old one is not to blame, its answer will count for the new one.
        counters_.groups[record.group].superseded.add(1);
        record.superseded = true;
        close(record);
        return DropReason::none;
    }
    counters_.groups[record.group].retransmissions.add(1);
    give_to_replicas(record, (record.ballot.missing() - record.deferred) & group.fed);
    return DropReason::retransmission_absorbed;
}

bool Worker::flow_waits(const Arrival& arrival) {
    return records_.find(arrival.key, arrival.hash,
                         [](const Record& record) { return !record.ballot.decided(); }) != nullptr;
}

void Worker::open_ballot(std::uint8_t port, Arrival& arrival, Record& record,
                         const Asking& asking) {
    const PlanService& service = plan_->services[arrival.service];
    const PlanGroup& group = plan_->groups[service.group];
    wire::Frame& frame = arrival.frame;
    set_return_path(record.path, port, frame);
    record.source = asking.source;
    record.ballot = voter::Ballot((asking.now | asking.later) & group.admitted, group.rules);
    rte_mbuf* packet = arrival.packet;

    // The frame as every replica gets it: untagged, on the private link, without padding.
    set_length(packet, frame.end());
    if (frame.tagged) {
        rte_pktmbuf_adj(packet, wire::vlan_tag_len);
        frame.l3_offset = static_cast<std::uint16_t>(frame.l3_offset - wire::vlan_tag_len);
        frame.payload_offset =
            static_cast<std::uint16_t>(frame.payload_offset - wire::vlan_tag_len);
    }
    const wire::LinkHeader link{link_replica_mac, link_appliance_mac, 0, false};
    wire::write_link_header(mutable_bytes_of(packet), link, frame.ether_type);

    record.request = packet;
    record.request_l3_offset = frame.l3_offset;
    record.request_at = frame.payload(bytes_of(packet)).data();
    record.request_length = frame.payload_length;
    held_ += 1;
    open_records_[service.group] += 1;
    counters_.groups[service.group].requests.add(1);
    (asking.now & group.admitted).for_each([&](voter::ReplicaId slot) {
        inflight_[service.group][slot.value] += 1;
    });
    if (!asking.later.empty()) defer(record, asking.later);
    if (group.logged) log_request(record);
}

void Worker::give_to_replicas(Record& record, SlotSet slots) {
    const PlanGroup& group = plan_->groups[record.group];
    if (group.logged) return give_logged(record, slots);
    const std::uint16_t copies = static_cast<std::uint16_t>(slots.size());
    rte_mbuf* packet = record.request;
    const std::uint32_t id = records_.id_of(record);
    const bool whole = packet->pkt_len - record.request_l3_offset <= mtu_default;
    if (whole) {
        rte_mbuf_refcnt_update(packet, static_cast<std::int16_t>(copies));
        counters_.made.add(copies);
    }
    slots.for_each([&](voter::ReplicaId slot) {
        const std::uint8_t port = group.seats[slot.value].port;
        counters_.groups[record.group].replicas[slot.value].asked.add(1);
        if (whole) {
            send(port, packet, id);
        } else if (!send_fragmented(port, packet, record.request_l3_offset, id)) {
            not_asked(id, plan_->ports[port]);
        }
    });
}

// Clients whose kernel leaves the checksum to hardware that is not there: worth telling apart from
// damage, because the cure is one command (ethtool -K IF tx off).
void Worker::note_blank_checksum(const Arrival& arrival) {
    const wire::Frame& frame = arrival.frame;
    const std::uint16_t found =
        wire::load_be16(bytes_of(arrival.packet).data() + frame.l4_offset + 6);
    const std::uint16_t pseudo =
        static_cast<std::uint16_t>(~wire::fold_checksum(wire::sum_pseudo_header(
            frame.ip_source, frame.ip_destination, frame.protocol, frame.l4_length)));
    if (found == pseudo) counters_.blank_checksums.add(1);
}

}  // namespace proxy
