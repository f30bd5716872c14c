#include "xen/netback/guest_rx.hh"

#include <algorithm>

namespace xen::netback {

bool GuestRx::may_send(std::uint32_t length, const Segmentation& segmentation) const {
    if (length == 0 || length > XEN_NETIF_MAX_TX_SIZE) return false;
    if (!features_.scatter_gather && length + features_.headroom > page_bytes) return false;
    switch (segmentation.type) {
        case XEN_NETIF_GSO_TYPE_NONE:
            return true;
        case XEN_NETIF_GSO_TYPE_TCPV4:
            return features_.segmentation_v4;
        case XEN_NETIF_GSO_TYPE_TCPV6:
            return features_.segmentation_v6;
        default:
            return false;
    }
}

Room GuestRx::take(std::uint32_t length, Segmentation segmentation, FrameToGuest& frame) {
    if (!may_send(length, segmentation)) return Room::never;
    Index waiting = 0;
    if (broken_ == Violation::none) broken_ = ring_.look(waiting);
    if (broken_ != Violation::none) return Room::none_now;

    const bool extra = segmentation.type != XEN_NETIF_GSO_TYPE_NONE;
    const auto first = std::min<std::uint32_t>(
        length, static_cast<std::uint32_t>(page_bytes - features_.headroom));
    const auto others =
        static_cast<Index>((length - first + page_bytes - 1) / page_bytes);  // whole pages
    const Index pieces = 1 + others;
    const Index requests = pieces + (extra ? 1 : 0);
    if (pieces > pieces_max) return Room::never;
    if (requests > waiting) return Room::none_now;

    frame.pieces_count = static_cast<std::uint8_t>(pieces);
    frame.segmentation = segmentation;
    std::uint32_t left = length;
    for (Index i = 0; i < requests; ++i) {
        const grant_ref_t grant = ring_.peek(i).gref;
        if (extra && i == 1) continue;  // its slot carries the extra information, not its page
        Piece& piece = frame.pieces[extra && i > 1 ? i - 1 : i];
        const std::uint32_t part = i == 0 ? first : std::min<std::uint32_t>(left, page_bytes);
        piece.grant = grant;
        piece.offset = i == 0 ? features_.headroom : std::uint16_t{0};
        piece.length = static_cast<std::uint16_t>(part);
        left -= part;
    }
    ring_.take(requests);
    return Room::taken;
}

void GuestRx::answer(const FrameToGuest& frame, bool arrived, bool validated) {
    const bool extra = frame.segmentation.type != XEN_NETIF_GSO_TYPE_NONE;
    for (unsigned i = 0; i < frame.pieces_count; ++i) {
        const Piece& piece = frame.pieces[i];
        netif_rx_response response{};
        response.id = ring_.oldest().id;
        response.offset = piece.offset;
        response.status = static_cast<std::int16_t>(arrived ? piece.length : NETIF_RSP_ERROR);
        if (i + 1u < frame.pieces_count) response.flags |= NETRXF_more_data;
        // A frame that is to be segmented has its checksum blank by nature.
        if (i == 0 && extra) {
            response.flags |= NETRXF_extra_info | NETRXF_csum_blank | NETRXF_data_validated;
        }
        if (i == 0 && validated) response.flags |= NETRXF_data_validated;
        ring_.respond(response);
        if (i != 0 || !extra) continue;
        netif_extra_info info{};
        info.type = XEN_NETIF_EXTRA_TYPE_GSO;
        info.u.gso.type = frame.segmentation.type;
        info.u.gso.size = frame.segmentation.size;
        ring_.respond(info);
    }
}

}  // namespace xen::netback
