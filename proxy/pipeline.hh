// The way of a packet. A worker is one thread with everything it touches; run_once() in pipeline.cc
// is the map, and each stage has a file of its name:
//
//  - receive: client port or replica port -> parse -> who owns the flow? (handoff) -> what is it?
//  - request: classify (service, flow) -> sequence -> ballot -> clone -> replica ports
//  - reply: match -> vote
//  - deferred: requests that wait for room at a replica
//  - release: what was decided -> the reply, or an error in its place -> client port; close what is
//    done, and what has no time left
//  - answer: what the appliance says itself (ARP, neighbour discovery, echo, RST)
//  - icmp: errors from replicas (votes) and to them
//  - reassembly, outbound: fragments, transmit buffers, flush
//  - logged, feed: groups with state, their request log, and replicas that are brought up from it
//
// Fast path: no allocation, lock, system call (beside the port's own), exception or clock read per
// packet.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <rte_ip_frag.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include "proxy/counters.hh"
#include "proxy/deferred.hh"
#include "proxy/events.hh"
#include "proxy/feed.hh"
#include "proxy/known_sources.hh"
#include "proxy/limits.hh"
#include "proxy/packet.hh"
#include "proxy/plan.hh"
#include "proxy/ports/netback_lanes.hh"
#include "proxy/records.hh"
#include "voter/accusation.hh"
#include "voter/comparator.hh"
#include "wire/frame.hh"
#include "wire/write.hh"

namespace proxy {

// Workers hand each other packets that belong to the other's flows: one ring for each ordered pair.
struct Handoff {
    // [from][to]; nullptr on the diagonal. Single producer, single consumer.
    std::array<std::array<rte_ring*, workers_max>, workers_max> rings{};
};

// What goes over such a ring: one word. The port is not written into the packet, because clones are
// references: one packet may be on its way to several ports.
struct Handed {
    rte_mbuf* packet = nullptr;
    std::uint8_t port = 0;  // where it came from, or is to leave
    bool to_send = false;

    void* word() const {
        const auto extra = static_cast<std::uintptr_t>(port) << 1 | (to_send ? 1u : 0u);
        return reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(packet) | extra << shift);
    }
    static Handed from_word(void* word) {
        const auto bits = reinterpret_cast<std::uintptr_t>(word);
        const auto extra = bits >> shift;
        Handed handed;
        handed.packet = reinterpret_cast<rte_mbuf*>(bits & ((std::uintptr_t{1} << shift) - 1));
        handed.port = static_cast<std::uint8_t>(extra >> 1);
        handed.to_send = (extra & 1u) != 0;
        return handed;
    }

  private:
    // Addresses of user space have 47 bits on x86-64 (DPDK's memory is not above them).
    static constexpr unsigned shift = 48;
    static_assert(ports_max < 256 && sizeof(std::uintptr_t) == 8);
};

struct WorkerSettings {
    unsigned index = 0;
    unsigned workers = 1;
    std::uint32_t records = 16'384;
    std::array<std::uint64_t, 4> hash_secrets{};  // the same for all workers of a process
    voter::DigestKey digest_key{};
    std::uint64_t ticks_per_second = 1'000'000'000;
    std::uint32_t evidence_per_second_max = 0;
    std::array<voter::AccusationRules, groups_max> accusation{};  // windows in ticks
    std::uint32_t retained_replies_max = proxy::retained_replies_max;
    // Read once in a turn that releases something, so that latencies include the turn itself;
    // nullptr: the turn's own time stands for it (simulators).
    std::uint64_t (*clock)() = nullptr;
    bool vote = true;  // off only to measure: everything is cloned, the first reply is released
};

// What a worker shares with its process. All outlive it.
struct WorkerSurroundings {
    rte_mempool* packets = nullptr;
    rte_mempool* jumbos = nullptr;
    WorkerCounters* counters = nullptr;
    Handoff* handoff = nullptr;
    EventQueue* events = nullptr;                // to the control thread
    rte_ring* evidence = nullptr;                // of EvidenceItem*; may be null: none is kept
    rte_mempool* evidence_items = nullptr;       // where they come from
    std::array<RequestLog*, groups_max> logs{};  // of the stateful groups this worker owns
    NetbackLanes* netback = nullptr;             // of ports to Xen domains; null: there are none
};

