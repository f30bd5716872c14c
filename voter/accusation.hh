// Who is to be blamed for dissent and silence. What is counted here suspends replicas, so it is
// written against those who would have it suspend the wrong one, or nobody. Pure: time, source and
// kind come in. Bounded: fixed tables (about 90 KB), oldest entry replaced.
//
// What can be known. Of one kind of request on which honest replicas agree, at most f slots ever
// dissent: the faulty ones. So when more than f slots dissent on a kind, at least one of them is
// honest and the kind is not deterministic (TIME, ANY, a Date that ticks): the dissent *rotates*.
// The (f+1)-th largest count over slots is therefore noise that some honest slot makes; a slot is
// accused only by what exceeds `outlier_factor` times that noise. The same holds for silence, where
// what rotates is loss and overload. A factor, not a mere mark, because a little noise (one lost
// packet in a thousand) would otherwise shield a replica that is dead.
//
// Who attacks, and what stops it:
//  - A client that makes honest replicas differ. It is one source: a suspect needs `sources_min`,
//    none of which counts for more than its share of `dissents_min`. What it sees rotate is
//    discounted, for this (source, kind), what it has seen before included.
//  - The same with many sources, each used once: no source sees a rotation, all of them together
//    do, so noise is worked out over the sources of a kind as well. There each source weighs the
//    same however often it asks.
//  - Chance: of the first twenty dissents on such a kind one honest slot may have nearly all. So
//    where more than f slots have dissented at all, or a kind has rotated before, faults count a
//    `caution`-th.
//  - A liar with a friendly client, which provokes dissent on the kind that the liar lies about:
//    one source discounts only its own testimony (and puts `caution` on others', which is a matter
//    of seconds); noise of a kind for all takes `sources_min` sources that saw each slot dissent,
//    or that saw it rotate themselves. Nor can that client
//    - dilute the liar's share with easy requests: shares are taken within groups of sources
//      (chosen by the keyed hash) and averaged over the groups;
//    - crowd out what others saw with a thousand kinds: a source keeps at most
//      `kinds_per_source` of them, in a row of the table it shares with few others.
//  - A liar that would have others suspended: it cannot make an honest replica dissent on a
//    deterministic kind, for against it stand f+1, one of them honest. Where honest replicas differ
//    anyway and the liar can foresee one's reply, it can side with that one always, and the other
//    looks like a liar: see below.
//
// Limits. Two things cannot be told apart by votes alone: a replica that lies on one kind only, and
// one whose make honestly differs there and always alone (or is always left alone by a liar). From
// `sources_min` sources up such a slot becomes a suspect; where clients can forge addresses one
// attacker is several sources. Kinds on which makes are known to differ belong on the service's
// refuse list, and renewals have a budget. A flood of forged sources that each provoke dissent can
// push what others saw out of the table. A liar below the shares here is never accused: it is
// merely outvoted. And chance remains: where a kind that has never been seen to rotate has the same
// odd one out 2 times in 3, that slot becomes a suspect in 1 of 3,000 first encounters (3 times in
// 4: 1 of 300) with dissents_min = 20.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "voter/types.hh"

namespace voter {

struct AccusationRules {
    Ticks window{};                    // faults older than this no longer count; 0: all count
    std::uint32_t dissents_min = 20;   // in the window, by one slot
    std::uint32_t silences_min = 50;   // in the window, by one slot
    std::uint32_t sources_min = 3;     // distinct sources that saw them
    std::uint32_t share_percent = 10;  // of the ballots agreed in the window
    std::uint32_t faults = 1;          // f of the group: so many slots may be faulty at once
};

enum class Fault : std::uint8_t { dissent, silence };

// What one fault led to.
struct Finding {
    bool suspect = false;      // this slot has just become one (said once per window)
    bool kind_marked = false;  // this kind has just been found non-deterministic, for everybody
    bool rotates = false;      // this source has just seen this kind rotate for the first time
    bool discounted = false;   // noise, for this source or for all: counted, accuses nobody
};

class Accusation {
  public:
    explicit Accusation(AccusationRules rules = {});

    // A ballot of this source ended agreed; called for each, faults or not, and before record() for
    // its faults. A few nanoseconds.
    void agreed(SourceId source, Ticks now);
    // Usually some nanoseconds; tens of microseconds where the count has grown by an eighth since
    // the evidence was last weighed (at most some hundred times per window and slot).
    Finding record(Fault fault, ReplicaId slot, SourceId source, RequestKind kind, Ticks now);
    // The slot has a new incarnation, or was admitted again by hand: its record starts empty.
    void forget(ReplicaId slot);

