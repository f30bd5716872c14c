#include "guest/hostile/attacks.hh"

#include <array>
#include <chrono>
#include <random>
#include <string>

namespace hostile {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds long_attack{2'000};
constexpr std::uint16_t some_bytes = 100;

// The same every time.
class Chance {
  public:
    explicit Chance(std::uint32_t seed) : engine_(seed) {}
    std::uint32_t operator()() { return static_cast<std::uint32_t>(engine_()); }

  private:
    std::mt19937 engine_;
};

template <typename Step>
void for_a_while(const Step& step) {
    const auto end = Clock::now() + long_attack;
    while (Clock::now() < end) step();
}

// One request, as it is given, in the next slot.
void offer(Frontend& frontend, const TxRequest& request) {
    frontend.tx().put(frontend.tx_next(), request);
    frontend.offer_tx(1);
}

TxRequest good(const Frontend& frontend) {
    return {frontend.tx_grant(0), 0, data_validated, 0, some_bytes};
}

// --- indices

void producer_ahead(Frontend& frontend) {
    frontend.tx().store(Word::request_producer, frontend.tx_next() + 100'000);
    frontend.channel().tell();
}

void producer_behind(Frontend& frontend) {
    frontend.tx().store(Word::request_producer, frontend.tx_next() - 5);
    frontend.channel().tell();
}

void rx_producer_ahead(Frontend& frontend) {
    frontend.rx().store(Word::request_producer, 0x8000'0000);
    frontend.channel().tell();
}

// --- grants

void bad_grant(Frontend& frontend) {
    for (const std::uint32_t grant : {0xFFFF'FFFFu, 0u, 0x00FF'FFFFu}) {
        TxRequest request = good(frontend);
        request.grant = grant;
        offer(frontend, request);
    }
}

void bad_rx_grant(Frontend& frontend) {
    for (std::uint32_t i = 0; i < ring_slots; ++i) {
        frontend.rx().put(i, RxRequest{static_cast<std::uint16_t>(i), 0, 0xFFFF'FFFF});
    }
    for_a_while([&] { frontend.serve(); });  // until a frame has met one of them
}

// A page of its own each time, gone at about the moment at which it is read.
void revoked_grant(Frontend& frontend) {
    constexpr int times = 64;
    for (int i = 0; i < times; ++i) {
        const std::size_t page = frontend.pages().add();
        TxRequest request = good(frontend);
        request.grant = frontend.pages().grant(page);
        offer(frontend, request);
        if (i % 2 == 0) pause_ms(i % 8);
        frontend.pages().revoke(page);
    }
}

// --- what a request says

void past_page(Frontend& frontend) {
    TxRequest request = good(frontend);
    request.offset = 4'000;
    request.size = 1'000;
    offer(frontend, request);
}

void far_offset(Frontend& frontend) {
    TxRequest request = good(frontend);
    request.offset = 0xFFFF;
    request.size = 0xFFFF;
    offer(frontend, request);
}

void size_zero(Frontend& frontend) {
    TxRequest request = good(frontend);
    request.size = 0;
    offer(frontend, request);
}

// The first slot's size is the packet's: it must be more than the others' together.
void size_mismatch(Frontend& frontend) {
    TxRequest first = good(frontend);
    first.flags = more_data;
    TxRequest second = good(frontend);
    second.size = 2 * some_bytes;
    frontend.tx().put(frontend.tx_next(), first);
    frontend.tx().put(frontend.tx_next() + 1, second);
    frontend.offer_tx(2);
}

void endless_slots(Frontend& frontend) {
    TxRequest request = good(frontend);
    request.flags = more_data;
    for (std::uint32_t i = 0; i < ring_slots; ++i) {
        request.size = i == 0 ? 0xFFFF : 1;
        frontend.tx().put(frontend.tx_next() + i, request);
    }
    frontend.offer_tx(ring_slots);
}

void endless_extras(Frontend& frontend) {
    TxRequest request = good(frontend);
    request.flags = extra_info;
    frontend.tx().put(frontend.tx_next(), request);
    for (std::uint32_t i = 1; i < ring_slots; ++i) {
        frontend.tx().put(frontend.tx_next() + i, Extra{extra_gso, 1, {1'448, 1, 0}});
    }
    frontend.offer_tx(ring_slots);
}

void unknown_extra(Frontend& frontend) {
    TxRequest request = good(frontend);
    request.flags = extra_info;
    frontend.tx().put(frontend.tx_next(), request);
    frontend.tx().put(frontend.tx_next() + 1, Extra{200, 0, {0xFFFF, 0xFFFF, 0xFFFF}});
    frontend.offer_tx(2);
}

// More to come, and nothing comes.
void unfinished(Frontend& frontend) {
    TxRequest request = good(frontend);
    request.flags = more_data;
    offer(frontend, request);
    pause_ms(1'000);
}

// --- behaviour

void flood(Frontend& frontend) {
    for_a_while([&] { frontend.channel().tell(); });
}

void never_consume(Frontend& frontend) {
    // Responses stay where they are, and no buffers are offered any more.
    static_cast<void>(frontend);
    pause_ms(static_cast<int>(long_attack.count()));
}

// Requests that are all well formed, at full speed, answers never looked at.
void garbage_frames(Frontend& frontend) {
    Chance chance(1);
    for_a_while([&] {
        std::array<std::byte, some_bytes> frame;
        for (std::byte& byte : frame) byte = static_cast<std::byte>(chance());
        if (!frontend.send(frame)) frontend.serve();
    });
}

// Words and slots of both rings, again and again, with anything.
void scribble(Frontend& frontend) {
    Chance chance(2);
    for_a_while([&] {
        for (int i = 0; i < 64; ++i) {
            Ring& ring = chance() % 2 == 0 ? frontend.tx() : frontend.rx();
            if (chance() % 4 == 0) {
                ring.store(static_cast<Word>(chance() % 4), chance());
            } else {
                ring.put(chance(), chance() | std::uint64_t{chance()} << 32);
            }
        }
        frontend.channel().tell();
    });
}

// Requests whose parts are each plausible or not.
void random_requests(Frontend& frontend) {
    Chance chance(3);
    constexpr std::array<std::uint16_t, 8> sizes{0, 1, 13, 14, 60, 1'514, 4'096, 0xFFFF};
    for_a_while([&] {
        const std::uint32_t count = 1 + chance() % 20;
        for (std::uint32_t i = 0; i < count; ++i) {
            TxRequest request = good(frontend);
            if (chance() % 8 == 0) request.grant = chance();
            request.offset = sizes[chance() % sizes.size()];
            request.size = sizes[chance() % sizes.size()];
            request.flags = static_cast<std::uint16_t>(chance() % 16);
            request.id = static_cast<std::uint16_t>(chance());
            frontend.tx().put(frontend.tx_next() + i, request);
        }
        frontend.offer_tx(count);
        pause_ms(1);
    });
}

// --- states and keys

void straight_to_closed(Frontend& frontend) { frontend.set_state(State::closed); }

void closing_and_no_more(Frontend& frontend) {
    frontend.set_state(State::closing);
    pause_ms(static_cast<int>(long_attack.count()));
}

void reconnect_loop(Frontend& frontend) {
    const auto end = Clock::now() + 5 * long_attack;
    for (int i = 0; i < 200 && Clock::now() < end; ++i) {
        frontend.set_state(State::closed);
        frontend.set_state(State::initialising);
        frontend.write_ring_keys();
        frontend.set_state(State::connected);
    }
}

void wild_states(Frontend& frontend) {
    for (const char* text : {"7", "0", "-1", "4294967300", "banana", "", "04", "4 ", "\x01\xFF"}) {
        frontend.write("state", text);
        pause_ms(20);
    }
}

// Back to the start with keys that are lies, and Connected.
void lying_keys(Frontend& frontend, std::initializer_list<std::array<std::string_view, 2>> lies) {
    frontend.disconnect();
    frontend.set_state(State::initialising);
    frontend.wait_for_backend(State::init_wait, 10'000);
    frontend.write_ring_keys();
    for (const auto& [key, value] : lies) frontend.write(key, value);
    frontend.set_state(State::connected);
    pause_ms(1'000);
}

void lying_refs(Frontend& frontend) {
    lying_keys(frontend, {{"tx-ring-ref", "4294967295"}, {"rx-ring-ref", "12345678"}});
}

void lying_words(Frontend& frontend) {
    lying_keys(frontend, {{"tx-ring-ref", "banana"}, {"rx-ring-ref", ""}, {"event-channel", "-1"}});
}

void lying_channel(Frontend& frontend) { lying_keys(frontend, {{"event-channel", "4000000000"}}); }

void same_ring_twice(Frontend& frontend) {
    const std::string grant = std::to_string(frontend.pages().grant(frontend.tx_ring_page()));
    lying_keys(frontend, {{"tx-ring-ref", grant}, {"rx-ring-ref", grant}});
}

void lying_queues(Frontend& frontend) {
    lying_keys(frontend, {{"multi-queue-num-queues", "4000000000"}});
}

void long_values(Frontend& frontend) {
    const std::string text(2'000, '9');
    lying_keys(frontend, {{"tx-ring-ref", text}, {"event-channel", text}, {"feature-sg", text}});
}

constexpr std::array table{
    Attack{"producer-ahead", "more requests than a ring holds", producer_ahead},
    Attack{"producer-behind", "a producer that goes back", producer_behind},
    Attack{"rx-producer-ahead", "more buffers than a ring holds", rx_producer_ahead},
    Attack{"bad-grant", "requests with grants that are none", bad_grant},
    Attack{"bad-rx-grant", "buffers with grants that are none", bad_rx_grant},
    Attack{"revoked-grant", "grants taken back while they are in use", revoked_grant},
    Attack{"past-page", "offset and size that leave the page", past_page},
    Attack{"far-offset", "offset and size of 65535", far_offset},
    Attack{"size-zero", "a request of no bytes", size_zero},
    Attack{"size-mismatch", "slots that hold more than their packet", size_mismatch},
    Attack{"endless-slots", "a packet of 256 slots, and more to come", endless_slots},
    Attack{"endless-extras", "extra infos that announce the next, round the ring", endless_extras},
    Attack{"unknown-extra", "an extra info of a kind that is none", unknown_extra},
    Attack{"unfinished", "a packet whose end does not come", unfinished},
    Attack{"flood", "notifications for 2 s, as fast as possible", flood},
    Attack{"never-consume", "no look at responses, no new buffers, for 2 s", never_consume},
    Attack{"garbage-frames", "frames of chance, for 2 s", garbage_frames},
    Attack{"scribble", "chance in both rings, for 2 s", scribble},
    Attack{"random-requests", "requests of chance, for 2 s", random_requests},
    Attack{"closed", "straight from Connected to Closed", straight_to_closed},
    Attack{"closing", "Closing, and nothing after that", closing_and_no_more},
    Attack{"reconnect", "Closed and Connected in a loop", reconnect_loop},
    Attack{"wild-states", "states that are none", wild_states},
    Attack{"lying-refs", "ring references that are none", lying_refs},
    Attack{"lying-words", "keys that are no numbers", lying_words},
    Attack{"lying-channel", "an event channel that is none", lying_channel},
    Attack{"same-ring", "one page for both rings", same_ring_twice},
    Attack{"lying-queues", "four thousand million queues", lying_queues},
    Attack{"long-values", "keys of 2000 digits", long_values},
};

}  // namespace

std::span<const Attack> attacks() { return table; }

const Attack* find_attack(std::string_view name) {
    for (const Attack& attack : table) {
        if (attack.name == name) return &attack;
    }
    return nullptr;
}

}  // namespace hostile
