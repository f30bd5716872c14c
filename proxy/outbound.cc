// Packets to ports: gathered per port, sent once a turn, cut into fragments where they do not fit.
// What a port does not take is a counted drop, and a replica whose clone was not taken is not
// asked.
#include <rte_ip.h>

#include "proxy/crash_point.hh"
#include "proxy/pipeline.hh"
#include "wire/checksum.hh"

namespace proxy {

using wire::DropReason;

void Worker::drop(rte_mbuf* packet, DropReason reason) {
    counters_.drop(reason);
    dropped_[dropped_len_++] = packet;
    if (dropped_len_ == dropped_.size()) free_dropped();
}

// Nearly all are single packets of the one pool, and nobody else holds them.
void Worker::free_dropped() {
    std::array<void*, burst_len_max> last_held;
    unsigned count = 0;
    for (unsigned i = 0; i < dropped_len_; ++i) {
        rte_mbuf* packet = dropped_[i];
        if (packet->nb_segs != 1 || packet->pool != around_.packets) {
            rte_pktmbuf_free(packet);
        } else if (rte_mbuf* last = rte_pktmbuf_prefree_seg(packet); last != nullptr) {
            last_held[count++] = last;
        }
    }
    rte_mempool_put_bulk(around_.packets, last_held.data(), count);
    dropped_len_ = 0;
}

rte_mbuf* Worker::new_packet() { return rte_pktmbuf_alloc(around_.packets); }

void Worker::send_whole_or_fragmented(std::uint8_t index, rte_mbuf* packet,
                                      std::uint16_t l3_offset) {
    if (packet->pkt_len - l3_offset <= plan_->ports[index].mtu) {
        send(index, packet, no_record);
    } else {
        send_fragmented(index, packet, l3_offset, no_record);
        drop(packet, DropReason::consumed);
    }
}

// Cuts a copy of `packet` (which stays the caller's) into fragments. DPDK's library writes them as
// header plus a piece of the original; each is copied into one piece, because not every port sends
// more (af_xdp corrupts them). Rare and big packets only. All of them are sent, or none (false).
bool Worker::send_fragmented(std::uint8_t index, rte_mbuf* packet, std::uint16_t l3_offset,
                             std::uint32_t record, std::uint64_t order) {
    std::array<rte_mbuf*, fragments_max> pieces;
    rte_mbuf* body = rte_pktmbuf_copy(packet, around_.jumbos, l3_offset, UINT32_MAX);
    if (body == nullptr) {
        counters_.made.add(1);
        counters_.drop(DropReason::mbufs_exhausted);
        return false;
    }
    const bool v4 = (std::to_integer<unsigned>(*rte_pktmbuf_mtod(body, std::byte*)) >> 4) == 4;
    const std::uint16_t mtu = std::min(plan_->ports[index].mtu, mtu_default);
    const std::int32_t count = v4 ? rte_ipv4_fragment_packet(body, pieces.data(), fragments_max,
                                                             mtu, around_.packets, around_.packets)
                                  : rte_ipv6_fragment_packet(body, pieces.data(), fragments_max,
                                                             mtu, around_.packets, around_.packets);
    std::array<rte_mbuf*, fragments_max> wholes;
    const unsigned pieces_count = count > 0 ? static_cast<unsigned>(count) : 0;
    unsigned made = 0;
    for (unsigned i = 0; i < pieces_count; ++i) {
        rte_mbuf* piece = pieces[i];
        if (v4) wire::write_ipv4_header_checksum(rte_pktmbuf_mtod(piece, std::byte*));
        if (rte_mbuf* whole = made == i ? new_packet() : nullptr) {
            std::byte* to = rte_pktmbuf_mtod(whole, std::byte*);
            std::memcpy(to, rte_pktmbuf_mtod(packet, const std::byte*), l3_offset);
            const void* from = rte_pktmbuf_read(piece, 0, piece->pkt_len, to + l3_offset);
            if (from != to + l3_offset) std::memcpy(to + l3_offset, from, piece->pkt_len);
            set_length(whole, static_cast<std::uint16_t>(l3_offset + piece->pkt_len));
            wholes[made++] = whole;
        }
        rte_pktmbuf_free(piece);
    }
    rte_pktmbuf_free(body);
    counters_.made.add(made);
    const bool all = made != 0 && made == pieces_count;
    for (unsigned i = 0; i < made; ++i) {
        if (all) {
            send(index, wholes[i], record, order);
        } else {
            drop(wholes[i], DropReason::mbufs_exhausted);
        }
    }
    if (made == 0) {
        counters_.made.add(1);
        counters_.drop(pieces_count == 0 ? DropReason::reply_unsendable
                                         : DropReason::mbufs_exhausted);
    }
    return all;
}

void Worker::flush_role(PlanPort::Role role) {
    for (std::uint8_t port = 0; port < plan_->ports_count; ++port) {
        if (plan_->ports[port].role == role && (*tx_)[port].length != 0) flush(port);
    }
}

void Worker::flush(std::uint8_t index) {
    TxBuffer& buffer = (*tx_)[index];
    const PlanPort& port = plan_->ports[index];
    const auto queue = static_cast<std::uint16_t>(settings_.index);
    const bool to_replica = port.role == PlanPort::Role::replica;
    const bool logged = to_replica && stateful_[port.group] != nullptr;
    if (logged) log_intent(port, buffer);
    std::uint16_t sent = port.data.tx_burst(queue, buffer.packets.data(), buffer.length);
    if (sent < buffer.length) {
        // One more try: a driver may take a burst in parts.
        sent = static_cast<std::uint16_t>(
            sent + port.data.tx_burst(queue, buffer.packets.data() + sent,
                                      static_cast<std::uint16_t>(buffer.length - sent)));
    }
    counters_.sent.add(sent);
    // What the log calls delivered must have arrived.
    if (logged && port.data.is_netback()) around_.netback->commit();
    if (logged) log_delivered(port, buffer, sent);
    for (std::uint16_t i = sent; i < buffer.length; ++i) {
        drop(buffer.packets[i], DropReason::port_tx_full);
        // A logged request is given again: see log_delivered().
        if (to_replica && buffer.orders[i] == 0) not_asked(buffer.records[i], port);
    }
    if (!to_replica) crash_point(CrashPoint::left);
    buffer.length = 0;
}

// The clone did not leave: this replica cannot be blamed for not answering.
void Worker::not_asked(std::uint32_t id, const PlanPort& port) {
    if (id == no_record) return;
    Record& record = records_[id];
    if (!record.open || record.group != port.group) return;
    if (!record.ballot.missing().contains(port.slot)) return;
    counters_.groups[port.group].replicas[port.slot.value].skipped.add(1);
    answered(port.group, port.slot);
    record.ballot.withdraw(port.slot);
    if (record.ballot.decided() || record.ballot.complete()) list(record);
}

}  // namespace proxy
