#include "proxy/runtime/appliance.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <rte_cycles.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "proxy/ports/netback.hh"
#include "proxy/ports/privileges.hh"
#include "proxy/runtime/telemetry.hh"
#include "voter/comparator.hh"

namespace proxy {

using recovery::Standing;

namespace {

template <class T>
T random_value() {
    T value{};
    if (::getrandom(&value, sizeof value, 0) != static_cast<ssize_t>(sizeof value)) std::abort();
    return value;
}

// What the counters are about: groups and their replicas, in order.
std::uint64_t fingerprint_of(const config::Config& config) {
    std::string shape = config.name;
    for (const config::Group& group : config.groups) {
        shape += '\n' + group.name;
        for (const config::Replica& replica : group.replicas) shape += ' ' + replica.name;
    }
    return voter::digest_of(std::as_bytes(std::span(shape)), {}).low;
}

bool has_domains(const config::Config& config) {
    const auto is_domain = [](const config::Replica& replica) {
        const auto netback = [](const std::optional<config::PortSpec>& place) {
            return place && place->kind == config::PortSpec::Kind::netback;
        };
        return replica.xen || netback(replica.place_a) || netback(replica.place_b);
    };
    return std::any_of(config.groups.begin(), config.groups.end(), [&](const auto& group) {
        return std::any_of(group.replicas.begin(), group.replicas.end(), is_domain);
    });
}

bool has_physical_port(const config::Config& config) {
    return std::any_of(config.client_ports.begin(), config.client_ports.end(),
                       [](const auto& port) { return port.kind == config::PortSpec::Kind::pci; });
}

// Rings of these ports' drivers hold packets of ours; places that a host makes have none.
std::uint32_t ports_with_rings(const config::Config& config) {
    const auto has_rings = [](const config::PortSpec& port) {
        return port.kind != config::PortSpec::Kind::af_packet &&
               port.kind != config::PortSpec::Kind::netback;
    };
    auto count = static_cast<std::uint32_t>(
        std::count_if(config.client_ports.begin(), config.client_ports.end(), has_rings));
    for (const config::Group& group : config.groups) {
        for (const config::Replica& replica : group.replicas) {
            for (const auto& place : {replica.place_a, replica.place_b}) {
                count += place && has_rings(*place) ? 1 : 0;
            }
        }
    }
    return count;
}

// The sum of what each holder of packets holds at most. No more: to touch a page for the first time
// is what takes longest when a proxy starts in Dom0.
PoolSizes pool_sizes(const config::Config& config) {
    std::uint32_t per_worker = retained_replies_max +
                               evidence_queue_len * (1 + voter::replicas_max) +
                               reassembly_flows_max * fragment_bucket_entries / 2;
    std::uint32_t ports = client_ports_max;
    for (const config::Group& group : config.groups) {
        const auto replicas = static_cast<std::uint32_t>(group.replicas.size());
        const std::uint32_t open = std::min(config.ballots_max, replicas * group.inflight_max);
        per_worker +=
            open * (1 + replicas) + replicas * replica_reassembly_flows_max * fragments_max;
        ports += 2 * replicas;
    }
    per_worker += ports * (tx_buffer_len_max + burst_len_max + catch_up_window) + handoff_len;
    if (has_domains(config)) per_worker += ports * lane_packets_max;
    PoolSizes sizes;
    sizes.workers = config.workers;
    per_worker += sizes.cache_per_worker * 3 / 2;
    sizes.packets = per_worker * config.workers + ports_with_rings(config) * 2 * 1024;
    sizes.jumbo = jumbo_packets - 1;
    sizes.within_pages = has_domains(config) && !has_physical_port(config);
    return sizes;
}

}  // namespace

Appliance::Appliance(config::Config config, const ApplianceOptions& options)
    : config_(std::move(config)), options_(options), ticks_per_second_(rte_get_tsc_hz()) {}

tl::expected<std::unique_ptr<Appliance>, std::string> Appliance::create(
    config::Config config, const ApplianceOptions& options) {
    std::unique_ptr<Appliance> appliance(new Appliance(std::move(config), options));
    if (auto started = appliance->start(); !started) return tl::unexpected(started.error());
    return appliance;
}

tl::expected<void, std::string> Appliance::start() {
    const auto lock_file = config_.state_dir / "proxy.lock";
    lock_ = ::open(lock_file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock_ < 0) {
        return tl::unexpected("cannot open " + lock_file.string() + ": " + std::strerror(errno));
    }
    if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
        return tl::unexpected("another quorate-proxy runs on " + config_.state_dir.string() +
                              ": stop it first, or give this one another appliance.name");
    }
    if (options_.replays()) take_rings_as_client_ports();
    auto pools = make_pools(pool_sizes(config_));
    if (!pools) return tl::unexpected(pools.error());
    pools_ = *pools;
    if (has_domains(config_)) {
        auto started = start_netback({config_.state_dir, config_.workers, pools_.packets});
        if (!started) return started;
    }
    const auto counters_file =
        config_.state_dir / (options_.replays() ? "replay-counters" : "counters");
    if (options_.replays()) ::unlink(counters_file.c_str());
    auto counters = SharedCounters::open(counters_file, config_.workers, fingerprint_of(config_));
    if (!counters) return tl::unexpected(counters.error());
    // A replay counts from nothing, and what it counts is nobody's total.
    if (options_.replays()) ::unlink(counters_file.c_str());
    counters_ = std::make_unique<SharedCounters>(std::move(*counters));
    if (auto opened = open_client_ports(); !opened) return opened;
    if (auto seated = seat_fixed_replicas(); !seated) return seated;
    if (config_.evidence.enabled) {
        if (auto made = make_evidence(); !made) return made;
    }
    if (auto logs = open_logs(); !logs) return logs;
    if (auto made = make_workers(); !made) return made;
    if (const std::string trouble = follow_roster(); !trouble.empty()) say(trouble);
    start_threads();
    if (options_.replays()) start_replay();
    return {};
}

