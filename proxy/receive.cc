// Ports to packets: a burst is parsed and sorted by what it is. What belongs to another worker's
// flow is handed over; UDP goes on in bursts (requests, replies), the rest one by one.
#include <rte_prefetch.h>

#include "proxy/pipeline.hh"

namespace proxy {

using wire::DropReason;
using wire::Layer3;
using wire::Layer4;

unsigned Worker::receive(std::uint8_t index) {
    const PlanPort& port = plan_->ports[index];
    if (settings_.index >= port.rx_queues) return 0;
    std::array<rte_mbuf*, burst_len_max> burst;
    const auto queue = static_cast<std::uint16_t>(settings_.index);
    const std::uint16_t count = port.data.rx_burst(queue, burst.data(), burst_len_max);
    if (count == 0) return 0;
    counters_.received.add(count);
    for (unsigned i = 0; i < count; ++i) {
        const auto* data = rte_pktmbuf_mtod(burst[i], const std::byte*);
        rte_prefetch0(data);
        rte_prefetch0(data + RTE_CACHE_LINE_SIZE);
    }
    dispatch(index, {burst.data(), count});
    return count;
}

unsigned Worker::receive_handoffs() {
    unsigned total = 0;
    for (unsigned from = 0; from < settings_.workers; ++from) {
        rte_ring* ring = around_.handoff->rings[from][settings_.index];
        if (ring == nullptr) continue;
        std::array<void*, burst_len_max> burst;
        const unsigned count =
            rte_ring_sc_dequeue_burst(ring, burst.data(), burst_len_max, nullptr);
        counters_.taken_over.add(count);
        for (unsigned i = 0; i < count; ++i) {
            const Handed handed = Handed::from_word(burst[i]);
            rte_mbuf* packet = handed.packet;
            const std::uint8_t port = handed.port;
            if (port >= plan_->ports_count || plan_->ports[port].role == PlanPort::Role::none) {
                drop(packet, DropReason::service_without_port);
            } else if (handed.to_send) {
                send(port, packet);
            } else {
                dispatch(port, {&packet, 1});
            }
        }
        total += count;
    }
    return total;
}

void Worker::dispatch(std::uint8_t index, std::span<rte_mbuf*> burst) {
    const PlanPort& port = plan_->ports[index];
    const bool from_client_side = port.role == PlanPort::Role::client;
    std::size_t arrivals_count = 0;
    for (rte_mbuf* packet : burst) {
        Arrival& arrival = arrivals_[arrivals_count];
        arrival.packet = packet;
        wire::Frame& frame = arrival.frame;
        if (packet->nb_segs > 1 || packet->data_len > packet->buf_len - RTE_PKTMBUF_HEADROOM) {
            pass_or_drop(index, packet, DropReason::oversized);
            continue;
        }
        const DropReason reason = wire::parse_frame(bytes_of(packet), frame);
        if (reason != DropReason::none) {
            pass_or_drop(index, packet, reason);
            continue;
        }
        if (!addressed_to_us(port, frame)) {
            drop(packet, DropReason::not_for_us);
            continue;
        }
        if (settings_.workers > 1 && hand_off(index, packet, frame)) continue;
        if (frame.fragment) {
            if (from_client_side && !is_service_address(frame.ip_destination)) {
                pass_or_drop(index, packet, DropReason::no_service);
                continue;
            }
            packet = reassemble(index, packet, frame);
            if (packet == nullptr) continue;
            arrival.packet = packet;
            if (settings_.workers > 1 && hand_off(index, packet, frame)) continue;
        }
        if (frame.layer4 == Layer4::udp) {
            // A burst has no more packets than `arrivals_` has room for.
            const bool ours =
                from_client_side ? is_request(index, arrival) : is_reply(index, arrival);
            if (ours) ++arrivals_count;
        } else if (from_client_side) {
            from_client(index, packet, frame);
        } else {
            from_replica(index, packet, frame);
        }
    }
    if (from_client_side) {
        requests(index, {arrivals_.data(), arrivals_count});
    } else {
        replies(index, {arrivals_.data(), arrivals_count});
    }
}

bool Worker::addressed_to_us(const PlanPort& port, const wire::Frame& frame) const {
    if (frame.destination.is_multicast()) return true;
    if (port.role == PlanPort::Role::replica) return frame.destination == link_appliance_mac;
    return plan_->topology == config::Topology::inline_ || frame.destination == port.mac;
}

// A flow belongs to one worker, and so does a stateful group; fragments go by their sender, who is
// all they name.
bool Worker::hand_off(std::uint8_t index, rte_mbuf* packet, const wire::Frame& frame) {
    if (frame.layer3 != Layer3::ipv4 && frame.layer3 != Layer3::ipv6) return false;
    const bool from_client_side = plan_->ports[index].role == PlanPort::Role::client;
    const wire::IpAddress& client = from_client_side ? frame.ip_source : frame.ip_destination;
    std::uint64_t owner = 0;
    if (frame.fragment) {
        owner = key_hash_.source(client) % settings_.workers;
    } else if (frame.layer4 == Layer4::udp) {
        const std::uint16_t port = from_client_side ? frame.source_port : frame.destination_port;
        const std::uint8_t service =
            from_client_side ? find_service(frame.ip_destination, frame.destination_port)
                             : find_service(frame.ip_source, frame.source_port);
        owner = key_hash_.flow(client, port) % settings_.workers;
        if (service != no_service) {
            const std::uint8_t group = plan_->services[service].group;
            if (plan_->groups[group].logged) owner = plan_->groups[group].owner;
        }
    } else if (!from_client_side && frame.layer4 != Layer4::none) {
        // An error about a request: the flow is inside, so look there.
        owner = owner_of_quoted(packet, frame);
    } else {
        return false;
    }
    if (owner == settings_.index) return false;
    pass_to_worker(static_cast<unsigned>(owner), {packet, index, false});
    return true;
}

std::uint64_t Worker::owner_of_quoted(rte_mbuf* packet, const wire::Frame& frame) const {
    wire::Frame quoted;
    const bool icmp = frame.layer4 == Layer4::icmp || frame.layer4 == Layer4::icmpv6;
    if (!icmp || wire::parse_quoted(frame.payload(bytes_of(packet)), quoted) != DropReason::none) {
        return settings_.index;
    }
    const std::uint8_t service = find_service(quoted.ip_destination, quoted.destination_port);
    if (service == no_service) return settings_.index;
    const std::uint8_t group = plan_->services[service].group;
    if (plan_->groups[group].logged) return plan_->groups[group].owner;
    return key_hash_.flow(quoted.ip_source, quoted.source_port) % settings_.workers;
}

void Worker::pass_to_worker(unsigned to, const Handed& handed) {
    if (rte_ring_sp_enqueue(around_.handoff->rings[settings_.index][to], handed.word()) != 0) {
        drop(handed.packet, DropReason::handoff_full);
        return;
    }
    counters_.handed_over.add(1);
    handed_to_ |= 1u << to;
}

// On the client side everything that is neither UDP for a service nor a fragment.
void Worker::from_client(std::uint8_t index, rte_mbuf* packet, const wire::Frame& frame) {
    if (frame.layer3 == Layer3::arp) return answer_neighbour(index, packet, frame);
    if (frame.layer4 == Layer4::icmpv6 && frame.icmp_type == wire::icmpv6_neighbour_solicitation) {
        return answer_neighbour(index, packet, frame);
    }
    if (!is_service_address(frame.ip_destination)) {
        return pass_or_drop(index, packet, DropReason::no_service);
    }
    switch (frame.layer4) {
        case Layer4::tcp:
            return refuse_tcp(index, packet, frame);
        case Layer4::icmp:
        case Layer4::icmpv6:
            return icmp_from_client(index, packet, frame);
        default:
            return pass_or_drop(index, packet, DropReason::unknown_protocol);
    }
}

void Worker::from_replica(std::uint8_t index, rte_mbuf* packet, const wire::Frame& frame) {
    if (frame.layer3 == Layer3::arp) return answer_neighbour(index, packet, frame);
    if (frame.layer4 == Layer4::icmpv6 && frame.icmp_type == wire::icmpv6_neighbour_solicitation) {
        return answer_neighbour(index, packet, frame);
    }
    if (frame.layer4 == Layer4::icmp || frame.layer4 == Layer4::icmpv6) {
        return icmp_from_replica(index, packet, frame);
    }
    drop(packet, DropReason::replica_initiated);
}

// vip: dropped. inline: what is not for a service passes untouched to the other side, whatever it
// is.
void Worker::pass_or_drop(std::uint8_t index, rte_mbuf* packet, DropReason reason) {
    const PlanPort& port = plan_->ports[index];
    if (port.role != PlanPort::Role::client || plan_->topology != config::Topology::inline_ ||
        packet->nb_segs > 1 || frame_is_for_service(bytes_of(packet))) {
        drop(packet, reason);
        return;
    }
    counters_.passed.add(1);
    send(plan_->client_ports[1u - port.client], packet);
}

}  // namespace proxy
