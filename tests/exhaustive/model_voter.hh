// A voter that keeps nothing but a list of what happened and counts it anew, from the beginning,
// whenever it is asked. It shares no idea of "camp" or bookkeeping with voter/ballot: it is what a
// person would do with the list and a pencil. Slow, and obvious.
#pragma once

#include <cstdint>
#include <span>

#include "voter/ballot.hh"

namespace exhaustive {

// Two replies with the same `meaning` agree; with the same `bytes` as well they are identical.
// (`bytes` are compared within a meaning only.)
struct Reply {
    std::uint8_t meaning;
    std::uint8_t bytes;
    bool operator==(const Reply&) const = default;
};

struct Event {
    enum class Kind : std::uint8_t { reply, deadline, withdrawal } kind;
    std::uint8_t slot;  // of a reply or a withdrawal
    Reply reply;
};

struct Expected {
    voter::Verdict verdict = voter::Verdict::open;
    std::uint8_t meaning = 0;   // of the winner, when agreed
    voter::SlotSet supporters;  // of the winner, early and late, when agreed
    voter::SlotSet dissenters;
    voter::SlotSet silent;
};

class ModelVoter {
  public:
    ModelVoter(unsigned slots, voter::Rules rules) : slots_(slots), rules_(rules) {}
    Expected judge(std::span<const Event> events) const;

    // The reply of `slot` that counts after these events, nullptr if there is none: the first one,
    // unless the slot was withdrawn.
    static const Event* counting_reply(std::span<const Event> events, unsigned slot);
    static bool withdrawn(std::span<const Event> events, unsigned slot);

  private:
    struct Tally {
        unsigned most = 0;  // supporters of the meaning that has most
        std::uint8_t meaning = 0;
        unsigned missing = 0;
    };
    Tally tally(std::span<const Event> events) const;
    unsigned supporters(std::span<const Event> events, std::uint8_t meaning) const;
    // For how many of the last events it has had any.
    std::size_t supported_for(std::span<const Event> events, std::uint8_t meaning) const;
    voter::Verdict verdict_after(std::span<const Event> events) const;

    unsigned slots_;
    voter::Rules rules_;
};

}  // namespace exhaustive
