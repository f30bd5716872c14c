// Fragments to datagrams, both ways, with DPDK's ip_frag: at most 8 fragments a packet (its
// RTE_LIBRTE_IP_FRAG_MAX_FRAG), so datagrams up to about 11.8 KB on Ethernet. Each replica has a
// table of its own: all replicas share addresses, and their identifications would collide.
#include <rte_ip.h>

#include "proxy/pipeline.hh"
#include "wire/checksum.hh"

namespace proxy {

using wire::DropReason;

// Takes over `packet`. Returns the whole datagram in one piece and re-parsed, or nullptr: not
// complete, or dropped.
rte_mbuf* Worker::reassemble(std::uint8_t index, rte_mbuf* packet, wire::Frame& frame) {
    const PlanPort& port = plan_->ports[index];
    rte_ip_frag_tbl* table = port.role == PlanPort::Role::client
                                 ? client_fragments_
                                 : replica_fragments_[port.group][port.slot.value];
    if (table == nullptr) {
        drop(packet, DropReason::reassembly_full);
        return nullptr;
    }
    set_length(packet, frame.end());
    packet->l2_len = frame.l3_offset & 0x7fu;  // a bit field of 7; 14 or 18
    rte_mbuf* chain = nullptr;
    held_ += 1;
    if (frame.layer3 == wire::Layer3::ipv4) {
        packet->l3_len = wire::ipv4_header_len;
        auto* header = rte_pktmbuf_mtod_offset(packet, rte_ipv4_hdr*, frame.l3_offset);
        chain = rte_ipv4_frag_reassemble_packet(table, &death_row_, packet, now_, header);
    } else {
        auto* header = rte_pktmbuf_mtod_offset(packet, rte_ipv6_hdr*, frame.l3_offset);
        auto* extension = rte_pktmbuf_mtod_offset(packet, rte_ipv6_fragment_ext*,
                                                  frame.l3_offset + wire::ipv6_header_len);
        packet->l3_len = wire::ipv6_header_len + sizeof *extension;
        chain =
            rte_ipv6_frag_reassemble_packet(table, &death_row_, packet, now_, header, extension);
    }
    free_death_row(DropReason::fragment_refused);
    if (chain == nullptr) return nullptr;
    held_ -= chain->nb_segs;
    rte_mbuf* whole = in_one_piece(chain);
    if (whole == nullptr) return nullptr;
    if (frame.layer3 == wire::Layer3::ipv4) {
        wire::write_ipv4_header_checksum(
            rte_pktmbuf_mtod_offset(whole, std::byte*, frame.l3_offset));
    }
    const DropReason reason = wire::parse_frame(bytes_of(whole), frame);
    if (reason != DropReason::none || frame.fragment) {
        drop(whole, reason == DropReason::none ? DropReason::fragment_refused : reason);
        return nullptr;
    }
    return whole;
}

// Copies a chain into one packet; the chain's pieces are used up.
rte_mbuf* Worker::in_one_piece(rte_mbuf* chain) {
    rte_mbuf* whole = chain->pkt_len <= jumbo_len_max
                          ? rte_pktmbuf_copy(chain, around_.jumbos, 0, UINT32_MAX)
                          : nullptr;
    counters_.drop(whole == nullptr ? DropReason::reassembly_full : DropReason::consumed,
                   chain->nb_segs);
    if (whole != nullptr) counters_.made.add(1);
    rte_pktmbuf_free(chain);
    return whole;
}

void Worker::free_death_row(DropReason reason) {
    if (death_row_.cnt == 0) return;
    held_ -= death_row_.cnt;
    counters_.drop(reason, death_row_.cnt);
    for (std::uint32_t i = 0; i < death_row_.cnt; ++i) rte_pktmbuf_free(death_row_.row[i]);
    death_row_.cnt = 0;
}

void Worker::age_reassembly() {
    if (now_ - fragments_aged_ < settings_.ticks_per_second / 10) return;
    fragments_aged_ = now_;
    const auto age = [&](rte_ip_frag_tbl* table) {
        if (table == nullptr) return;
        rte_ip_frag_table_del_expired_entries(table, &death_row_, now_);
        free_death_row(DropReason::fragment_timeout);
    };
    age(client_fragments_);
    for (auto& group : replica_fragments_) {
        for (rte_ip_frag_tbl* table : group) age(table);
    }
}

}  // namespace proxy
