// The two rings of a network frontend, in memory that the backend shares: Xen's public/io/netif.h
// and io/ring.h, said once more in a few lines, because a guest's program has no headers of Xen's
// and because this one wants to write what the headers' macros would not let it.
//
// Known limit: one page a ring.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace hostile {

inline constexpr std::size_t page_bytes = 4'096;
inline constexpr std::uint32_t ring_slots = 256;  // of either ring, in one page
inline constexpr std::size_t slots_at = 64;

enum TxFlag : std::uint16_t { csum_blank = 1, data_validated = 2, more_data = 4, extra_info = 8 };

struct TxRequest {
    std::uint32_t grant;
    std::uint16_t offset;
    std::uint16_t flags;
    std::uint16_t id;
    std::uint16_t size;  // of the first slot: the whole packet's
};
struct TxResponse {
    std::uint16_t id;
    std::int16_t status;
};
struct Extra {  // in place of a request
    std::uint8_t type;
    std::uint8_t flags;  // 1: another one follows
    std::array<std::uint16_t, 3> rest;
};
inline constexpr std::uint8_t extra_gso = 1;
struct RxRequest {
    std::uint16_t id;
    std::uint16_t pad;
    std::uint32_t grant;
};
struct RxResponse {
    std::uint16_t id;
    std::uint16_t offset;
    std::uint16_t flags;
    std::int16_t status;  // bytes, or an error
};
inline constexpr std::size_t tx_slot_bytes = 12;
inline constexpr std::size_t rx_slot_bytes = 8;
static_assert(sizeof(TxRequest) == tx_slot_bytes && sizeof(Extra) == 8);
static_assert(sizeof(RxRequest) == rx_slot_bytes && sizeof(RxResponse) == rx_slot_bytes);
static_assert(slots_at + ring_slots * tx_slot_bytes <= page_bytes);

// A ring's words, in the order in which they lie there.
enum class Word { request_producer, request_event, response_producer, response_event };

class Ring {
  public:
    // The page outlives the ring.
    Ring(std::byte* page, std::size_t slot_bytes) : page_(page), slot_bytes_(slot_bytes) {}

    void reset() {
        std::memset(page_, 0, page_bytes);
        store(Word::request_event, 1);
        store(Word::response_event, 1);
    }

    // writer of a word: as its name says; the other side reads it with the matching order.
    std::uint32_t load(Word word) const {
        return std::atomic_ref(words()[static_cast<std::size_t>(word)])
            .load(std::memory_order_acquire);
    }
    void store(Word word, std::uint32_t value) const {
        std::atomic_ref(words()[static_cast<std::size_t>(word)])
            .store(value, std::memory_order_release);
    }

    template <typename Content>
    void put(std::uint32_t index, const Content& content) const {
        static_assert(std::is_trivially_copyable_v<Content>);
        std::memcpy(slot(index), &content, sizeof content);
    }
    template <typename Content>
    Content get(std::uint32_t index) const {
        Content content;
        std::memcpy(&content, slot(index), sizeof content);
        return content;
    }

    // Publishes requests up to `producer`; true: the backend asked to be told of them.
    bool publish(std::uint32_t producer) const {
        const std::uint32_t before = load(Word::request_producer);
        store(Word::request_producer, producer);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        return producer - load(Word::request_event) < producer - before;
    }

  private:
    std::uint32_t* words() const { return reinterpret_cast<std::uint32_t*>(page_); }
    std::byte* slot(std::uint32_t index) const {
        return page_ + slots_at + index % ring_slots * slot_bytes_;
    }

    std::byte* page_;
    std::size_t slot_bytes_;
};

// Turns a frame round in place, if it is UDP over IPv4 or IPv6 without options: whoever sent it
// gets it back. The sums stay right. False: nothing to answer, the frame is as it was.
bool turn_round(std::span<std::byte> frame);

}  // namespace hostile
