// Frames from a guest: the requests of its tx ring put together to frames, every descriptor copied
// once and then checked (xen/io/netif.h, "Guest transmit"). Moves no bytes: who calls copies the
// pieces, then answers in the order in which frames were taken.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "xen/netback/ring.hh"

namespace xen::netback {

// A frame's descriptors without extra information: what every frontend may send (netif.h).
constexpr unsigned pieces_max = XEN_NETIF_NR_SLOTS_MIN;
static_assert(pieces_max == 18);
// One of each type at most.
constexpr unsigned extras_max = XEN_NETIF_EXTRA_TYPE_MAX - 1;
constexpr unsigned multicast_addresses_max = 64;
constexpr std::uint16_t ethernet_header_bytes = 14;

struct Piece {
    grant_ref_t grant;
    std::uint16_t offset;  // in the granted page
    std::uint16_t length;  // offset + length <= page_bytes
};

// TCP segmentation that was left to the other side: type XEN_NETIF_GSO_TYPE_*, payload bytes each.
struct Segmentation {
    std::uint8_t type = XEN_NETIF_GSO_TYPE_NONE;
    std::uint16_t size = 0;
};

struct FrameFromGuest {
    std::array<Piece, pieces_max> pieces;
    std::uint8_t pieces_count;  // 0: none of its bytes are wanted (multicast control)
    std::uint8_t requests;      // of the ring, extra information included
    bool checksum_blank;        // to be completed by us
    bool checksum_validated;    // the guest's word
    std::uint16_t length;       // sum of the pieces
    Segmentation segmentation;
};

class GuestTx {
  public:
    void begin(void* page, RingShadow<TxRing>* shadow) { ring_.begin(page, shadow); }
    Violation adopt(void* page, RingShadow<TxRing>* shadow) { return ring_.adopt(page, shadow); }

    // Up to `frames.size()` whole frames of up to `pieces_room` pieces in all. At most a ring's
    // worth of requests may be unanswered at a time. After a violation nothing more is taken.
    unsigned take(std::span<FrameFromGuest> frames, unsigned pieces_room);
    // For each frame in the order taken: did its bytes arrive?
    void answer(const FrameFromGuest& frame, bool arrived);
    // True: notify the frontend.
    bool publish() { return ring_.publish(); }
    bool arm() { return broken_ == Violation::none && ring_.arm(); }

    // Why the ring is not used any more.
    Violation broken() const { return broken_; }

    // Multicast addresses the guest wants to hear (feature-multicast-control).
    bool wants_multicast(const std::uint8_t* address) const;

  private:
    struct Extras {
        unsigned count = 0;
        bool control = false;  // about multicast: the frame itself is a dummy
        Segmentation segmentation;
    };
    // Reads a frame that starts at the head of the ring. Nothing is taken.
    Violation read_frame(Index waiting, FrameFromGuest& frame);
    Violation read_extras(Index waiting, Extras& extras);
    Violation add_multicast(const netif_extra_info& extra);
    void remove_multicast(const netif_extra_info& extra);

    BackRing<TxRing> ring_;
    Violation broken_ = Violation::none;
    std::array<bool, ring_entries<TxRing>> is_extra_{};  // by slot, of what is unanswered
    Index taken_ = 0;                                    // counts requests, for is_extra_
    Index answered_ = 0;
    unsigned multicast_count_ = 0;
    std::array<std::array<std::uint8_t, 6>, multicast_addresses_max> multicast_{};
};

}  // namespace xen::netback