Appliance::~Appliance() {
    replay_.reset();
    for (auto& thread : threads_) thread->stop();
    workers_.clear();
    write_evidence();
    for (rte_ring* ring : evidence_rings_) rte_ring_free(ring);
    rte_mempool_free(evidence_items_);
    stop_netback();  // domains keep their connections for a successor
    for (PortTable::Entry& entry : ports_.entries) {
        if (entry.open) close_port(entry.port);
    }
    for (auto& row : handoff_.rings) {
        for (rte_ring* ring : row) {
            if (ring != nullptr) rte_ring_free(ring);
        }
    }
    free_pools(pools_);
    if (lock_ >= 0) ::close(lock_);
}

tl::expected<void, std::string> Appliance::open_client_ports() {
    for (std::size_t i = 0; i < config_.client_ports.size(); ++i) {
        auto port = open_port(config_.client_ports[i], static_cast<std::uint16_t>(config_.workers),
                              pools_.packets);
        if (!port) return tl::unexpected(port.error());
        for (const std::string& note : port->notes) say(note);
        PortTable::Entry& entry = ports_.entries[ports_.next++];
        entry.open = true;
        entry.port = std::move(*port);
        entry.role = PlanPort::Role::client;
        entry.client = static_cast<std::uint8_t>(i);
    }
    return {};
}

