// What a worker counts. The blocks live in shared memory that outlives the process, so that totals
// go on after a restart.
//
// writer: the owning worker; reader: anyone (relaxed: each number is right by itself, not as a
// set).
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

#include "proxy/limits.hh"
#include "voter/types.hh"
#include "wire/drop_reason.hh"

namespace proxy {

// A number with one writer: an ordinary addition, readable from other threads.
class Count {
  public:
    void add(std::uint64_t n) {
        value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    }
    void subtract(std::uint64_t n) {
        value_.store(value_.load(std::memory_order_relaxed) - n, std::memory_order_relaxed);
    }
    void set(std::uint64_t n) { value_.store(n, std::memory_order_relaxed); }
    void raise_to(std::uint64_t n) {
        if (n > get()) set(n);
    }
    std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

  private:
    std::atomic<std::uint64_t> value_{0};
};

// Latencies in nanoseconds: eight buckets an octave, so a bucket is at most 12.5 % wide.
class LatencyHistogram {
  public:
    static constexpr unsigned buckets_count = 64 * 8;

    void record(std::uint64_t ns) {
        buckets_[bucket(ns)].add(1);
        max_ns_.raise_to(ns);
    }
    static unsigned bucket(std::uint64_t ns) {
        if (ns < 8) return static_cast<unsigned>(ns);
        const unsigned octave = static_cast<unsigned>(std::bit_width(ns)) - 1;
        return octave * 8 + static_cast<unsigned>((ns >> (octave - 3)) & 7u);
    }
    // The middle of a bucket.
    static std::uint64_t bucket_ns(unsigned index) {
        if (index < 8) return index;
        const unsigned octave = index / 8;
        if (octave < 3) return index;
        const std::uint64_t step = std::uint64_t{1} << (octave - 3);
        return (8 + (index & 7u)) * step + step / 2;
    }
    std::uint64_t count(unsigned index) const { return buckets_[index].get(); }
    std::uint64_t max_ns() const { return max_ns_.get(); }

  private:
    std::array<Count, buckets_count> buckets_;
    Count max_ns_;
};

struct ReplicaCounters {
    Count asked;    // requests given to it
    Count skipped;  // requests not given to it: its window or its port was full
    Count replies;
    Count dissent;
    Count silence;
};

struct GroupCounters {
    Count requests;  // that opened a ballot
    Count agreed;
    Count split;
    Count expired;
    Count rebuilt;          // released replies that were composed from voted parts
    Count errors_sent;      // SERVFAIL or ICMP unreachable in the place of a reply
    Count opened;           // released from the primary without a quorum
    Count retransmissions;  // given again to those who had not answered
    Count superseded;       // asked again after the reply had left
    Count unsendable;       // agreed, and could not be rebuilt or sent
    Count evidence_lost;    // faults whose evidence found the queue full
    // Stateful groups.
    Count absorbed;  // repetitions of a logged request
    Count repeated;  // of those, answered again with the reply that was kept
    Count replayed;  // requests given to one replica from the log
    Count halted;    // 1: it answers nothing, because no quorum agrees on its state
    std::array<ReplicaCounters, voter::replicas_max> replicas;
    LatencyHistogram latency;  // request received to reply released
};

struct alignas(64) WorkerCounters {
    // Conservation, at the end of every turn:
    //   received + made + taken_over == sent + dropped + held + handed_over
    Count received;     // from ports
    Count made;         // clones, fragments, and packets the appliance wrote
    Count taken_over;   // from other workers
    Count sent;         // taken by ports
    Count handed_over;  // to other workers
    std::array<Count, wire::drop_reasons_count> dropped;
    Count held;    // in ballots and reassembly
    Count passed;  // inline: not for a service, of those sent
    // How the worker spends its time.
    Count turns;
    Count busy_turns;  // that brought packets
    Count busy_ticks;  // spent in those, from head to end
    Count sleeps;
    Count blank_checksums;  // requests with only the pseudo-header summed: offload left on
    Count events_lost;      // reports to the control thread that found the queue full
    std::array<GroupCounters, groups_max> groups;

    void drop(wire::DropReason reason, std::uint64_t n = 1) {
        dropped[static_cast<std::size_t>(reason)].add(n);
    }
    std::uint64_t dropped_total() const {
        std::uint64_t total = 0;
        for (const Count& count : dropped) total += count.get();
        return total;
    }
    // A process that was killed leaves packets that are neither sent nor dropped: they are lost
    // with it.
    void settle_after_crash() {
        held.set(0);
        const std::uint64_t in = received.get() + made.get() + taken_over.get();
        const std::uint64_t out = sent.get() + dropped_total() + handed_over.get();
        if (in > out) drop(wire::DropReason::lost_in_crash, in - out);
        if (out > in) made.add(out - in);
    }
    bool balanced() const {
        return received.get() + made.get() + taken_over.get() ==
               sent.get() + dropped_total() + held.get() + handed_over.get();
    }
};

}  // namespace proxy
