// The vote on one unit of reply. Pure bookkeeping over slots: it owns no bytes, knows no clock, and
// learns how two replies compare from the caller. Replies that agree form a *camp*; the first camp
// of quorum size wins. What has been decided is never undone.
//
// Limit: at most replicas_max slots, and one counted vote per slot (its first). A quorum of no more
// than half the slots can be reached by two camps; under Release::all the larger one wins then, the
// one opened first where they are equal.
#pragma once

#include <array>
#include <cassert>
#include <cstdint>

#include "voter/types.hh"

namespace voter {

enum class Verdict : std::uint8_t {
    open,
    agreed,   // a quorum of admitted incarnations sent the same
    split,    // no quorum can form any more
    expired,  // the deadline came first
};

// When an agreed reply leaves: as soon as a quorum agrees, or when everybody asked has answered (or
// the deadline has come) and a quorum of them agrees.
enum class Release : std::uint8_t { quorum, all };

// How a reply compares with another one of the same ballot.
enum class Likeness : std::uint8_t {
    different,
    same,       // the parts that are voted agree
    identical,  // byte for byte
};

struct Rules {
    std::uint8_t quorum = 2;
    Release release = Release::quorum;
};

// What became of one vote.
enum class Outcome : std::uint8_t {
    first,         // opened a camp: the caller keeps these bytes
    same,          // joined a camp, bytes differ: the caller keeps these bytes too
    identical,     // joined a camp whose kept bytes these are: nothing to keep
    agreed_late,   // after the decision, with the winner
    dissent_late,  // after the decision, against the winner
    too_late,      // after a split or the deadline: heard, counts for nothing, nothing to keep
    twice,         // this slot has voted already; not counted
    stranger,      // was not asked, or has left the roster; not counted
};

class Ballot {
  public:
    struct Camp {
        SlotSet members;    // all that agree
        SlotSet identical;  // those whose bytes are the ones kept for `holder`
        ReplicaId holder;   // whose bytes the caller kept for this camp
    };

    Ballot() = default;
    Ballot(SlotSet asked, Rules rules) : asked_(asked), rules_(rules) {
        assert(rules.quorum > 0);  // else nobody's word would be enough
    }

    // Counts a reply of `slot`. `likeness(holder)` compares it with the kept bytes of `holder`; it
    // is called at most once per camp, and after the decision with the winner's holder only.
    template <class LikenessTo>
    Outcome cast(ReplicaId slot, LikenessTo&& likeness);

    // The incarnation in `slot` has left the roster (or lags): its vote no longer counts, its
    // answer is not waited for, and nothing is held against whoever sits there next. A decision
    // that has been made stays. Its kept bytes may go on speaking for others who sent the same.
    void withdraw(ReplicaId slot);

    // The deadline has come. Decides what is open; afterwards silent() may be read.
    void expire();

    Verdict verdict() const { return verdict_; }
    bool decided() const { return verdict_ != Verdict::open; }
    // Everybody who was asked has answered: nothing more is to come.
    bool complete() const { return (asked_ - voted_).empty(); }

    // Both without those withdrawn.
    SlotSet asked() const { return asked_; }
    SlotSet voted() const { return voted_; }
    // Whose bytes the caller keeps (cast() said `first` or `same`). Only ever grows, withdrawn
    // slots included: the caller lets go of all of them when it is done with the ballot.
    SlotSet kept() const { return kept_; }
    // Asked, and nothing heard yet.
    SlotSet missing() const { return asked_ - voted_; }
    unsigned camps() const { return camps_count_; }
    const Camp& camp(unsigned index) const { return camps_[index]; }
    // The winning camp; only when agreed.
    const Camp& winner() const { return camps_[winner_]; }
    const Rules& rules() const { return rules_; }

    // Who voted against the winner, early or late, and has not been withdrawn. Empty unless agreed:
    // a split accuses nobody.
    SlotSet dissenters() const {
        return verdict_ == Verdict::agreed ? voted_ - winner().members : SlotSet{};
    }
    // Who did not answer although a quorum did. Only meaningful once expired() or complete().
    SlotSet silent() const { return verdict_ == Verdict::agreed ? missing() : SlotSet{}; }

  private:
    void decide(bool last_call);
    Outcome join(ReplicaId slot, unsigned camp, Likeness likeness);

    std::array<Camp, replicas_max> camps_{};
    SlotSet asked_;
    SlotSet voted_;
    SlotSet kept_;
    Rules rules_;
    std::uint8_t camps_count_ = 0;
    std::uint8_t winner_ = 0;
    Verdict verdict_ = Verdict::open;
};

template <class LikenessTo>
Outcome Ballot::cast(ReplicaId slot, LikenessTo&& likeness) {
    if (!asked_.contains(slot)) return Outcome::stranger;
    if (voted_.contains(slot)) return Outcome::twice;
    voted_.insert(slot);
    if (verdict_ == Verdict::agreed) {
        Camp& won = camps_[winner_];
        const Likeness found = likeness(won.holder);
        if (found == Likeness::different) return Outcome::dissent_late;
        won.members.insert(slot);
        if (found == Likeness::identical) won.identical.insert(slot);
        return Outcome::agreed_late;
    }
    if (decided()) return Outcome::too_late;
    for (unsigned i = 0; i < camps_count_; ++i) {
        const Likeness found = likeness(camps_[i].holder);
        if (found != Likeness::different) return join(slot, i, found);
    }
    const unsigned opened = camps_count_++;
    camps_[opened] = Camp{SlotSet::of(slot), SlotSet::of(slot), slot};
    kept_.insert(slot);
    decide(false);
    return Outcome::first;
}

}  // namespace voter