// Replicas that nobody starts (no netns section) sit where the configuration puts them, from the
// first start on; the roster remembers what becomes of them.
tl::expected<void, std::string> Appliance::seat_fixed_replicas() {
    auto updated = recovery::update_roster(config_.roster_file(), [&](recovery::Roster& roster) {
        for (const config::Group& group : config_.groups) {
            auto& seats = roster.group_of(group.name, group.replicas.size()).seats;
            for (std::size_t slot = 0; slot < group.replicas.size(); ++slot) {
                const config::Replica& replica = group.replicas[slot];
                recovery::Seat& seat = seats[slot];
                if (replica.netns || !replica.place_a || seat.incarnation.value != 0) continue;
                seat.incarnation = recovery::allocate_incarnation(roster);
                seat.standing = Standing::admitted;
                seat.place = recovery::Place::a;
                seat.port = replica.place_a->text();
                seat.reason = "configured";
            }
        }
        return std::string();
    });
    if (!updated) return tl::unexpected(updated.error());
    roster_ = *updated;
    return {};
}

tl::expected<void, std::string> Appliance::open_logs() {
    std::string boot_id;
    std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot_id);
    const auto plan = build_plan(config_, roster_, ports_, 0, ticks_per_second_, false);
    for (std::uint8_t group = 0; group < config_.groups.size(); ++group) {
        const config::Group& from = config_.groups[group];
        if (from.state != config::State::log) continue;
        RequestLog::Settings settings;
        settings.file = config_.request_log(from);
        settings.bytes = from.log_bytes;
        settings.replicas = static_cast<unsigned>(from.replicas.size());
        settings.fingerprint = log_fingerprint(*plan, group);
        settings.boot_id = boot_id;
        settings.digest_seed = random_value<std::uint64_t>();
        auto log = RequestLog::open(settings);
        if (!log) return tl::unexpected(log.error());
        logs_[group] = std::move(*log);
        if (!logs_[group]->empty()) {
            say(from.name + ": the request log of an earlier run goes on at order " +
                std::to_string(logs_[group]->next_order()) +
                (logs_[group]->halted() ? "; HALTED, as it was" : ""));
        }
    }
    return {};
}

tl::expected<void, std::string> Appliance::make_workers() {
    for (unsigned from = 0; from < config_.workers; ++from) {
        for (unsigned to = 0; to < config_.workers; ++to) {
            if (from == to) continue;
            const std::string name = "handoff" + std::to_string(from) + "-" + std::to_string(to);
            handoff_.rings[from][to] = rte_ring_create(name.c_str(), handoff_len, SOCKET_ID_ANY,
                                                       RING_F_SP_ENQ | RING_F_SC_DEQ);
            if (handoff_.rings[from][to] == nullptr) {
                return tl::unexpected("no memory for " + name + ": raise eal.memory_mb");
            }
        }
    }
    WorkerSettings settings;
    settings.workers = config_.workers;
    settings.records = config_.ballots_max;
    settings.hash_secrets = random_value<std::array<std::uint64_t, 4>>();
    settings.digest_key.seed = random_value<std::uint64_t>();
    settings.ticks_per_second = ticks_per_second_;
    settings.evidence_per_second_max =
        config_.evidence.enabled ? config_.evidence.per_second_max / config_.workers : 0;
    settings.clock = [] { return rte_rdtsc(); };
    settings.vote = !options_.measure_without_voting;
    for (std::size_t group = 0; group < config_.groups.size(); ++group) {
        settings.accusation[group] = config_.groups[group].accusation;
        settings.accusation[group].faults = config_.groups[group].f;
        settings.accusation[group].window =
            voter::Ticks{ticks_per_second_ * config_.groups[group].accusation_window_ms / 1000};
    }
    for (unsigned i = 0; i < config_.workers; ++i) {
        settings.index = i;
        events_.push_back(std::make_unique<EventQueue>());
        WorkerSurroundings around;
        around.packets = pools_.packets;
        around.jumbos = pools_.jumbo;
        around.counters = &counters_->workers()[i];
        around.handoff = &handoff_;
        around.events = events_.back().get();
        if (config_.evidence.enabled) {
            around.evidence = evidence_rings_[i];
            around.evidence_items = evidence_items_;
        }
        // PlanGroup::owner is 0.
        for (std::size_t group = 0; i == 0 && group < groups_max; ++group) {
            around.logs[group] = logs_[group].get();
        }
        around.netback = netback_lanes(i);
        workers_.push_back(std::make_unique<Worker>(settings, around));
    }
    return {};
}

