// A small appliance in one process: the real Worker on ring ports, a plan made by hand, time given
// by the test. Ports are opened once a process and used again by every test. Replicas may be behind
// netback's lanes instead: who brings those brings the frontends.
//
// Limit: one worker, one group (tests of several workers bring their own).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/pipeline.hh"
#include "tests/appliance/frames.hh"

namespace appliance_test {

// EAL without hugepages, the pools, the ports. Once a process; empty: done, else why not.
std::string start_dpdk(unsigned memory_mb = 192);
void stop_dpdk();
struct Pool {
    rte_mempool* packets = nullptr;
    rte_mempool* jumbos = nullptr;
    // Packets that are not in their pools now.
    unsigned in_use() const;
};
const Pool& pool();

constexpr unsigned places = 2;

// What the tests' appliance is like; change before building it.
struct Shape {
    unsigned replicas = 3;
    voter::Rules rules{2, voter::Release::quorum};
    config::Topology topology = config::Topology::vip;
    config::Mode mode = config::Mode::enforce;
    config::QuorumLost quorum_lost = config::QuorumLost::silence;
    voter::ReplicaId primary{};
    std::uint64_t deadline_us = 300'000;
    std::uint32_t inflight_max = 128;
    std::uint32_t stranger_inflight_max = 96;
    std::uint32_t records = 1024;
    bool is_dns = false;
    voter::Matcher matcher = voter::Matcher::offset_length(0, 4);
    voter::Comparator comparator;
    voter::dns::RefuseSet refuse;
    std::uint16_t service_port = 5300;
    std::optional<wire::MacAddress> gateway;
    voter::AccusationRules accusation;  // window in microseconds
    bool vote = true;
    std::uint64_t seed = 1;
    std::uint64_t (*clock)() = nullptr;  // ticks within a turn; null: it takes no time
    // Where replicas are domains: their lanes are lane_of(), their pool is pool().packets.
    proxy::NetbackLanes* netback = nullptr;
};

constexpr unsigned lane_of(unsigned slot, unsigned place) { return slot * places + place; }

// Ticks are microseconds here.
constexpr std::uint64_t ticks_per_second = 1'000'000;

extern const wire::MacAddress appliance_mac;
extern const wire::IpAddress service_v4;
extern const wire::IpAddress service_v6;

class Appliance {
  public:
    explicit Appliance(const Shape& setup);
    ~Appliance();
    Appliance(const Appliance&) = delete;
    Appliance& operator=(const Appliance&) = delete;

    const Shape& setup() const { return setup_; }
    proxy::Worker& worker() { return *worker_; }
    proxy::WorkerCounters& counters() { return *counters_; }
    proxy::GroupCounters& group() { return counters_->groups[0]; }
    std::uint64_t dropped(wire::DropReason reason) const {
        return counters_->dropped[static_cast<std::size_t>(reason)].get();
    }
    std::uint64_t now() const { return now_; }

    // The service as clients and replicas name it, of the same IP version as `client`.
    Endpoint service(const Endpoint& client) const;
    Endpoint replica_side(const Endpoint& client) const;  // the client, as a replica addresses it
    Endpoint replica(const Endpoint& client) const;       // a replica, as it names itself
    Octets request(const Endpoint& client, const Octets& payload) const;
    Octets reply(const Endpoint& client, const Octets& payload) const;

    // Into the appliance; false: the ring or the pool was full. client: 0 outside, 1 inside.
    bool from_client(const Octets& frame, unsigned client = 0);
    bool from_replica(unsigned slot, const Octets& frame, unsigned place = 0);
    // One turn, `us` later than the last. False: the counters did not balance after it.
    bool step(std::uint64_t us = 1);
    // What has come out since.
    std::vector<Octets> to_client(unsigned client = 0);
    std::vector<Octets> to_replica(unsigned slot, unsigned place = 0);
    void discard_output();

    std::vector<proxy::Event> events();

    // The plan as it is, to be changed and offered; the next step() takes it up.
    proxy::Plan& next_plan() { return next_; }
    void offer();
    // Taken out; seated anew as the next incarnation in `place`.
    void suspend(unsigned slot);
    void admit(unsigned slot, unsigned place);
    voter::Incarnation incarnation(unsigned slot) const {
        return next_.groups[0].seats[slot].incarnation;
    }
    std::optional<unsigned> place_of(unsigned slot) const;  // nullopt: suspended

    // The process dies: what it had not sent is lost, and nothing steps before a successor starts,
    // which finds the last plan and the counters. False: the counters did not balance.
    bool end_process();
    void start_process(proxy::NetbackLanes* netback);
    void pass_time(std::uint64_t us) { now_ += us; }

    // Orderly end: afterwards nothing is held. False: it did not balance or something was kept.
    bool finish();

  private:
    Shape setup_;
    std::unique_ptr<proxy::WorkerCounters> counters_;
    std::unique_ptr<proxy::EventQueue> events_;
    proxy::Handoff handoff_;
    proxy::Plan next_;
    std::vector<std::unique_ptr<proxy::Plan>> offered_;
    std::unique_ptr<proxy::Worker> worker_;
    std::uint64_t now_ = 1'000'000;
    std::uint32_t incarnations_ = 0;
};

}  // namespace appliance_test