class Worker {
  public:
    Worker(const WorkerSettings& settings, const WorkerSurroundings& surroundings);
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    // One turn. Returns how many packets came in; `now` in ticks, never smaller than before.
    unsigned run_once(std::uint64_t now);

    // Control thread: from the next turn on, run on this plan. It must live until taken_up() says
    // so for it and a later one has been taken up.
    void offer(const Plan* plan) { offered_.store(plan, std::memory_order_release); }
    // The epoch of the plan that is in use.
    std::uint64_t taken_up() const { return taken_up_.load(std::memory_order_acquire); }

    // When the next ballot of this worker runs out of time; UINT64_MAX: none is open.
    std::uint64_t next_deadline();
    // Whether something waits in its handoff rings (read before sleeping).
    bool handoff_waits() const;
    // Around a sleep: domains tell us what they send only then. True: one has sent something.
    bool listen() { return around_.netback != nullptr && around_.netback->arm(); }
    void woke() {
        if (around_.netback != nullptr) around_.netback->woke();
    }
    // Workers that were handed packets since the last call, one bit each: they may sleep.
    std::uint32_t take_handed_to() { return std::exchange(handed_to_, 0); }
    // Gives up everything held, for an orderly end; the counters balance afterwards.
    void drain();

  private:
    struct Arrival {
        rte_mbuf* packet;
        wire::Frame frame;
        std::uint32_t hash;
        RecordKey key;
        // Of a reply: what it answers, where that was seen at once (then the key is not set), else
        // no_record.
        std::uint32_t record;
        std::uint16_t unit_count;  // of a reply
        std::uint8_t service;

        // Field by field: what is put together elsewhere and copied is loaded in wider pieces than
        // it was stored in, and waits for each store to reach the cache.
        void set_key(const wire::IpAddress& client, std::uint16_t client_port,
                     const voter::MatchKey& match) {
            key.client = client;
            key.request = match.request;
            key.client_port = client_port;
            key.service = service;
            key.unit = match.unit;
        }
    };
    // Who gets a request: those with room at once, the others when they have answered something.
    struct Asking {
        voter::SlotSet now;
        voter::SlotSet later;
        voter::SourceId source;
    };
    struct TxBuffer {
        std::array<rte_mbuf*, tx_buffer_len_max> packets;
        // Replica ports: the record each clone belongs to; no_record: none.
        std::array<std::uint32_t, tx_buffer_len_max> records;
        // Stateful groups: which request of the log it is; 0: none.
        std::array<std::uint64_t, tx_buffer_len_max> orders;
        std::uint16_t length = 0;
    };

    void account(unsigned packets);

    // worker.cc
    void take_up_plan();
    void withdraw_departed(const Plan& before, const Plan& after);
    void withdraw(std::uint8_t group, voter::ReplicaId slot);
    void answered(std::uint8_t group, voter::ReplicaId slot);
    std::uint8_t find_service(const wire::IpAddress& address, std::uint16_t port) const;
    bool is_service_address(const wire::IpAddress& address) const;
    bool frame_is_for_service(wire::Bytes frame) const;
    bool port_is_a_services(wire::Bytes frame, bool whole, std::uint8_t protocol, std::size_t l4,
                            const wire::IpAddress& destination) const;

    // receive.cc
    unsigned receive(std::uint8_t port);
    unsigned receive_handoffs();
    void dispatch(std::uint8_t port, std::span<rte_mbuf*> burst);
    bool addressed_to_us(const PlanPort& port, const wire::Frame& frame) const;
    bool hand_off(std::uint8_t port, rte_mbuf* packet, const wire::Frame& frame);
    std::uint64_t owner_of_quoted(rte_mbuf* packet, const wire::Frame& frame) const;
    void pass_to_worker(unsigned to, const Handed& handed);
    void from_client(std::uint8_t port, rte_mbuf* packet, const wire::Frame& frame);
    void from_replica(std::uint8_t port, rte_mbuf* packet, const wire::Frame& frame);
    void pass_or_drop(std::uint8_t port, rte_mbuf* packet, wire::DropReason reason);

