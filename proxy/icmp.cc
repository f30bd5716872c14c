// ICMP and ICMPv6. An error from a replica about a request is a vote in the request's ballot: its
// type and code are voted, the rest the appliance writes itself. An error to the service is given
// to the replicas (they know the client by its real address, so nothing inside needs translating).
//
// Known limit: what a "packet too big" teaches the replicas bounds their packets; the appliance's
// own fragments towards the client keep to the port's MTU.
#include <cstring>

#include "proxy/pipeline.hh"
#include "wire/checksum.hh"

namespace proxy {

using wire::DropReason;

namespace {

bool is_error(const wire::Frame& frame) {
    if (frame.layer4 == wire::Layer4::icmpv6) return frame.icmp_type < 128;
    return frame.icmp_type == 3 || frame.icmp_type == 11 || frame.icmp_type == 12;
}

// What a host says of a request it cannot serve. Anything else from a replica is of no use to a
// client.
bool is_unreachable(const wire::Frame& frame) {
    return frame.icmp_type == (frame.layer4 == wire::Layer4::icmpv6
                                   ? wire::icmpv6_destination_unreachable
                                   : wire::icmp_destination_unreachable);
}

}  // namespace

void Worker::icmp_from_client(std::uint8_t index, rte_mbuf* packet, const wire::Frame& frame) {
    const std::uint8_t echo =
        frame.layer4 == wire::Layer4::icmpv6 ? wire::icmpv6_echo_request : wire::icmp_echo_request;
    if (frame.icmp_type == echo && frame.icmp_code == 0) return answer_echo(index, packet, frame);
    if (!is_error(frame)) return pass_or_drop(index, packet, DropReason::icmp_ignored);
    wire::Frame quoted;
    const wire::Bytes bytes = bytes_of(packet);
    const bool parsed = wire::parse_quoted(frame.payload(bytes), quoted) == DropReason::none &&
                        quoted.layer4 == wire::Layer4::udp;
    const std::uint8_t service =
        parsed ? find_service(quoted.ip_source, quoted.source_port) : no_service;
    if (service == no_service) return pass_or_drop(index, packet, DropReason::icmp_unmatched);
    if (!wire::l4_checksum_right(bytes, frame)) return drop(packet, DropReason::bad_l4_checksum);
    if (!known_.has_seen(key_hash_.accuser(quoted.ip_destination).value, now_)) {
        return drop(packet, DropReason::icmp_unmatched);
    }
    if (!may_answer()) return drop(packet, DropReason::rate_limited);
    const PlanGroup& group = plan_->groups[plan_->services[service].group];
    set_length(packet, frame.end());
    if (frame.tagged) rte_pktmbuf_adj(packet, wire::vlan_tag_len);
    wire::write_link_header(mutable_bytes_of(packet),
                            {link_replica_mac, link_appliance_mac, 0, false}, frame.ether_type);
    rte_mbuf_refcnt_update(packet, static_cast<std::int16_t>(group.fed.size()));
    counters_.made.add(group.fed.size());
    group.fed.for_each(
        [&](voter::ReplicaId slot) { send(group.seats[slot.value].port, packet, no_record); });
    drop(packet, DropReason::consumed);
}

void Worker::icmp_from_replica(std::uint8_t index, rte_mbuf* packet, const wire::Frame& frame) {
    const PlanPort& port = plan_->ports[index];
    if (!is_unreachable(frame)) return drop(packet, DropReason::icmp_ignored);
    wire::Frame quoted;
    const wire::Bytes bytes = bytes_of(packet);
    const wire::Bytes inside = frame.payload(bytes);
    if (wire::parse_quoted(inside, quoted) != DropReason::none ||
        quoted.layer4 != wire::Layer4::udp || quoted.ip_source != frame.ip_destination) {
        return drop(packet, DropReason::icmp_unmatched);
    }
    const std::uint8_t service = find_service(quoted.ip_destination, quoted.destination_port);
    if (service == no_service || plan_->services[service].group != port.group ||
        frame.ip_source != quoted.ip_destination) {
        return drop(packet, DropReason::icmp_unmatched);
    }
    if (!wire::l4_checksum_right(bytes, frame)) return drop(packet, DropReason::bad_l4_checksum);
    const std::size_t quoted_length =
        std::min<std::size_t>(quoted.payload_length, inside.size() - quoted.payload_offset);
    const wire::Bytes request = inside.subspan(quoted.payload_offset, quoted_length);
    const auto key = plan_->services[service].matcher.request_key(request);
    if (!key) return drop(packet, DropReason::icmp_unmatched);
    const RecordKey record_key{quoted.ip_source, key->request, quoted.source_port, service, 0};
    Record* record = records_.find(record_key, key_hash_(record_key), [&](const Record& candidate) {
        return candidate.request_length >= request.size() &&
               std::memcmp(candidate.request_payload().data(), request.data(), request.size()) == 0;
    });
    if (record == nullptr) return drop(packet, DropReason::icmp_unmatched);
    if (plan_->groups[port.group].seats[port.slot.value].port != index) {
        return drop(packet, DropReason::stale_place);
    }
    Answer answer{packet, bytes.data() + frame.l4_offset, icmp_voted_len, true};
    answer.icmp_type = frame.icmp_type;
    answer.icmp_code = frame.icmp_code;
    vote(*record, port.slot, answer, {});
}

// The voted type and code about the client's own request, as it sent it.
void Worker::send_icmp_error(const Record& record, std::uint8_t type, std::uint8_t code) {
    rte_mbuf* answer = new_packet();
    if (answer == nullptr) return;
    const wire::Bytes request = bytes_of(record.request).subspan(record.request_l3_offset);
    send_own(record.path.port, answer,
             wire::write_icmp_error(room_of(answer), record.path.link,
                                    plan_->services[record.key.service].address, record.key.client,
                                    type, code, 0, request, next_identification()));
}

void Worker::send_unreachable(const Record& record) {
    const bool v4 = record.key.client.is_v4();
    send_icmp_error(record,
                    v4 ? wire::icmp_destination_unreachable : wire::icmpv6_destination_unreachable,
                    v4 ? wire::icmp_code_host : wire::icmpv6_code_address);
}

}  // namespace proxy
