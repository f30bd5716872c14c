#include "xen/netback/guest_tx.hh"

#include <algorithm>

namespace xen::netback {

namespace {

netif_extra_info as_extra(const netif_tx_request& request) {
    static_assert(sizeof(netif_extra_info) <= sizeof(netif_tx_request));
    netif_extra_info extra;
    std::memcpy(&extra, &request, sizeof extra);
    return extra;
}

bool within_page(const netif_tx_request& request, std::uint32_t length) {
    return request.offset + length <= page_bytes;
}

}  // namespace

Violation GuestTx::read_extras(Index waiting, Extras& extras) {
    unsigned seen = 0;  // a bit for each type
    bool more = true;
    while (more) {
        const Index ahead = 1 + extras.count;
        if (extras.count == extras_max) return Violation::extra_info_invalid;
        if (ahead >= waiting) return Violation::frame_cut;
        const netif_extra_info extra = as_extra(ring_.peek(ahead));
        if (extra.type == XEN_NETIF_EXTRA_TYPE_NONE || extra.type >= XEN_NETIF_EXTRA_TYPE_MAX ||
            (seen & 1u << extra.type) != 0) {
            return Violation::extra_info_invalid;
        }
        seen |= 1u << extra.type;
        extras.count += 1;
        more = (extra.flags & XEN_NETIF_EXTRA_FLAG_MORE) != 0;
        switch (extra.type) {
            case XEN_NETIF_EXTRA_TYPE_GSO:
                if (extra.u.gso.size == 0 || (extra.u.gso.type != XEN_NETIF_GSO_TYPE_TCPV4 &&
                                              extra.u.gso.type != XEN_NETIF_GSO_TYPE_TCPV6)) {
                    return Violation::extra_info_invalid;
                }
                extras.segmentation = {extra.u.gso.type, extra.u.gso.size};
                break;
            case XEN_NETIF_EXTRA_TYPE_MCAST_ADD:
                extras.control = true;
                if (const Violation bad = add_multicast(extra); bad != Violation::none) return bad;
                break;
            case XEN_NETIF_EXTRA_TYPE_MCAST_DEL:
                extras.control = true;
                remove_multicast(extra);
                break;
            default:
                break;  // a hash: of no use to us
        }
    }
    return Violation::none;
}

Violation GuestTx::read_frame(Index waiting, FrameFromGuest& frame) {
    const netif_tx_request first = ring_.peek(0);
    Extras extras;
    if ((first.flags & NETTXF_extra_info) != 0) {
        if (const Violation bad = read_extras(waiting, extras); bad != Violation::none) return bad;
    }
    frame.pieces_count = 0;
    frame.checksum_blank = (first.flags & NETTXF_csum_blank) != 0;
    frame.checksum_validated = (first.flags & NETTXF_data_validated) != 0;
    frame.length = first.size;
    frame.segmentation = extras.segmentation;
    frame.requests = static_cast<std::uint8_t>(1 + extras.count);
    if (extras.control) {
        return (first.flags & NETTXF_more_data) == 0 ? Violation::none
                                                     : Violation::extra_info_invalid;
    }
    if (first.size < ethernet_header_bytes) return Violation::frame_too_short;

    // The first descriptor says the size of all; its own part is what the others leave.
    std::uint32_t others = 0;
    unsigned count = 1;
    for (bool more = (first.flags & NETTXF_more_data) != 0; more; ++count) {
        if (count == pieces_max) return Violation::slots_exceeded;
        const Index ahead = extras.count + count;
        if (ahead >= waiting) return Violation::frame_cut;
        const netif_tx_request next = ring_.peek(ahead);
        if (!within_page(next, next.size)) return Violation::crosses_page;
        others += next.size;
        if (next.size == 0 || others > first.size) return Violation::sizes_disagree;
        frame.pieces[count] = {next.gref, next.offset, next.size};
        more = (next.flags & NETTXF_more_data) != 0;
    }
    const std::uint32_t own = first.size - others;
    if (own == 0) return Violation::sizes_disagree;
    if (!within_page(first, own)) return Violation::crosses_page;
    frame.pieces[0] = {first.gref, first.offset, static_cast<std::uint16_t>(own)};
    frame.pieces_count = static_cast<std::uint8_t>(count);
    frame.requests = static_cast<std::uint8_t>(extras.count + count);
    return Violation::none;
}

unsigned GuestTx::take(std::span<FrameFromGuest> frames, unsigned pieces_room) {
    unsigned count = 0;
    Index waiting = 0;
    if (broken_ == Violation::none) broken_ = ring_.look(waiting);
    while (broken_ == Violation::none && waiting != 0 && count < frames.size() &&
           pieces_room >= pieces_max) {
        FrameFromGuest& frame = frames[count];
        broken_ = read_frame(waiting, frame);
        if (broken_ != Violation::none) break;
        const unsigned pieces = frame.pieces_count == 0 ? 1 : frame.pieces_count;
        const unsigned extras = frame.requests - pieces;
        for (unsigned i = 0; i < frame.requests; ++i) {
            is_extra_[taken_++ % ring_entries<TxRing>] = i != 0 && i <= extras;
        }
        ring_.take(frame.requests);
        waiting -= frame.requests;
        pieces_room -= frame.pieces_count;
        count += 1;
    }
    return count;
}

void GuestTx::answer(const FrameFromGuest& frame, bool arrived) {
    for (unsigned i = 0; i < frame.requests; ++i) {
        netif_tx_response response{};
        response.id = ring_.oldest().id;
        response.status = arrived ? NETIF_RSP_OKAY : NETIF_RSP_ERROR;
        if (is_extra_[answered_++ % ring_entries<TxRing>]) response.status = NETIF_RSP_NULL;
        ring_.respond(response);
    }
}

Violation GuestTx::add_multicast(const netif_extra_info& extra) {
    std::array<std::uint8_t, 6> address;
    std::copy(std::begin(extra.u.mcast.addr), std::end(extra.u.mcast.addr), address.begin());
    if (wants_multicast(address.data())) return Violation::none;
    if (multicast_count_ == multicast_.size()) return Violation::extra_info_invalid;
    multicast_[multicast_count_++] = address;
    return Violation::none;
}

void GuestTx::remove_multicast(const netif_extra_info& extra) {
    for (unsigned i = 0; i < multicast_count_; ++i) {
        if (!std::equal(multicast_[i].begin(), multicast_[i].end(), extra.u.mcast.addr)) continue;
        multicast_[i] = multicast_[--multicast_count_];
        return;
    }
}

bool GuestTx::wants_multicast(const std::uint8_t* address) const {
    return std::any_of(
        multicast_.begin(), multicast_.begin() + multicast_count_,
        [&](const auto& one) { return std::equal(one.begin(), one.end(), address); });
}

}  // namespace xen::netback