    // request.cc
    bool is_request(std::uint8_t port, Arrival& arrival);
    void requests(std::uint8_t port, std::span<Arrival> arrivals);
    void request(std::uint8_t port, Arrival& arrival);
    wire::DropReason sequence(std::uint8_t port, const Arrival& arrival, Asking& asking);
    wire::DropReason not_now(const Arrival& arrival);
    wire::DropReason repeated(Record& record);
    bool flow_waits(const Arrival& arrival);
    void open_ballot(std::uint8_t port, Arrival& arrival, Record& record, const Asking& asking);
    void give_to_replicas(Record& record, voter::SlotSet slots);
    void note_blank_checksum(const Arrival& arrival);

    // deferred.cc
    void defer(Record& record, voter::SlotSet slots);
    void give_deferred();
    void forgo_deferred(Record& record);
    void forgo(Record& record, voter::SlotSet slots);

    // reply.cc
    bool is_reply(std::uint8_t port, Arrival& arrival);
    void replies(std::uint8_t port, std::span<Arrival> arrivals);
    void reply(std::uint8_t port, Arrival& arrival);
    voter::SlotSet equal_checked_reply(const Record& record, const Answer& answer) const;
    void vote(Record& record, voter::ReplicaId slot, const Answer& answer,
              voter::SlotSet identical_to);
    bool serves_alone(const Record& record, voter::ReplicaId slot) const;
    void keep_if(bool wanted, Record& record, voter::ReplicaId slot, const Answer& answer);
    void keep_answer(Record& record, voter::ReplicaId slot, const Answer& answer);
    voter::Likeness likeness(const Record& record, const Answer& answer, voter::ReplicaId holder);
    std::uint32_t next_in_order(const PlanPort& port, const Arrival& arrival,
                                const voter::MatchKey& key);
    Record* record_for(const Arrival& arrival, voter::ReplicaId slot);
    Record* open_unit(const Arrival& arrival);
    void close_units(const Record& first);

    // release.cc
    void list(Record& record);
    void release_decided();
    void settle(Record& record);
    void release(Record& record);
    void left(Record& record);
    void note_units(Record& record, voter::ReplicaId holder) const;
    void release_from(Record& record, voter::ReplicaId holder);
    static bool nothing_to_come(const Record& record);
    static void fill_in_checksum(wire::MutableBytes frame);
    void release_composed(Record& record);
    bool send_datagram(const ReturnPath& path, const RecordKey& key, wire::Bytes payload);
    void unsendable(Record& record);
    void release_icmp(Record& record, const Answer& answer);
    void quorum_lost(Record& record);
    std::optional<voter::ReplicaId> holder_of(const Record& record, voter::ReplicaId slot) const;
    void keep_for_late_votes(Record& record);
    void give_up(Answer& answer);
    void close(Record& record);
    void give_up_packets(Record& record);
    void expire();

    // faults.cc
    void settle_faults(Record& record);
    void fault(const Record& record, voter::Fault fault, voter::ReplicaId slot);
    void report(const Event& event);
    void file_evidence(Record& record);

    // answer.cc
    bool may_answer();
    void send_own(std::uint8_t port, rte_mbuf* answer, std::size_t length);
    void answer_neighbour(std::uint8_t port, rte_mbuf* packet, const wire::Frame& frame);
    void answer_echo(std::uint8_t port, rte_mbuf* packet, const wire::Frame& frame);
    void refuse_tcp(std::uint8_t port, rte_mbuf* packet, const wire::Frame& frame);
    void answer_dns_error(std::uint8_t port, const Arrival& arrival, std::uint8_t rcode,
                          wire::DropReason reason);
    void answer_error(std::uint8_t port, const Arrival& arrival, wire::DropReason reason);
    std::size_t write_unreachable(wire::MutableBytes out, const wire::LinkHeader& link,
                                  const wire::IpAddress& service, const wire::IpAddress& client,
                                  wire::Bytes packet);
    ReturnPath return_path(std::uint8_t port, const wire::Frame& frame) const;
    void set_return_path(ReturnPath& path, std::uint8_t port, const wire::Frame& frame) const;

