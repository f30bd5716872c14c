// A connected queue, and how it passes between the slow path, which maps and unmaps it, and the one
// worker that uses it.
#pragma once

#include <atomic>
#include <cstdint>

#include "xen/domain_id.hh"
#include "xen/netback/guest_rx.hh"
#include "xen/netback/guest_tx.hh"

namespace xen::netback {

// Two event channels of a guest that are bound here (or one, twice).
class EventChannels {
  public:
    EventChannels() = default;
    EventChannels(const EventChannels&) = delete;
    EventChannels& operator=(const EventChannels&) = delete;
    virtual ~EventChannels() = default;

    virtual void notify_tx() = 0;
    virtual void notify_rx() = 0;
    // Takes what has come; no more comes before listen(). False: nothing had. Does not block.
    virtual bool take_events() = 0;
    virtual void listen() = 0;
    virtual int descriptor() const = 0;  // readable when something has come
};

struct Queue {
    GuestTx tx;
    GuestRx rx;
    DomainId domain;
    EventChannels* channels = nullptr;
    bool multicast_control = false;
};

// writer of offered_: slow path; reader: worker. writer of used_: worker; reader: slow path.
class QueueSlot {
  public:
    // What the slow path has a sleeping worker wait on: an epoll descriptor, to which it adds the
    // queue's event channels. Set once, before the first offer(); -1: none.
    int sleep_on = -1;

    // Slow path. What was offered before is free once uses() denies it.
    void offer(Queue* queue) { offered_.store(queue, std::memory_order_seq_cst); }
    bool uses(const Queue* queue) const {
        return used_.load(std::memory_order_seq_cst) == queue && queue != nullptr;
    }

    // Worker, at the head of a turn: what to use until the next one. nullptr: nothing is connected.
    Queue* current() {
        Queue* offered = offered_.load(std::memory_order_acquire);
        // Said first and then looked at again: who withdraws a queue looks in the other order.
        while (offered != used_.load(std::memory_order_relaxed)) {
            used_.store(offered, std::memory_order_seq_cst);
            offered = offered_.load(std::memory_order_seq_cst);
        }
        return offered;
    }
    void release() { used_.store(nullptr, std::memory_order_seq_cst); }  // the worker ends

  private:
    std::atomic<Queue*> offered_{nullptr};
    std::atomic<Queue*> used_{nullptr};
};

}  // namespace xen::netback
