// Copies between pages of guests and memory of ours, gathered over all guests of a worker and run
// at once: GNTTABOP_copy through one ioctl. The hypervisor checks each grant at the moment of the
// copy; a refused one fails alone.
//
// Known limit: a piece of our memory that crosses a page boundary becomes two operations in the
// kernel (gntdev splits it); packet pools keep a packet within a page.
#pragma once

#include <array>
#include <cstdint>

extern "C" {
#include <xengnttab.h>
}

#include "xen/netback/guest_tx.hh"

namespace xen::netback {

using CopySegment = xengnttab_grant_copy_segment_t;

// Who runs a batch: 0, or a negative errno when none of it can be relied on; each segment's status
// is set otherwise. The seam for tests: real_copier() asks the hypervisor.
struct Copier {
    int (*run)(void* context, CopySegment* segments, std::uint32_t count) = nullptr;
    void* context = nullptr;
};

class CopyBatch {
  public:
    static constexpr unsigned segments_max = 1024;

    unsigned room() const { return segments_max - count_; }
    bool empty() const { return count_ == 0; }

    // The number of the segment, for arrived(). Needs room().
    unsigned from_guest(std::uint16_t domain, const Piece& piece, void* to) {
        CopySegment& segment = next(GNTCOPY_source_gref, piece.length);
        segment.source.foreign = {piece.grant, piece.offset, domain};
        segment.dest.virt = to;
        return count_ - 1;
    }
    unsigned to_guest(std::uint16_t domain, const Piece& piece, const void* from) {
        CopySegment& segment = next(GNTCOPY_dest_gref, piece.length);
        segment.source.virt = const_cast<void*>(from);
        segment.dest.foreign = {piece.grant, piece.offset, domain};
        return count_ - 1;
    }

    // Zero, or the errno for which nothing was copied: nobody's fault but the machine's.
    int run(const Copier& copier);
    bool arrived(unsigned segment) const {
        return failed_ == 0 && segments_[segment].status == GNTST_okay;
    }
    bool refused(unsigned segment) const {
        return failed_ == 0 && segments_[segment].status != GNTST_okay;
    }
    void clear() { count_ = 0; }

    // Since the start.
    std::uint64_t runs() const { return runs_; }
    std::uint64_t segments() const { return segments_run_; }

  private:
    CopySegment& next(std::uint16_t flags, std::uint16_t length) {
        CopySegment& segment = segments_[count_++];
        segment.flags = flags;
        segment.len = length;
        segment.status = GNTST_general_error;
        return segment;
    }

    std::array<CopySegment, segments_max> segments_{};
    unsigned count_ = 0;
    int failed_ = 0;
    std::uint64_t runs_ = 0;
    std::uint64_t segments_run_ = 0;
};

}  // namespace xen::netback