    // icmp.cc
    void icmp_from_client(std::uint8_t port, rte_mbuf* packet, const wire::Frame& frame);
    void icmp_from_replica(std::uint8_t port, rte_mbuf* packet, const wire::Frame& frame);
    void send_icmp_error(const Record& record, std::uint8_t type, std::uint8_t code);
    void send_unreachable(const Record& record);

    // reassembly.cc
    rte_mbuf* reassemble(std::uint8_t port, rte_mbuf* packet, wire::Frame& frame);
    rte_mbuf* in_one_piece(rte_mbuf* chain);
    void free_death_row(wire::DropReason reason);
    void age_reassembly();

    // outbound.cc
    void drop(rte_mbuf* packet, wire::DropReason reason);
    void free_dropped();
    rte_mbuf* new_packet();
    void send(std::uint8_t port, rte_mbuf* packet, std::uint32_t record = no_record,
              std::uint64_t order = 0);
    void send_whole_or_fragmented(std::uint8_t port, rte_mbuf* packet, std::uint16_t l3_offset);
    bool send_fragmented(std::uint8_t port, rte_mbuf* packet, std::uint16_t l3_offset,
                         std::uint32_t record, std::uint64_t order = 0);
    void flush(std::uint8_t port);
    void flush_role(PlanPort::Role role);
    void not_asked(std::uint32_t record, const PlanPort& port);

    // logged.cc: what is asked of groups with state, and what their votes are worth
    enum class Word : std::uint8_t { release, wait, refuse };
    wire::DropReason log_refuses(std::uint8_t port, const Arrival& arrival);
    voter::SlotSet log_ask(std::uint8_t group, std::uint32_t room) const;
    void log_request(Record& record);
    Word log_agreed(Record& record);
    void log_reply(const Record& record, wire::Bytes payload);
    bool log_closed(const Record& record);
    bool excused(const Record& record, voter::Fault fault, voter::ReplicaId slot);
    std::uint64_t missed_before(const Record& record, voter::ReplicaId slot);
    void halt(std::uint8_t group);
    void resume(std::uint8_t group);
    bool silent(const Record& record, voter::ReplicaId slot);
    void watch_doubt(std::uint8_t group);