tl::expected<void, std::string> Appliance::make_evidence() {
    auto store = EvidenceStore::open(config_, ticks_per_second_);
    if (!store) return tl::unexpected(store.error());
    evidence_.emplace(std::move(*store));
    evidence_items_ = rte_mempool_create("evidence", evidence_queue_len * config_.workers - 1,
                                         sizeof(EvidenceItem), 0, 0, nullptr, nullptr, nullptr,
                                         nullptr, SOCKET_ID_ANY, 0);
    for (unsigned i = 0; i < config_.workers; ++i) {
        evidence_rings_.push_back(rte_ring_create(("evidence" + std::to_string(i)).c_str(),
                                                  evidence_queue_len, SOCKET_ID_ANY,
                                                  RING_F_SP_ENQ | RING_F_SC_DEQ));
        if (evidence_rings_.back() == nullptr) evidence_items_ = nullptr;
    }
    if (evidence_items_ == nullptr) {
        return tl::unexpected(
            std::string("no memory for the evidence queues: raise eal.memory_mb"));
    }
    return {};
}

void Appliance::write_evidence() {
    if (!evidence_) return;
    for (rte_ring* ring : evidence_rings_) {
        void* entry = nullptr;
        for (unsigned n = 0; n < evidence_queue_len && rte_ring_sc_dequeue(ring, &entry) == 0;
             ++n) {
            auto* item = static_cast<EvidenceItem*>(entry);
            evidence_->write(*item, plans_.back()->services[item->service].comparator);
            discard_evidence(item, evidence_items_);
        }
    }
    evidence_->flush();
}

void Appliance::start_threads() {
    std::vector<WorkerThread*> peers;
    for (unsigned i = 0; i < config_.workers; ++i) {
        auto sleeper = Sleeper::make();
        if (!sleeper) {
            say(sleeper.error());
            std::abort();  // epoll and eventfd: there is nothing to run without them
        }
        ThreadSettings settings;
        if (i < config_.cpus.size()) settings.cpu = config_.cpus[i];
        settings.idle_us = config_.idle_us;
        settings.ticks_per_second = ticks_per_second_;
        threads_.push_back(std::make_unique<WorkerThread>(*workers_[i], counters_->workers()[i],
                                                          std::move(*sleeper), settings));
        peers.push_back(threads_.back().get());
    }
    publish();
    for (auto& thread : threads_) thread->start(peers);
    const auto deadline = std::chrono::steady_clock::now() + take_up_timeout;
    while (!all_have_taken_up(plan_epoch_) && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::yield();
    }
    for (auto& thread : threads_) {
        if (const std::string error = thread->privileges_error(); !error.empty()) {
            say("a worker keeps privileges it should not have: " + error);
        }
    }
}

void Appliance::announce() {
    register_telemetry(config_, counters_->workers());
    std::string text = "running as \"" + config_.name + "\"";
    if (counters_->adopted()) text += ", counters of an earlier run go on";
    for (std::uint8_t group = 0; group < config_.groups.size(); ++group) {
        const PlanGroup& plan = plans_.back()->groups[group];
        text += "; " + config_.groups[group].name + ": " + std::to_string(plan.admitted.size()) +
                " of " + std::to_string(plan.replicas) + " replicas admitted, quorum " +
                std::to_string(plan.rules.quorum);
    }
    if (options_.measure_without_voting) text += "; NOT VOTING: the first reply is released";
    say(text);
}

