#include "voter/ballot.hh"

#include <algorithm>

namespace voter {

Outcome Ballot::join(ReplicaId slot, unsigned camp, Likeness likeness) {
    Camp& joined = camps_[camp];
    joined.members.insert(slot);
    const bool identical = likeness == Likeness::identical;
    (identical ? joined.identical : kept_).insert(slot);
    decide(false);
    return identical ? Outcome::identical : Outcome::same;
}

void Ballot::withdraw(ReplicaId slot) {
    if (!asked_.contains(slot)) return;
    asked_.erase(slot);
    voted_.erase(slot);
    if (decided()) return;
    for (unsigned i = 0; i < camps_count_; ++i) {
        Camp& camp = camps_[i];
        if (!camp.members.contains(slot)) continue;
        camp.members.erase(slot);
        camp.identical.erase(slot);
        // The kept bytes stand as long as somebody who still counts sent the same ones; otherwise
        // another member speaks for the camp with its own bytes.
        if (camp.identical.empty() && !camp.members.empty()) {
            camp.holder = camp.members.lowest();
            camp.identical = SlotSet::of(camp.holder);
        }
        // Closed up, not swapped, so that camps stay in the order in which they were opened.
        if (camp.members.empty()) {
            std::shift_left(camps_.begin() + i, camps_.begin() + camps_count_, 1);
            --camps_count_;
        }
        break;
    }
    decide(false);
}

void Ballot::expire() {
    if (!decided()) decide(true);
    if (!decided()) verdict_ = Verdict::expired;
}

void Ballot::decide(bool last_call) {
    if (decided()) return;
    const unsigned missing = this->missing().size();
    unsigned largest = 0;
    for (unsigned i = 0; i < camps_count_; ++i) {
        const unsigned size = camps_[i].members.size();
        if (size > largest) {
            largest = size;
            winner_ = static_cast<std::uint8_t>(i);
        }
    }
    if (largest >= rules_.quorum) {
        if (rules_.release == Release::quorum || missing == 0 || last_call) {
            verdict_ = Verdict::agreed;
        }
    } else if (largest + missing < rules_.quorum) {
        verdict_ = Verdict::split;
    }
}

}  // namespace voter