    // feed.cc: how their replicas get all requests in order
    void open_logs();
    void adopt_seats(std::uint8_t group);
    void adopt_seat(std::uint8_t group, voter::ReplicaId slot);
    static std::uint64_t take_over(StatefulGroup& state, voter::ReplicaId slot,
                                   recovery::Standing standing);
    void give_logged(Record& record, voter::SlotSet ask);
    void log_intent(const PlanPort& port, const TxBuffer& buffer);
    void log_delivered(const PlanPort& port, const TxBuffer& buffer, std::uint16_t sent);
    void fall_behind(StatefulGroup& state, voter::ReplicaId slot);
    void catch_up(std::uint8_t group, voter::ReplicaId slot);
    bool give_copy(std::uint8_t port, const LogEntry& entry);
    bool replayed_reply(std::uint8_t port, const Arrival& arrival, const Record* record);
    void give_up_waiting(std::uint8_t group, voter::ReplicaId slot);
    void lose(std::uint8_t group, voter::ReplicaId slot, Event::Why why);
    // A port that was full is tried again after that.
    std::uint64_t port_retry_ticks() const { return settings_.ticks_per_second / 10'000; }
    std::uint64_t report_due(std::uint8_t group, voter::ReplicaId slot) const;
    void report_feed(std::uint8_t group, voter::ReplicaId slot);
    std::uint64_t next_feed_deadline(std::uint8_t group) const;
    void replay();

    std::uint64_t clock() const { return settings_.clock != nullptr ? settings_.clock() : now_; }
    std::uint64_t to_ns(std::uint64_t ticks) const {
        return static_cast<std::uint64_t>((static_cast<Wide>(ticks) * ns_per_tick_shifted_) >>
                                          ns_shift);
    }
    std::uint16_t next_identification() { return ++identification_; }

    static constexpr unsigned ns_shift = 20;
    static constexpr std::uint8_t no_service = UINT8_MAX;

    const WorkerSettings settings_;
    const WorkerSurroundings around_;
    WorkerCounters& counters_;
    const Plan* plan_;
    std::uint64_t now_ = 0;
    KeyHash key_hash_;
    Records records_;
    KnownSources known_;
    voter::WorkspacePtr workspace_;
    std::vector<voter::Accusation> accusations_;  // by group
    // Requests each replica has been given and not answered (further datagrams of a reply, which a
    // replica may invent, are not among them).
    std::array<std::array<std::uint32_t, voter::replicas_max>, groups_max> inflight_{};
    // The record that each replica answered last, in a burst of replies.
    struct Answered {
        std::uint32_t record = no_record;
        std::uint32_t generation = 0;
    };
    std::array<std::array<Answered, voter::replicas_max>, groups_max> answered_last_{};
    std::unique_ptr<DeferredQueue[][voter::replicas_max]> deferred_;  // by group
    bool any_deferred_ = false;  // whether one of them may hold something
    std::array<std::uint32_t, groups_max> open_records_{};
    std::array<std::unique_ptr<StatefulGroup>, groups_max> stateful_;  // that this worker owns
    std::unique_ptr<std::array<TxBuffer, ports_max>> tx_;
    std::array<Arrival, burst_len_max> arrivals_;  // of the burst at hand
    std::vector<std::uint32_t> decided_;           // records to look at in release_decided()
    std::uint32_t retained_replies_ = 0;
    // Dropped, and given back to their pool together.
    std::array<rte_mbuf*, burst_len_max> dropped_;
    unsigned dropped_len_ = 0;
    std::uint64_t held_ = 0;       // packets in records and reassembly
    std::uint32_t handed_to_ = 0;  // workers, one bit each
    std::uint64_t ns_per_tick_shifted_ = 0;
    std::uint64_t fragments_aged_ = 0;
    std::uint64_t releasing_at_ = 0;  // ticks
    std::uint16_t identification_ = 0;
    std::uint64_t second_started_ = 0;
    std::uint32_t answers_left_ = 0;   // own answers left in this second
    std::uint32_t evidence_left_ = 0;  // evidence left in this second
    std::vector<std::byte> compose_buffer_;
    rte_ip_frag_tbl* client_fragments_ = nullptr;
    std::array<std::array<rte_ip_frag_tbl*, voter::replicas_max>, groups_max> replica_fragments_{};
    rte_ip_frag_death_row death_row_{};

    alignas(64) std::atomic<const Plan*> offered_;  // writer: control; reader: this worker
    std::atomic<std::uint64_t> taken_up_{0};        // writer: this worker; reader: control
};

// Several times a request, so in line.

inline std::uint8_t Worker::find_service(const wire::IpAddress& address, std::uint16_t port) const {
    for (std::uint8_t i = 0; i < plan_->services_count; ++i) {
        if (plan_->services[i].port == port && plan_->services[i].address == address) return i;
    }
    return no_service;
}

inline void Worker::send(std::uint8_t index, rte_mbuf* packet, std::uint32_t record,
                         std::uint64_t order) {
    if (index >= plan_->ports_count) return drop(packet, wire::DropReason::service_without_port);
    if (settings_.index >= plan_->ports[index].tx_queues) {
        // The queues are others': worker 0 has one for sure.
        return pass_to_worker(0, {packet, index, true});
    }
    TxBuffer& buffer = (*tx_)[index];
    if (buffer.length == tx_buffer_len_max) flush(index);
    buffer.packets[buffer.length] = packet;
    buffer.records[buffer.length] = record;
    buffer.orders[buffer.length] = order;
    buffer.length += 1;
}

}  // namespace proxy
