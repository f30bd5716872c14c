#include "tests/unit/proxy/stateful_world.hh"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <fstream>

#include <unistd.h>

#include "tests/unit/proxy/port_fixture.hh"
#include "wire/write.hh"

namespace stateful_test {

using proxy::CrashPoint;
using proxy::Event;
using recovery::Standing;

namespace {

World* current = nullptr;

const wire::IpAddress service_address = wire::IpAddress::v4(0x0a000035);
const wire::IpAddress client_address = wire::IpAddress::v4(0x0a000002);
constexpr std::uint16_t service_port = 7000;
constexpr std::uint16_t client_port = 40000;
constexpr wire::MacAddress client_mac{{2, 0, 0, 0, 0, 9}};
constexpr std::uint16_t client_index = 0;  // ports of the plan: client, then the replicas

std::uint64_t load_be64(const std::byte* at) {
    return std::uint64_t{wire::load_be32(at)} << 32 | wire::load_be32(at + 4);
}
void store_be64(std::byte* at, std::uint64_t value) {
    wire::store_be32(at, static_cast<std::uint32_t>(value >> 32));
    wire::store_be32(at + 4, static_cast<std::uint32_t>(value));
}

rte_mbuf* datagram(const wire::LinkHeader& link, const wire::IpAddress& from,
                   std::uint16_t from_port, const wire::IpAddress& to, std::uint16_t to_port,
                   wire::Bytes payload) {
    rte_mbuf* packet = rte_pktmbuf_alloc(payload.size() < 1900 ? rings().packets : rings().jumbos);
    assert(packet != nullptr);
    const std::size_t length =
        wire::write_udp(proxy::room_of(packet), link, from, from_port, to, to_port, 7, payload);
    assert(length != 0);
    proxy::set_length(packet, static_cast<std::uint16_t>(length));
    return packet;
}

rte_mbuf* take(rte_ring* ring) {
    void* packet = nullptr;
    return rte_ring_dequeue(ring, &packet) == 0 ? static_cast<rte_mbuf*>(packet) : nullptr;
}

void empty(rte_ring* ring) {
    while (rte_mbuf* packet = take(ring)) rte_pktmbuf_free(packet);
}

}  // namespace

Rings& rings() {
    static Rings made = [] {
        Rings rings;
        rings.packets = port_test::Environment::pool();
        rings.jumbos = rte_pktmbuf_pool_create(
            "jumbos", 63, 0, 0, proxy::jumbo_len_max + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
        // Short towards the replicas, so that they are full at times.
        rings.client = *proxy::open_ring_pair("client", 512, rings.packets);
        for (unsigned i = 0; i < replicas_max; ++i) {
            rings.replicas.push_back(
                *proxy::open_ring_pair("replica" + std::to_string(i), 16, rings.packets));
        }
        return rings;
    }();
    return made;
}

World::World(std::uint64_t seed, const Settings& settings) : random_(seed), settings_(settings) {
    file_ = "/dev/shm/quorate-log-" + std::to_string(::getpid());
    std::filesystem::remove(file_);
    for (unsigned slot = 0; slot < settings_.replicas; ++slot) {
        replicas[slot].incarnation = {next_incarnation_++};
        replicas[slot].standing = Standing::admitted;
    }
    publish();
    start_process();
}

World::~World() {
    end_process();
    std::filesystem::remove(file_);
    for (unsigned slot = 0; slot < replicas_max; ++slot) {
        flush_rings(slot);
    }
    empty(rings().client.far.to_port);
    empty(rings().client.far.from_port);
}

void World::flush_rings(unsigned slot) {
    for (auto& [when, packet] : replicas[slot].answers) rte_pktmbuf_free(packet);
    replicas[slot].answers.clear();
    empty(rings().replicas[slot].far.to_port);
    empty(rings().replicas[slot].far.from_port);
}

void World::start_process() {
    proxy::RequestLog::Settings log;
    log.file = file_;
    log.bytes = settings_.log_bytes;
    log.replicas = settings_.replicas;
    log.boot_id = "boot";
    log.digest_seed = random_();
    auto opened = proxy::RequestLog::open(log);
    if (!opened) {
        trouble_ = opened.error();
        std::abort();
    }
    log_ = std::move(*opened);
    counters_ = std::make_unique<proxy::WorkerCounters>();
    events_ = std::make_unique<proxy::EventQueue>();
    handoff_ = std::make_unique<proxy::Handoff>();
    proxy::WorkerSettings worker;
    worker.records = 256;
    for (auto& secret : worker.hash_secrets) secret = random_();
    worker.digest_key.seed = random_();
    proxy::WorkerSurroundings around;
    around.packets = rings().packets;
    around.jumbos = rings().jumbos;
    around.counters = counters_.get();
    around.handoff = handoff_.get();
    around.events = events_.get();
    around.logs[0] = log_.get();
    worker_ = std::make_unique<proxy::Worker>(worker, around);
    worker_->offer(plans_.back().get());
    current = this;
}

void World::end_process() {
    current = nullptr;
    for (unsigned slot = 0; slot < replicas_max; ++slot) {
        dissent_before_[slot] += counters_->groups[0].replicas[slot].dissent.get();
    }
    worker_.reset();
    if (!counters_->balanced()) trouble_ = "packets do not add up";
    log_.reset();
}

// A plan of the roster as it is.
void World::publish() {
    auto plan = std::make_unique<proxy::Plan>();
    plan->epoch = ++epoch_;
    plan->groups_count = 1;
    plan->services_count = 1;
    plan->services[0].address = service_address;
    plan->services[0].port = service_port;
    plan->services[0].matcher = voter::Matcher::offset_length(0, 8);
    plan->ports_count = static_cast<std::uint8_t>(1 + settings_.replicas);
    plan->ports[client_index].role = proxy::PlanPort::Role::client;
    plan->ports[client_index].data = rings().client.port.data;
    plan->ports[client_index].mac = {{2, 0, 0, 0, 0, 1}};
    plan->client_ports[0] = client_index;
    proxy::PlanGroup& group = plan->groups[0];
    group.replicas = static_cast<std::uint8_t>(settings_.replicas);
    group.rules.quorum = settings_.quorum;
    group.logged = true;
    group.deadline_ticks = deadline;
    group.inflight_max = settings_.inflight_max;
    group.stranger_inflight_max = settings_.inflight_max;
    group.stranger_records_max = 256;
    for (std::uint8_t slot = 0; slot < settings_.replicas; ++slot) {
        proxy::PlanPort& port = plan->ports[1u + slot];
        port.role = proxy::PlanPort::Role::replica;
        port.slot = {slot};
        port.data = rings().replicas[slot].port.data;
        proxy::PlanSeat& seat = group.seats[slot];
        seat.standing = replicas[slot].standing;
        seat.incarnation = replicas[slot].incarnation;
        seat.port = static_cast<std::uint8_t>(1 + slot);
        if (seat.standing != Standing::admitted) continue;
        group.admitted.insert({slot});
        group.fed.insert({slot});
    }
    plans_.push_back(std::move(plan));
    if (worker_ != nullptr) worker_->offer(plans_.back().get());
}

void World::stand(unsigned slot, Standing standing) {
    replicas[slot].standing = standing;
    replicas[slot].lagging_since = standing == Standing::lagging ? turn_ : 0;
    publish();
}

void World::stop(unsigned slot) {
    stand(slot, Standing::absent);
    turn();
    replicas[slot].restart_at = 0;
    flush_rings(slot);
}

void World::restart(unsigned slot) {
    stop(slot);
    const Replica::Manner manner = replicas[slot].manner;
    replicas[slot] = Replica{};
    replicas[slot].manner = manner;
    replicas[slot].incarnation = {next_incarnation_++};
    stand(slot, Standing::lagging);
}

void World::ask(std::uint64_t number, std::size_t size) {
    std::vector<std::byte> payload(size);
    store_be64(payload.data(), number);
    asked_.insert(number);
    const wire::LinkHeader link{{{2, 0, 0, 0, 0, 1}}, client_mac, 0, false};
    rte_mbuf* packet =
        datagram(link, client_address, client_port, service_address, service_port, payload);
    if (rte_ring_enqueue(rings().client.far.to_port, packet) != 0) rte_pktmbuf_free(packet);
}

bool World::turn() {
    now_ += turn_ns / 2 + random_() % turn_ns;
    turn_ += 1;
    killed_ = false;
    left_.fill(UINT32_MAX);
    worker_->run_once(now_);
    if (!counters_->balanced()) trouble_ = "packets do not add up";
    const bool was_killed = killed_;
    if (was_killed) {
        // What left after the kill never did.
        end_process();
        std::ofstream(file_, std::ios::binary)
            .write(copy_.data(), static_cast<std::streamsize>(copy_.size()));
    }
    client_receives();
    for (unsigned slot = 0; slot < settings_.replicas; ++slot) replica_receives(slot);
    if (was_killed) {
        // What was on its way to us is lost, or the new process finds it.
        for (unsigned slot = 0; slot < settings_.replicas; ++slot) {
            if (chance(50)) empty(rings().replicas[slot].far.to_port);
        }
        start_process();
    }
    for (unsigned slot = 0; slot < settings_.replicas; ++slot) replica_answers(slot);
    control();
    operate();
    return was_killed;
}

void World::kill_between_turns() {
    snapshot(CrashPoint::left);
    end_process();
    std::ofstream(file_, std::ios::binary)
        .write(copy_.data(), static_cast<std::streamsize>(copy_.size()));
    killed_ = false;
    start_process();
}

void World::at(CrashPoint where) {
    if (killed_) return;
    if (where == CrashPoint::intent) {
        for (unsigned i = 0; i < settings_.replicas; ++i) {
            at_intent_[i] = rte_ring_count(rings().replicas[i].far.from_port);
        }
    }
    if (!armed_ || where != armed_where_ || --armed_pass_ != 0) return;
    armed_ = false;
    snapshot(where);
}

void World::snapshot(CrashPoint where) {
    killed_ = true;
    copy_.resize(settings_.log_bytes);
    std::ifstream(file_, std::ios::binary)
        .read(copy_.data(), static_cast<std::streamsize>(copy_.size()));
    for (unsigned i = 0; i < settings_.replicas; ++i) {
        left_[i] = rte_ring_count(rings().replicas[i].far.from_port);
        // In the middle of a transmission: any part of it may have left.
        if (where == CrashPoint::sent && left_[i] > at_intent_[i]) {
            left_[i] =
                at_intent_[i] + static_cast<unsigned>(random_() % (left_[i] - at_intent_[i] + 1));
        }
    }
    left_[replicas_max] = rte_ring_count(rings().client.far.from_port);
}

void World::client_receives() {
    for (unsigned i = 0; rte_mbuf* packet = take(rings().client.far.from_port); ++i) {
        wire::Frame frame;
        const wire::Bytes bytes = proxy::bytes_of(packet);
        const bool parsed = wire::parse_frame(bytes, frame) == wire::DropReason::none;
        const wire::Bytes payload = parsed ? frame.payload(bytes) : wire::Bytes{};
        if (i < left_[replicas_max]) {
            if (payload.size() != 16 || frame.destination_port != client_port) {
                trouble_ = "a reply that no replica sent";
            } else {
                const std::uint64_t number = load_be64(payload.data());
                const std::uint64_t count = load_be64(payload.data() + 8);
                const auto [earlier, first] = replies_.emplace(number, count);
                if (!first && earlier->second != count) {
                    trouble_ = "two replies to request " + std::to_string(number);
                }
                if (!asked_.contains(number)) trouble_ = "a reply to nothing";
                ++replies_count_;
            }
        }
        rte_pktmbuf_free(packet);
    }
}

void World::replica_receives(unsigned slot) {
    Replica& replica = replicas[slot];
    if (replica.paused && !killed_) return;
    for (unsigned i = 0; rte_mbuf* packet = take(rings().replicas[slot].far.from_port); ++i) {
        if (i < left_[slot] && replica.standing != Standing::absent) execute(slot, packet);
        rte_pktmbuf_free(packet);
    }
}

void World::execute(unsigned slot, rte_mbuf* request) {
    Replica& replica = replicas[slot];
    wire::Frame frame;
    const wire::Bytes bytes = proxy::bytes_of(request);
    if (wire::parse_frame(bytes, frame) != wire::DropReason::none) {
        trouble_ = "a replica was sent what does not parse";
        return;
    }
    if (frame.layer4 != wire::Layer4::udp) return;
    if (replica.manner == Replica::Manner::lossy && chance(loss_percent)) return;
    replica.count += 1;
    const std::uint64_t number = load_be64(frame.payload(bytes).data());
    replica.taken.push_back(number);
    std::uint64_t told = replica.count;
    if (replica.manner == Replica::Manner::silent) return;
    if (replica.manner == Replica::Manner::liar && chance(30)) told += 1;
    if (replica.manner == Replica::Manner::colluder) {
        for (unsigned other = 0; other < settings_.replicas; ++other) {
            const auto& taken = replicas[other].taken;
            const auto found = std::find(taken.rbegin(), taken.rend(), number);
            if (found == taken.rend()) continue;
            told = std::min<std::uint64_t>(told, static_cast<std::uint64_t>(taken.rend() - found));
        }
    }
    std::array<std::byte, 16> payload;
    store_be64(payload.data(), number);
    store_be64(payload.data() + 8, told);
    const wire::LinkHeader link{proxy::link_appliance_mac, proxy::link_replica_mac, 0, false};
    const std::uint64_t earliest = replica.answers.empty() ? 0 : replica.answers.back().first;
    const std::uint64_t when = turn_ + random_() % (settings_.answer_turns_max + 1);
    replica.answers.emplace_back(std::max(when, earliest),
                                 datagram(link, frame.ip_destination, frame.destination_port,
                                          frame.ip_source, frame.source_port, payload));
}

void World::replica_answers(unsigned slot) {
    auto& answers = replicas[slot].answers;
    while (!answers.empty() && answers.front().first <= turn_) {
        rte_mbuf* packet = answers.front().second;
        if (rte_ring_enqueue(rings().replicas[slot].far.to_port, packet) != 0) return;
        answers.pop_front();
    }
}

// The control thread, which is slow at times.
void World::control() {
    if (chance(50)) return;
    while (const auto event = events_->pop()) handle(*event);
}

void World::handle(const Event& event) {
    last_event_ = event;
    events_seen_[event.kind] += 1;
    const unsigned slot = event.slot.value;
    Replica& replica = replicas[slot];
    const bool about_it = replica.incarnation == event.incarnation;
    switch (event.kind) {
        case Event::Kind::lagging:
            if (!about_it || replica.standing != Standing::admitted) return;
            stand(slot, Standing::lagging);
            if (event.why != Event::Why::slow) replica.restart_at = turn_ + 1 + random_() % 30;
            return;
        case Event::Kind::caught_up:
            if (about_it && replica.standing == Standing::lagging) {
                stand(slot, Standing::admitted);
                replica.restart_at = 0;
            }
            return;
        case Event::Kind::replay_failed:
            if (about_it) replica.restart_at = turn_ + 1 + random_() % 30;
            return;
        default:
            return;
    }
}

// The operator restarts what has to be, and what does not come back by itself.
void World::operate() {
    if (!settings_.operator_restarts) return;
    for (unsigned slot = 0; slot < settings_.replicas; ++slot) {
        const Replica& replica = replicas[slot];
        if (replica.standing != Standing::lagging) continue;
        const bool asked_to = replica.restart_at != 0 && turn_ >= replica.restart_at;
        if (asked_to || turn_ - replica.lagging_since > 1500) return restart(slot);
    }
}

bool World::heal(unsigned turns_max) {
    for (Replica& replica : replicas) {
        replica.manner = Replica::Manner::honest;
        replica.paused = false;
    }
    disarm();
    std::uint64_t number = 1'000'000'000 + turn_ * 1000;
    for (unsigned i = 0; i < turns_max; ++i) {
        const std::uint64_t asked = ++number;
        ask(asked);  // what a doubt needs to end
        turns(40);
        bool all = replies_.contains(asked) && !log_->halted();
        for (unsigned slot = 0; slot < settings_.replicas; ++slot) {
            all = all && replicas[slot].standing == Standing::admitted &&
                  replicas[slot].count + 1 == log_->next_order();
        }
        if (all) return true;
    }
    trouble_ += "not healed: halted " + std::to_string(log_->halted()) + ", " +
                std::to_string(log_->next_order() - 1) + " requests";
    for (unsigned slot = 0; slot < settings_.replicas; ++slot) {
        const proxy::LogMarks& marks = log_->marks({static_cast<std::uint8_t>(slot)});
        trouble_ += "; " + std::to_string(slot) + " " + recovery::text(replicas[slot].standing) +
                    ", count " + std::to_string(replicas[slot].count) + ", delivered " +
                    std::to_string(marks.delivered) + ", doubt " + std::to_string(marks.doubt) +
                    ", lost " + std::to_string(marks.lost);
    }
    return false;
}

std::uint64_t World::wrong() const {
    std::uint64_t wrong = 0;
    for (const auto& [number, count] : replies_) {
        const proxy::LogEntry* entry = log_->entry(count);
        wrong += entry == nullptr || entry->key.request != number;
    }
    return wrong;
}

}  // namespace stateful_test

namespace proxy {

void crash_point(CrashPoint where) {
    if (stateful_test::current != nullptr) stateful_test::current->at(where);
}

}  // namespace proxy
