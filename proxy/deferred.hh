// Requests that wait for room at a replica, oldest first: one queue for each replica. Its clone is
// made when it has answered an earlier one. Bounded; what does not fit is skipped.
#pragma once

#include <array>
#include <cstdint>

#include "proxy/limits.hh"

namespace proxy {

class DeferredQueue {
  public:
    struct Entry {
        std::uint32_t record = 0;
        std::uint32_t generation = 0;  // Record::generation: it may have been closed since
    };

    std::uint32_t size() const { return tail_ - head_; }
    bool empty() const { return head_ == tail_; }
    // Strangers get half of the places, so that the rest is there for known sources.
    bool has_room(bool known) const { return size() < (known ? deferred_max : deferred_max / 2); }
    void push(const Entry& entry) { entries_[tail_++ % deferred_max] = entry; }
    Entry pop() { return entries_[head_++ % deferred_max]; }
    void clear() { head_ = tail_; }

  private:
    static_assert((deferred_max & (deferred_max - 1)) == 0, "the counters wrap");
    std::array<Entry, deferred_max> entries_{};
    std::uint32_t head_ = 0;
    std::uint32_t tail_ = 0;
};

}  // namespace proxy
