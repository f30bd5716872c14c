// A stateful group as a small world of its own: the real worker on ring ports and a real log file,
// with a client, three counters, a control thread and an operator that are simulated, and a process
// that can be killed at any crash point. Everything follows from one seed and a clock that is moved
// by hand.
//
// A kill: at the chosen pass of a crash point the log file is copied, and it is noted how much has
// left the ports. The turn is then finished for convenience, but nothing that left later counts;
// the next process runs on the copy.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "proxy/crash_point.hh"
#include "proxy/pipeline.hh"
#include "proxy/ports/eth_port.hh"

namespace stateful_test {

constexpr unsigned replicas_max = 5;
constexpr std::uint64_t deadline = 1'000'000;  // ticks are nanoseconds
constexpr std::uint64_t turn_ns = 20'000;

// Ring ports, made once.
struct Rings {
    proxy::RingPair client;
    std::vector<proxy::RingPair> replicas;
    rte_mempool* packets = nullptr;
    rte_mempool* jumbos = nullptr;
};
Rings& rings();

// A counter as a replica.
struct Replica {
    enum class Manner : std::uint8_t {
        honest,
        lossy,     // its kernel drops a request now and then
        liar,      // tells one more, now and then
        colluder,  // tells what the lowest other count would have told
        silent,    // executes and does not answer
    };
    voter::Incarnation incarnation;
    recovery::Standing standing = recovery::Standing::absent;
    Manner manner = Manner::honest;
    bool paused = false;  // takes nothing from its port
    std::uint64_t count = 0;
    std::vector<std::uint64_t> taken;                         // request numbers, in order
    std::deque<std::pair<std::uint64_t, rte_mbuf*>> answers;  // when, what
    std::uint64_t restart_at = 0;                             // turn; 0: no
    std::uint64_t lagging_since = 0;                          // turn
};

struct Settings {
    unsigned replicas = 3;
    std::uint8_t quorum = 2;
    std::uint64_t log_bytes = proxy::RequestLog::bytes_min;
    std::uint32_t inflight_max = 16;
    unsigned answer_turns_max = 3;
    bool operator_restarts = true;
};

class World {
  public:
    World(std::uint64_t seed, const Settings& settings);
    ~World();
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    // One turn of the worker and of everybody else. Returns whether the process was killed in it.
    bool turn();
    void turns(unsigned count) {
        while (count-- != 0) turn();
    }
    // A datagram of 8 bytes or more from the client.
    void ask(std::uint64_t number, std::size_t size = 8);
    // At the `pass`-th pass of the crash point from now on.
    void arm(proxy::CrashPoint where, std::uint64_t pass) {
        armed_ = true;
        armed_where_ = where;
        armed_pass_ = pass;
    }
    void disarm() { armed_ = false; }
    bool armed() const { return armed_; }
    void kill_between_turns();
    // A new incarnation takes the seat.
    void restart(unsigned slot);
    void stop(unsigned slot);
    void stand(unsigned slot, recovery::Standing standing);

    // Turns until everybody is admitted and at the end of the log; false: not within `turns_max`.
    bool heal(unsigned turns_max);

    // For proxy::crash_point().
    void at(proxy::CrashPoint where);

    proxy::RequestLog& log() { return *log_; }
    const proxy::GroupCounters& counters() const { return counters_->groups[0]; }
    const proxy::WorkerCounters& all_counters() const { return *counters_; }
    std::uint64_t dissent(unsigned slot) const {
        return dissent_before_[slot] + counters_->groups[0].replicas[slot].dissent.get();
    }
    std::uint64_t count_events(proxy::Event::Kind kind) const {
        const auto found = events_seen_.find(kind);
        return found == events_seen_.end() ? 0 : found->second;
    }
    proxy::Event last_event() const { return last_event_; }
    // What the client got, by request number.
    const std::map<std::uint64_t, std::uint64_t>& replies() const { return replies_; }
    std::uint64_t replies_count() const { return replies_count_; }
    const std::string& trouble() const { return trouble_; }  // contradictory or unasked replies
    std::uint64_t wrong() const;  // replies whose count is not the order in which they were logged
    std::uint64_t now() const { return now_; }
    void pass_time(std::uint64_t ticks) { now_ += ticks; }
    std::mt19937_64& random() { return random_; }
    bool chance(unsigned percent) { return random_() % 100 < percent; }

    std::array<Replica, replicas_max> replicas;
    unsigned loss_percent = 10;

  private:
    void start_process();
    void end_process();
    void publish();
    void snapshot(proxy::CrashPoint where);
    void client_receives();
    void replica_receives(unsigned slot);
    void execute(unsigned slot, rte_mbuf* request);
    void replica_answers(unsigned slot);
    void control();
    void handle(const proxy::Event& event);
    void operate();
    void flush_rings(unsigned slot);

    std::mt19937_64 random_;
    Settings settings_;
    std::filesystem::path file_;
    std::uint64_t now_ = 1'000'000'000;
    std::uint64_t turn_ = 1;
    std::uint32_t next_incarnation_ = 1;
    std::uint64_t epoch_ = 0;
    std::deque<std::unique_ptr<proxy::Plan>> plans_;
    std::unique_ptr<proxy::RequestLog> log_;
    std::unique_ptr<proxy::WorkerCounters> counters_;
    std::unique_ptr<proxy::EventQueue> events_;
    std::unique_ptr<proxy::Handoff> handoff_;
    std::unique_ptr<proxy::Worker> worker_;
    std::array<std::uint64_t, replicas_max> dissent_before_{};

    bool armed_ = false;
    proxy::CrashPoint armed_where_{};
    std::uint64_t armed_pass_ = 0;
    bool killed_ = false;
    std::vector<char> copy_;
    // Packets on the wire: at the last intent, and of which the kill lets nothing behind through.
    std::array<unsigned, replicas_max + 1> at_intent_{};
    std::array<unsigned, replicas_max + 1> left_{};

    std::set<std::uint64_t> asked_;
    std::map<std::uint64_t, std::uint64_t> replies_;
    std::uint64_t replies_count_ = 0;
    std::map<proxy::Event::Kind, std::uint64_t> events_seen_;
    proxy::Event last_event_;
    std::string trouble_;
};

}  // namespace stateful_test
