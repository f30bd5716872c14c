// What the appliance says itself: ARP and neighbour discovery, echo, RST, and errors in the place
// of a reply. Own answers are limited per second, so that nobody makes a reflector of it.
#include "proxy/pipeline.hh"
#include "wire/checksum.hh"
#include "wire/neighbour.hh"

namespace proxy {

using wire::DropReason;

bool Worker::may_answer() {
    if (answers_left_ == 0) return false;
    answers_left_ -= 1;
    return true;
}

// Sends `length` bytes that were written into `answer`; 0: nothing was.
void Worker::send_own(std::uint8_t port, rte_mbuf* answer, std::size_t length) {
    if (length == 0) {
        rte_pktmbuf_free(answer);
        return;
    }
    set_length(answer, static_cast<std::uint16_t>(length));
    counters_.made.add(1);
    send(port, answer, no_record);
}

// Client side (vip): the services' addresses are ours. Replica side: we stand in for the whole
// world except the replica itself, and never answer a probe, or its duplicate address detection
// would fail.
void Worker::answer_neighbour(std::uint8_t index, rte_mbuf* packet, const wire::Frame& frame) {
    const PlanPort& port = plan_->ports[index];
    const bool client_side = port.role == PlanPort::Role::client;
    if (client_side && plan_->topology == config::Topology::inline_) {
        return pass_or_drop(index, packet, DropReason::neighbour_ignored);
    }
    DropReason why = DropReason::neighbour_ignored;
    const auto question = wire::neighbour_question(bytes_of(packet), frame, why);
    if (!question) return drop(packet, why);
    const bool about_service = is_service_address(question->target);
    const bool ours = client_side ? about_service : !about_service && !question->probe;
    if (!ours) return drop(packet, DropReason::neighbour_ignored);
    if (!may_answer()) return drop(packet, DropReason::rate_limited);
    if (rte_mbuf* answer = new_packet()) {
        const wire::MacAddress& mac = client_side ? port.mac : link_appliance_mac;
        send_own(index, answer,
                 wire::write_neighbour_answer(frame, *question, mac, room_of(answer)));
    }
    drop(packet, DropReason::consumed);
}

void Worker::answer_echo(std::uint8_t index, rte_mbuf* packet, const wire::Frame& frame) {
    if (!wire::l4_checksum_right(bytes_of(packet), frame)) {
        return drop(packet, DropReason::bad_l4_checksum);
    }
    if (!may_answer()) return drop(packet, DropReason::rate_limited);
    if (rte_mbuf* answer =
            frame.end() <= frame_len_max ? new_packet() : rte_pktmbuf_alloc(around_.jumbos)) {
        const wire::LinkHeader link = return_path(index, frame).link;
        const std::size_t length = wire::write_echo_reply(room_of(answer), link, bytes_of(packet),
                                                          frame, next_identification());
        if (length > plan_->ports[index].mtu + link.length()) {
            set_length(answer, static_cast<std::uint16_t>(length));
            counters_.made.add(1);
            send_whole_or_fragmented(index, answer, static_cast<std::uint16_t>(link.length()));
        } else {
            send_own(index, answer, length);
        }
    }
    drop(packet, DropReason::consumed);
}

// TCP is refused until it is spliced: a client learns at once that nobody listens.
void Worker::refuse_tcp(std::uint8_t index, rte_mbuf* packet, const wire::Frame& frame) {
    const bool service = find_service(frame.ip_destination, frame.destination_port) != no_service;
    if (!service && plan_->topology == config::Topology::inline_) {
        return pass_or_drop(index, packet, DropReason::no_service);
    }
    if (!wire::l4_checksum_right(bytes_of(packet), frame)) {
        return drop(packet, DropReason::bad_l4_checksum);
    }
    if (frame.destination.is_multicast() || !may_answer())
        return drop(packet, DropReason::rate_limited);
    if (rte_mbuf* answer = new_packet()) {
        send_own(index, answer,
                 wire::write_tcp_reset(room_of(answer), return_path(index, frame).link,
                                       bytes_of(packet), frame, next_identification()));
    }
    drop(packet, DropReason::tcp_refused);
}

// A DNS reply without records in the place of one that was not asked for.
void Worker::answer_dns_error(std::uint8_t index, const Arrival& arrival, std::uint8_t rcode,
                              DropReason reason) {
    const wire::Frame& frame = arrival.frame;
    if (!may_answer()) return drop(arrival.packet, DropReason::rate_limited);
    const std::size_t length =
        voter::dns::write_error(frame.payload(bytes_of(arrival.packet)), rcode,
                                {compose_buffer_.data(), own_error_len_max});
    rte_mbuf* answer = length == 0 ? nullptr : new_packet();
    if (answer != nullptr) {
        send_own(
            index, answer,
            wire::write_udp(room_of(answer), return_path(index, frame).link, frame.ip_destination,
                            frame.destination_port, frame.ip_source, frame.source_port,
                            next_identification(), {compose_buffer_.data(), length}));
    }
    drop(arrival.packet, reason);
}

// The group cannot answer now: say so in the protocol's own way.
void Worker::answer_error(std::uint8_t index, const Arrival& arrival, DropReason reason) {
    counters_.groups[plan_->services[arrival.service].group].errors_sent.add(1);
    if (plan_->services[arrival.service].is_dns) {
        return answer_dns_error(index, arrival, voter::dns::rcode_servfail, reason);
    }
    const wire::Frame& frame = arrival.frame;
    if (!may_answer()) return drop(arrival.packet, DropReason::rate_limited);
    if (rte_mbuf* answer = new_packet()) {
        const wire::Bytes packet = bytes_of(arrival.packet);
        send_own(index, answer,
                 write_unreachable(room_of(answer), return_path(index, frame).link,
                                   frame.ip_destination, frame.ip_source,
                                   packet.subspan(frame.l3_offset, frame.end() - frame.l3_offset)));
    }
    drop(arrival.packet, reason);
}

std::size_t Worker::write_unreachable(wire::MutableBytes out, const wire::LinkHeader& link,
                                      const wire::IpAddress& service, const wire::IpAddress& client,
                                      wire::Bytes packet) {
    const bool v4 = client.is_v4();
    return wire::write_icmp_error(
        out, link, service, client,
        v4 ? wire::icmp_destination_unreachable : wire::icmpv6_destination_unreachable,
        v4 ? wire::icmp_code_host : wire::icmpv6_code_address, 0, packet, next_identification());
}

// Filled where it is to be, like Arrival::set_key().
void Worker::set_return_path(ReturnPath& path, std::uint8_t index, const wire::Frame& frame) const {
    path.link.destination = plan_->has_gateway ? plan_->gateway : frame.source;
    // inline: the client goes on believing that it talks to the station behind us.
    path.link.source =
        plan_->topology == config::Topology::inline_ ? frame.destination : plan_->ports[index].mac;
    path.link.vlan = frame.vlan;
    path.link.tagged = frame.tagged;
    path.port = index;
}

ReturnPath Worker::return_path(std::uint8_t index, const wire::Frame& frame) const {
    ReturnPath path;
    set_return_path(path, index, frame);
    return path;
}

}  // namespace proxy
