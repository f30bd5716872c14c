// Requests of a capture into the appliance, from within its process: takes records from a
// descriptor, puts each frame into the ring that stands for the client port when it is due, and
// takes out what leaves. A thread of its own that sleeps whenever nothing is due, so that it does
// not starve the workers; it never drops: where the ring is full it is late, and says by how much.
//
// Known limit: it does not tie answers to requests (the workers do). How many requests are under
// way is what was sent, less the answers that came out and the requests the workers dropped; a
// service that answers one request with several datagrams looks faster than it is.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "proxy/counters.hh"
#include "proxy/ports/eth_port.hh"
#include "proxy/runtime/replay_input.hh"

namespace proxy {

struct ReplaySettings {
    int descriptor = -1;       // of records; the feeder's from now on
    std::uint32_t window = 0;  // requests under way at most; 0: any number
    // For how long a request can be under way: after that without an answer the window opens again,
    // and after that without a request everything has been decided.
    std::chrono::milliseconds patience{300};
};

struct ReplaySurroundings {
    RingEnd client;                  // requests go in, answers come out
    rte_ring* passed = nullptr;      // inline: what leaves on the other side; may be null
    wire::MacAddress mac;            // of the client port
    rte_mempool* packets = nullptr;  // where requests are put
    std::span<WorkerCounters> counters;
    std::function<void()> wake;  // after requests were put into the ring
};

class ReplayFeeder {
  public:
    ReplayFeeder(const ReplaySettings& settings, ReplaySurroundings surroundings);
    ~ReplayFeeder();
    ReplayFeeder(const ReplayFeeder&) = delete;
    ReplayFeeder& operator=(const ReplayFeeder&) = delete;

    // Sends no more; what is under way is still decided.
    void stop() { stop_.store(true, std::memory_order_relaxed); }

    // "feeding", then "settling" until every request is decided, then "done"; how much, how fast.
    nlohmann::json status() const;

  private:
    enum class State : std::uint8_t { feeding, settling, done, broken };

    void run();
    // Each returns for how long there is nothing to do, in nanoseconds.
    std::uint64_t feed();
    std::uint64_t settle();
    unsigned room();
    unsigned put_due(unsigned room, std::uint64_t now, std::uint64_t& wait_ns);
    rte_mbuf* packet_of(std::span<const std::byte> frame);
    void take_answers(rte_ring* ring, bool count);
    std::uint64_t ended() const;
    bool nothing_held() const;

    ReplaySettings settings_;
    ReplaySurroundings around_;
    ReplayInput input_;
    std::uint64_t started_ns_ = 0;  // when what is due at 0 was due
    std::uint64_t forgiven_ = 0;    // requests that are no longer waited for
    std::uint64_t ended_seen_ = 0;
    std::uint64_t moved_ns_ = 0;  // when ended() last moved, or the last request was sent
    unsigned quiet_looks_ = 0;

    // writer: the feeder's thread; reader: control
    Count sent_;
    Count bytes_;
    Count answers_;
    Count first_ns_;
    Count last_ns_;
    Count late_ns_max_;
    std::atomic<State> state_{State::feeding};

    std::atomic<bool> stop_{false};  // writer: control; reader: the thread
    std::atomic<bool> quit_{false};
    std::thread thread_;
};

}  // namespace proxy