    struct Standing {
        std::uint64_t dissents = 0;  // in the window, discounted ones included
        std::uint64_t silences = 0;
        std::uint32_t sources = 0;  // distinct, as far as the table reaches
        bool suspect = false;       // was found so within the last window
    };
    // In `now` and in all others: a time before the latest one given counts as the latest.
    Standing standing(ReplicaId slot, Ticks now) const;
    // Kinds found non-deterministic within the last window, latest first, at most out.size();
    // returns how many.
    std::size_t marked_kinds(std::span<RequestKind> out) const;

    static constexpr std::uint32_t outlier_factor = 8;
    static constexpr std::uint32_t caution = 4;
    static constexpr std::size_t kinds_per_source = 4;

  private:
    // The window is cut into panes; the current one and those before it are what counts, so a fault
    // counts for at least three quarters of the window and never longer than it.
    static constexpr std::size_t panes = 4;
    static constexpr std::size_t rows = 64;  // sources share a row by their hash
    static constexpr std::size_t row_len = 8;
    static constexpr std::size_t marks_max = 16;
    static constexpr std::size_t faults_count = 2;

    using Counts = std::array<std::uint32_t, replicas_max>;  // by slot

    // What one source saw of one kind.
    struct Testimony {
        SourceId source;
        RequestKind kind;
        Ticks last{};            // latest fault
        std::uint64_t pane = 0;  // of the latest fault; 0: entry is empty
        std::array<std::array<std::array<std::uint16_t, replicas_max>, panes>, faults_count> seen{};
    };
    struct Mark {
        RequestKind kind;
        std::uint64_t pane = 0;  // last confirmed; 0: entry is empty
        std::uint64_t order = 0;
        SlotSet noisy;  // whose dissents on it are noise
        bool told = false;
    };
    using RowCounts = std::array<std::uint32_t, rows>;
    struct Suspicion {
        Ticks since{};
        bool any = false;
    };
    class Weighing;

    static std::size_t row_of(SourceId source);

    std::uint64_t pane_at(Ticks now) const;
    void advance(Ticks now);
    bool live(const Testimony& entry) const { return entry.pane + panes > pane_; }
    Testimony& testimony(SourceId source, RequestKind kind, Ticks now);
    Counts counts(const Testimony& entry, Fault fault, std::uint64_t pane) const;
    std::uint32_t noise(const Counts& counts) const;
    std::uint64_t total(Fault fault, ReplicaId slot, std::uint64_t pane) const;
    double share(Fault fault, ReplicaId slot) const;
    std::uint32_t faults_min(Fault fault) const;
    std::uint64_t next_weighing(Fault fault, std::uint64_t count) const;
    bool guilty(Fault fault, ReplicaId slot, const Weighing& weighing) const;
    bool in_force(const Suspicion& suspicion, Ticks now) const;
    void mark(RequestKind kind, SlotSet noisy);
    bool in_force(const Mark& mark) const { return mark.pane + panes > pane_; }
    const Mark* find_mark(RequestKind kind) const;
    Mark* find_mark(RequestKind kind) {
        return const_cast<Mark*>(std::as_const(*this).find_mark(kind));
    }

    AccusationRules rules_;
    std::uint64_t pane_len_ = 0;  // ticks; 0: one pane for ever
    std::uint64_t pane_ = panes;  // the current one; the first is `panes`
    std::uint64_t pane_end_ = 0;  // ticks
    std::uint64_t marks_made_ = 0;
    // By pane (a pane's place is its number modulo `panes`), then by row of sources or by slot.
    std::array<RowCounts, panes> agreed_{};
    std::array<std::array<std::array<RowCounts, replicas_max>, panes>, faults_count> faults_{};
    std::array<std::array<std::array<std::uint64_t, replicas_max>, panes>, faults_count> totals_{};
    std::array<std::array<std::uint64_t, replicas_max>, faults_count> next_weighing_{};
    std::array<Suspicion, replicas_max> suspicions_{};
    std::array<Mark, marks_max> marks_{};
    std::array<Testimony, rows * row_len> table_{};
};

}  // namespace voter
