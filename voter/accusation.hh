// Who is to be blamed for dissent and silence. A client can make honest replicas differ (TIME, a
// Date that ticks, ANY), so dissent is attributed to (source, kind of request) as well as to slots:
// where it rotates over slots the *kind* is non-deterministic and nobody is suspended for it. A
// slot becomes a suspect only by a rate over several sources (and kinds that are not marked).
//
// Pure: time, source and kind come in. Bounded: fixed tables, oldest entry replaced.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "voter/types.hh"

namespace voter {

struct AccusationRules {
    Ticks window{};                    // faults older than this no longer count
    std::uint32_t dissents_min = 20;   // in the window, by one slot
    std::uint32_t silences_min = 50;   // in the window, by one slot
    std::uint32_t sources_min = 3;     // distinct sources that saw them
    std::uint32_t share_percent = 10;  // of the ballots agreed in the window
};

enum class Fault : std::uint8_t { dissent, silence };

// What one fault led to.
struct Finding {
    bool suspect = false;      // this slot has just become one (reported once per window)
    bool kind_marked = false;  // this kind has just been marked non-deterministic
    bool discounted = false;   // the kind is marked for this source: counted, accuses nobody
};

class Accusation {
  public:
    explicit Accusation(AccusationRules rules = {});

    // A ballot ended agreed; called for each, faults or not.
    void agreed(Ticks now);
    Finding record(Fault fault, ReplicaId slot, SourceId source, RequestKind kind, Ticks now);
    // The slot has a new incarnation, or was admitted again by hand: its record starts empty.
    void forget(ReplicaId slot);

    struct Standing {
        std::uint64_t dissents = 0;  // in the window
        std::uint64_t silences = 0;
        std::uint32_t sources = 0;  // distinct, saturating
        bool suspect = false;
    };
    Standing standing(ReplicaId slot, Ticks now) const;
    // Marked kinds, most recent first, at most out.size(); returns how many.
    std::size_t marked_kinds(std::span<RequestKind> out) const;

  private:
    // The tables are the implementer's; all fixed-size.
    AccusationRules rules_;
};

}  // namespace voter
