// What a worker tells the control thread. Small values in a bounded ring; what does not fit is
// counted and forgotten, because everything here can be seen again in the counters or at the next
// fault.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "proxy/limits.hh"
#include "proxy/records.hh"
#include "voter/ballot.hh"
#include "voter/types.hh"

namespace proxy {

struct Event {
    enum class Kind : std::uint8_t {
        suspect,        // slot: the accusation rules are met
        kind_marked,    // request_kind: non-deterministic
        lagging,        // slot: missed a request of a stateful group
        caught_up,      // slot: has replayed the request log
        replay_failed,  // slot: answered a replayed request differently
        halted,         // a stateful group in which no quorum agrees any more
        resumed,        // it answers again
    };
    // lagging, replay_failed: what is known of the cause.
    enum class Why : std::uint8_t {
        none,
        slow,      // it is still being fed from the log, and will be reported when it has all
        overrun,   // the log no longer has what it has not been given
        differs,   // what it answered is not what was agreed
        silent,    // it did not answer a replayed request that others had answered
        in_doubt,  // nobody can tell any more whether it took every request
    };
    Kind kind{};
    std::uint8_t group = 0;
    voter::ReplicaId slot{};
    voter::Incarnation incarnation{};
    voter::RequestKind request_kind{};
    std::uint64_t order = 0;
    Why why = Why::none;
};

// After "the replica ...".
constexpr const char* text(Event::Why why) {
    switch (why) {
        case Event::Why::none:
            return "has missed a request";
        case Event::Why::slow:
            return "is slow";
        case Event::Why::overrun:
            return "has missed requests that the log no longer has";
        case Event::Why::differs:
            return "has missed a request: it answers differently";
        case Event::Why::silent:
            return "does not answer requests that others have answered";
        case Event::Why::in_doubt:
            return "may have missed a request";
    }
    return "";
}

// Single producer, single consumer.
class EventQueue {
  public:
    // writer: the worker; reader: the control thread. False: full.
    bool push(const Event& event) {
        const std::uint32_t head = head_.load(std::memory_order_relaxed);
        // Partner: the release store of tail_ in pop().
        if (head - tail_.load(std::memory_order_acquire) == events_len) return false;
        events_[head % events_len] = event;
        head_.store(head + 1, std::memory_order_release);
        return true;
    }
    std::optional<Event> pop() {
        const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
        // Partner: the release store of head_ in push().
        if (tail == head_.load(std::memory_order_acquire)) return std::nullopt;
        const Event event = events_[tail % events_len];
        tail_.store(tail + 1, std::memory_order_release);
        return event;
    }

  private:
    alignas(64) std::atomic<std::uint32_t> head_{0};
    alignas(64) std::atomic<std::uint32_t> tail_{0};
    std::array<Event, events_len> events_{};
};

// The packets of a fault, moved out of a closed record. Whoever takes it from the ring frees the
// packets and puts the item back into its pool.
struct EvidenceItem {
    std::uint8_t group = 0;
    std::uint16_t service = 0;
    bool superseded = false;
    std::uint64_t opened_at = 0;  // ticks
    std::uint64_t closed_at = 0;
    voter::Ballot ballot;
    wire::IpAddress client;
    std::uint16_t client_port = 0;
    rte_mbuf* request = nullptr;
    std::uint16_t request_offset = 0;
    std::uint16_t request_length = 0;
    std::array<Answer, voter::replicas_max> answers;
    std::array<voter::Incarnation, voter::replicas_max> incarnations;
};

// Frees the packets and gives the item back.
void discard_evidence(EvidenceItem* item, rte_mempool* items);

}  // namespace proxy
