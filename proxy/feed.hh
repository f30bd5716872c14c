// What a worker knows of a stateful group while it runs, beside the log that outlives it. A replica
// is fed: either each request as it comes (live), or copies from the log, in order, until it has
// them all (behind). So a full port, a slow replica, a restart of ours and a newcomer are one and
// the same case, and a replica never sees a gap or a request twice.
#pragma once

#include <array>
#include <cstdint>

#include "proxy/limits.hh"
#include "proxy/repeat_index.hh"
#include "proxy/request_log.hh"
#include "voter/types.hh"

namespace proxy {

struct Feed {
    enum class Mode : std::uint8_t { out, behind, live };
    struct Unanswered {
        std::uint64_t order = 0;
        std::uint64_t sent_at = 0;
        std::uint32_t hash = 0;  // of the request's key
    };

    voter::Incarnation incarnation;
    Mode mode = Mode::out;
    std::uint8_t unanswered_len = 0;
    std::uint8_t differences_in_a_row = 0;  // between its votes and what was agreed
    std::uint64_t given = 0;         // up to this order requests are in its port or transmit buffer
    std::uint64_t behind_since = 0;  // ticks
    std::uint64_t retry_at = 0;      // no copy before that: its port was full
    std::uint64_t report_at = 0;     // when to tell the control thread (again) what it should know
    // Copies from the log that it has not answered, and what it was silent on; oldest first.
    std::array<Unanswered, catch_up_window> unanswered{};

    void forget_unanswered(unsigned index);
    // Those from this order on never left.
    void forget_unanswered_from(std::uint64_t order);
};

struct StatefulGroup {
    explicit StatefulGroup(RequestLog& request_log) : log(request_log) {}

    RequestLog& log;
    RepeatIndex repeats;
    std::array<Feed, voter::replicas_max> feeds{};
    voter::SlotSet live;            // Feed::Mode::live
    voter::SlotSet doubted;         // those whose mark has a doubt
    voter::SlotSet lost;            // those whose mark says so
    voter::SlotSet to_leave;        // lost, and still to be withdrawn from open ballots
    std::uint64_t short_since = 0;  // ticks: doubt has left fewer than a quorum; 0: it has not

    // Whose state at this order is not known to be the group's.
    voter::SlotSet unsure_at(std::uint64_t order) const;
    void doubt(voter::ReplicaId slot, std::uint64_t order);
    void trust(voter::ReplicaId slot);
    std::uint64_t last_order() const { return log.next_order() - 1; }
};

}  // namespace proxy