void Appliance::tick() {
    for (std::size_t i = 0; i < events_.size(); ++i) {
        for (unsigned n = 0; n < events_len; ++n) {
            const auto event = events_[i]->pop();
            if (!event) break;
            handle(*event);
        }
    }
    write_evidence();
    bool gone = false;
    for (auto& thread : threads_) gone |= thread->take_trouble();
    if (gone) {
        if (const std::string trouble = follow_roster(); !trouble.empty()) say(trouble);
        publish();
    }
    close_retired(false);
    look_at_ports();
    look_at_domains();
    std::uint64_t blank = 0;
    for (const WorkerCounters& worker : counters_->workers()) blank += worker.blank_checksums.get();
    if (blank != 0 && blank_checksums_told_ == 0) {
        blank_checksums_told_ = blank;
        say("requests come with blank checksums and are dropped: a client's kernel leaves them to "
            "hardware that is not there; run `ethtool -K IF tx off` where the clients are");
    }
}

// What only the kernel and the system call filter know: a system call for each socket.
void Appliance::look_at_ports() {
    for (const PortTable::Entry& entry : ports_.entries) {
        if (entry.open) missed_[static_cast<std::size_t>(entry.role)] += take_missed(entry.port);
    }
    if (const std::uint64_t denied = denied_calls(); denied > denied_calls_told_) {
        denied_calls_told_ = denied;
        say("ALARM: a worker tried a system call that workers never make (number " +
            std::to_string(last_denied_call()) + ", " + std::to_string(denied) +
            " in all); it was refused. Somebody may be running code in it: restart quorate-proxy "
            "and keep its evidence");
    }
}

void Appliance::handle(const Event& event) {
    const config::Group& group = config_.groups[event.group];
    const std::uint8_t slot = event.slot.value;
    const std::string who =
        slot < group.replicas.size() ? group.name + "/" + group.replicas[slot].name : group.name;
    switch (event.kind) {
        case Event::Kind::suspect:
            suspects_[event.group][slot] = true;
            if (group.suspend == config::Suspend::manual) {
                say(who + " is a suspect (suspend = \"manual\": nothing is done)");
            } else if (!may_suspend(event.group, slot)) {
                say(who + " is a suspect and stays: without it fewer than a quorum would be left");
            } else {
                say(who + " is a suspect: suspended");
                (void)stand(event.group, slot, Standing::suspended, "suspect", event.incarnation);
            }
            break;
        case Event::Kind::kind_marked:
            marked_kinds_[event.group].push_back(event.request_kind.value);
            if (marked_kinds_[event.group].size() > 64) {
                marked_kinds_[event.group].erase(marked_kinds_[event.group].begin());
            }
            say(group.name + ": honest replicas differ on requests of kind " +
                std::to_string(event.request_kind.value) + ": nobody is blamed for them");
            break;
        case Event::Kind::lagging:
            say(who + " " + text(event.why) + " (order " + std::to_string(event.order) +
                "): lagging" +
                (event.why == Event::Why::slow
                     ? ", and fed from the request log until it has all"
                     : " until it is restarted and has replayed the request log"));
            (void)stand(event.group, slot, Standing::lagging, text(event.why), event.incarnation);
            break;
        case Event::Kind::caught_up:
            say(who + " has replayed the request log: admitted");
            (void)stand(event.group, slot, Standing::admitted, "replayed the log",
                        event.incarnation);
            break;
        case Event::Kind::replay_failed:
            say(who + " cannot be brought up from the request log (order " +
                std::to_string(event.order) + "): it " + text(event.why) +
                (event.why == Event::Why::overrun
                     ? "; without a state transfer only a fresh start of the whole group helps: "
                       "stop its replicas, remove its log, start them"
                     : "; restart it"));
            (void)stand(event.group, slot, Standing::lagging,
                        std::string("replay failed: ") + text(event.why), event.incarnation);
            break;
        case Event::Kind::halted:
            say(group.name +
                ": HALTED: no quorum agrees on the state of this group; it answers nothing "
                "until enough replicas have been restarted and have replayed the log");
            break;
        case Event::Kind::resumed:
            say(group.name + ": answers again: a quorum has the whole log");
            break;
    }
}

}  // namespace proxy
