// Frames to a guest: its rx ring posts pages, a frame takes as many as it needs (xen/io/netif.h,
// "Guest receive"). Moves no bytes: who calls copies the pieces, then answers in the order in which
// frames were taken.
#pragma once

#include <array>
#include <cstdint>

#include "xen/netback/guest_tx.hh"
#include "xen/netback/ring.hh"

namespace xen::netback {

// What the guest agreed to.
struct RxFeatures {
    bool scatter_gather = false;  // a frame may have several pieces
    bool segmentation_v4 = false;
    bool segmentation_v6 = false;
    std::uint16_t headroom = 0;  // bytes left free before a frame (xdp-headroom)
};
constexpr std::uint16_t headroom_max = 2048;

struct FrameToGuest {
    std::array<Piece, pieces_max> pieces;
    std::uint8_t pieces_count;
    Segmentation segmentation;
};

enum class Room : std::uint8_t {
    taken,
    none_now,  // the guest has posted too few pages
    never,     // no frame like this one can be sent to this guest
};

class GuestRx {
  public:
    void begin(void* page, RingShadow<RxRing>* shadow, const RxFeatures& features) {
        ring_.begin(page, shadow);
        features_ = features;
    }
    Violation adopt(void* page, RingShadow<RxRing>* shadow, const RxFeatures& features) {
        features_ = features;
        return ring_.adopt(page, shadow);
    }

    Room take(std::uint32_t length, Segmentation segmentation, FrameToGuest& frame);
    // For each frame in the order taken: did its bytes arrive? `validated`: its checksums are known
    // to be right.
    void answer(const FrameToGuest& frame, bool arrived, bool validated);
    bool publish() { return ring_.publish(); }  // true: notify the frontend

    Violation broken() const { return broken_; }

  private:
    bool may_send(std::uint32_t length, const Segmentation& segmentation) const;

    BackRing<RxRing> ring_;
    RxFeatures features_;
    Violation broken_ = Violation::none;
};

}  // namespace xen::netback
