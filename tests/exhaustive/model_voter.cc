#include "tests/exhaustive/model_voter.hh"

#include <array>

namespace exhaustive {

using voter::ReplicaId;
using voter::SlotSet;
using voter::Verdict;
using Kind = Event::Kind;

bool ModelVoter::withdrawn(std::span<const Event> events, unsigned slot) {
    for (const Event& event : events) {
        if (event.kind == Kind::withdrawal && event.slot == slot) return true;
    }
    return false;
}

const Event* ModelVoter::counting_reply(std::span<const Event> events, unsigned slot) {
    if (withdrawn(events, slot)) return nullptr;
    for (const Event& event : events) {
        if (event.kind == Kind::reply && event.slot == slot) return &event;
    }
    return nullptr;
}

ModelVoter::Tally ModelVoter::tally(std::span<const Event> events) const {
    Tally tally;
    std::array<unsigned, voter::replicas_max> supporters_of{};
    for (unsigned slot = 0; slot < slots_; ++slot) {
        const Event* reply = counting_reply(events, slot);
        if (reply != nullptr) {
            ++supporters_of[reply->reply.meaning];
        } else if (!withdrawn(events, slot)) {
            ++tally.missing;
        }
    }
    for (std::uint8_t meaning = 0; meaning < supporters_of.size(); ++meaning) {
        const unsigned count = supporters_of[meaning];
        // Of two with as many, the one that has had some without interruption for longer.
        if (count > tally.most ||
            (count == tally.most && count >= rules_.quorum &&
             supported_for(events, meaning) > supported_for(events, tally.meaning))) {
            tally.most = count;
            tally.meaning = meaning;
        }
    }
    return tally;
}

unsigned ModelVoter::supporters(std::span<const Event> events, std::uint8_t meaning) const {
    unsigned count = 0;
    for (unsigned slot = 0; slot < slots_; ++slot) {
        const Event* reply = counting_reply(events, slot);
        count += reply != nullptr && reply->reply.meaning == meaning;
    }
    return count;
}

std::size_t ModelVoter::supported_for(std::span<const Event> events, std::uint8_t meaning) const {
    std::size_t past = 0;
    while (past < events.size() && supporters(events.first(events.size() - past), meaning) > 0) {
        ++past;
    }
    return past;
}

// The verdict right after the last of these events, if none was reached before.
Verdict ModelVoter::verdict_after(std::span<const Event> events) const {
    bool deadline = false;
    for (const Event& event : events) deadline = deadline || event.kind == Kind::deadline;
    const Tally now = tally(events);
    if (now.most >= rules_.quorum) {
        const bool may_leave =
            rules_.release == voter::Release::quorum || now.missing == 0 || deadline;
        return may_leave ? Verdict::agreed : Verdict::open;
    }
    if (now.most + now.missing < rules_.quorum) return Verdict::split;
    return deadline ? Verdict::expired : Verdict::open;
}

Expected ModelVoter::judge(std::span<const Event> events) const {
    Expected expected;
    std::size_t decided_after = 0;
    // Nothing is decided before something has happened.
    while (decided_after < events.size() && expected.verdict == Verdict::open) {
        ++decided_after;
        expected.verdict = verdict_after(events.first(decided_after));
    }
    if (expected.verdict != Verdict::agreed) return expected;

    expected.meaning = tally(events.first(decided_after)).meaning;
    for (std::uint8_t slot = 0; slot < slots_; ++slot) {
        const ReplicaId id{slot};
        const Event* reply = counting_reply(events, slot);
        if (reply == nullptr) {
            if (!withdrawn(events, slot)) expected.silent.insert(id);
        } else if (reply->reply.meaning != expected.meaning) {
            expected.dissenters.insert(id);
        }
        // A supporter that is withdrawn after the decision has supported it all the same.
        for (std::size_t then = decided_after; then <= events.size(); ++then) {
            const Event* theirs = counting_reply(events.first(then), slot);
            if (theirs != nullptr && theirs->reply.meaning == expected.meaning) {
                expected.supporters.insert(id);
            }
        }
    }
    return expected;
}

}  // namespace exhaustive
