// The backend's half of one shared ring (xen/io/ring.h, netif.h), in memory that the frontend
// writes at the same time. What is read is read once; what bounds a loop is checked first; our own
// indices are never taken from there.
//
// A shadow in memory of ours that survives the process holds every request that was taken and may
// not be answered yet. Requests and responses share their slots: a process that dies after writing
// responses and before publishing them leaves slots in which the request is gone. Its successor
// takes those requests from the shadow.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

extern "C" {
#include <xen/io/netif.h>
}

#include "xen/netback/violation.hh"

namespace xen::netback {

using Index = RING_IDX;  // counts up and wraps; its slot is index % ring_entries

constexpr std::size_t page_bytes = 4096;

// The two rings of a queue, named as the frontend sees them.
struct TxRing {  // frames from the guest
    using Shared = netif_tx_sring;
    using Entry = netif_tx_sring_entry;
    using Request = netif_tx_request;
    using Response = netif_tx_response;
};
struct RxRing {  // frames to the guest
    using Shared = netif_rx_sring;
    using Entry = netif_rx_sring_entry;
    using Request = netif_rx_request;
    using Response = netif_rx_response;
};

// A page has room for as many entries as the largest power of two that fits.
template <class Ring>
constexpr Index ring_entries = static_cast<Index>(std::bit_floor(
    (page_bytes - offsetof(typename Ring::Shared, ring)) / sizeof(typename Ring::Entry)));
static_assert(ring_entries<TxRing> == 256 && ring_entries<RxRing> == 256);

// writer: the worker that has the queue; reader: its process's successor.
template <class Ring>
struct RingShadow {
    // Requests below are in `requests` until answered. Never less than what any process took: the
    // slot of one that a predecessor took may hold half an answer.
    Index kept;
    Index publishing;  // what the response producer in the shared page is about to be, or is
    Index published;   // what it surely was
    Index taken;       // of those kept, what this process has taken; the rest is owed nothing
    std::array<typename Ring::Request, ring_entries<Ring>> requests;
};
static_assert(std::is_trivially_copyable_v<RingShadow<TxRing>>);

template <class Ring>
class BackRing {
  public:
    using Request = typename Ring::Request;
    using Response = typename Ring::Response;
    static constexpr Index entries = ring_entries<Ring>;

    // A ring that was just connected: nothing taken, nothing answered.
    void begin(void* page, RingShadow<Ring>* shadow) {
        page_ = static_cast<std::byte*>(page);
        shadow_ = shadow;
        *shadow_ = {};
        next_ = answered_ = fetched_ = load(&Ring::Shared::rsp_prod);
        shadow_->kept = shadow_->taken = shadow_->publishing = shadow_->published = next_;
    }

    // A ring that another process of ours used, with what it left. The frontend could have written
    // over the response producer; it must be one of the two values we may have given it.
    Violation adopt(void* page, RingShadow<Ring>* shadow) {
        page_ = static_cast<std::byte*>(page);
        shadow_ = shadow;
        const Index published = load(&Ring::Shared::rsp_prod);
        const Index kept = of_shadow(shadow_->kept).load(std::memory_order_acquire);
        if (published != shadow_->published && published != shadow_->publishing) {
            return Violation::ring_state_changed;
        }
        if (kept - published > entries) return Violation::ring_state_changed;
        shadow_->published = shadow_->publishing = shadow_->taken = published;
        next_ = answered_ = published;
        fetched_ = kept;
        return Violation::none;
    }

    // How many requests can be taken now. ring_overflow: the frontend's index makes no sense.
    Violation look(Index& waiting) {
        const Index produced = load(&Ring::Shared::req_prod);  // acquire: then the entries
        if (produced - answered_ > entries || produced - next_ > entries) {
            return Violation::ring_overflow;
        }
        waiting = produced - next_;
        return Violation::none;
    }

    // The request that is `ahead` places behind the next one to be taken (ahead < waiting). Copied
    // from shared memory once, into the shadow; what was copied stays as it was.
    const Request& peek(Index ahead) {
        const Index index = next_ + ahead;
        for (; static_cast<std::int32_t>(index - fetched_) >= 0; ++fetched_) {
            copy_once(entry(fetched_), shadow_->requests[fetched_ % entries]);
        }
        return shadow_->requests[index % entries];
    }
    // Takes the next `count` of those that were peeked at.
    void take(Index count) {
        next_ += count;
        if (static_cast<std::int32_t>(next_ - shadow_->kept) > 0) {
            of_shadow(shadow_->kept).store(next_, std::memory_order_release);
        }
        of_shadow(shadow_->taken).store(next_, std::memory_order_release);
    }

    // What the oldest unanswered request asked.
    const Request& oldest() const { return shadow_->requests[answered_ % entries]; }

    // Answers the oldest unanswered request. The frontend sees it after publish().
    template <class Answer>
    void respond(const Answer& answer) {
        static_assert(sizeof(Answer) <= sizeof(typename Ring::Entry));
        std::memcpy(entry(answered_), &answer, sizeof answer);
        answered_ += 1;
    }

    // True: the frontend asked to be notified of one of these.
    bool publish() {
        const Index before = shadow_->published;
        of_shadow(shadow_->publishing).store(answered_, std::memory_order_release);
        shared(&Ring::Shared::rsp_prod).store(answered_, std::memory_order_release);
        of_shadow(shadow_->published).store(answered_, std::memory_order_release);
        // Partner: the frontend's, between writing rsp_event and looking for responses.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        const Index wanted = load(&Ring::Shared::rsp_event);
        return answered_ - wanted < answered_ - before;
    }

    // Asks for a notification of the next request. True: one waits already, do not sleep.
    bool arm() {
        shared(&Ring::Shared::req_event).store(next_ + 1, std::memory_order_relaxed);
        // Partner: the frontend's, between writing req_prod and reading req_event.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        return load(&Ring::Shared::req_prod) != next_;
    }

  private:
    static std::atomic_ref<Index> of_shadow(Index& word) { return std::atomic_ref<Index>(word); }
    std::atomic_ref<Index> shared(Index Ring::Shared::*member) const {
        return std::atomic_ref<Index>(reinterpret_cast<typename Ring::Shared*>(page_)->*member);
    }
    Index load(Index Ring::Shared::*member) const {
        return shared(member).load(std::memory_order_acquire);
    }
    std::byte* entry(Index index) const {
        return page_ + offsetof(typename Ring::Shared, ring) +
               (index % entries) * sizeof(typename Ring::Entry);
    }
    // Word by word, each exactly once: what is checked is what is used.
    static void copy_once(const std::byte* from, Request& to) {
        static_assert(sizeof(Request) % sizeof(std::uint32_t) == 0);
        std::array<std::uint32_t, sizeof(Request) / sizeof(std::uint32_t)> words;
        const auto* source = reinterpret_cast<const volatile std::uint32_t*>(from);
        for (std::size_t i = 0; i < words.size(); ++i) words[i] = source[i];
        std::memcpy(&to, words.data(), sizeof to);
    }

    std::byte* page_ = nullptr;
    RingShadow<Ring>* shadow_ = nullptr;
    Index next_ = 0;      // to be taken
    Index answered_ = 0;  // responses below are written
    Index fetched_ = 0;   // requests below are in the shadow
};

}  // namespace xen::netback
