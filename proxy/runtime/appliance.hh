// The process around the workers: it opens ports, keeps the roster's word, builds plans and hands
// them out, and answers the operator. One thread, the one that keeps the privileges; nothing of it
// is on a packet's way, and it may be slow.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <tl/expected.hpp>

#include "config/config.hh"
#include "proxy/pipeline.hh"
#include "proxy/ports/pools.hh"
#include "proxy/runtime/evidence_store.hh"
#include "proxy/runtime/plan_builder.hh"
#include "proxy/runtime/replay_feeder.hh"
#include "proxy/runtime/shared_counters.hh"
#include "proxy/runtime/worker_thread.hh"
#include "recovery/roster.hh"

namespace proxy {

struct ApplianceOptions {
    bool measure_without_voting = false;
    // Requests come from this descriptor (replay_record.hh) in place of the client ports; -1: no.
    int replay_descriptor = -1;
    std::uint32_t replay_window = 0;  // ReplaySettings::window
    bool replays() const { return replay_descriptor >= 0; }
};

class Appliance {
  public:
    using Json = nlohmann::json;

    // EAL must be running. Opens what the configuration and the roster name; a replica's port that
    // cannot be opened is reported and left out, a client port that cannot is an error.
    static tl::expected<std::unique_ptr<Appliance>, std::string> create(
        config::Config config, const ApplianceOptions& options);
    ~Appliance();
    Appliance(const Appliance&) = delete;
    Appliance& operator=(const Appliance&) = delete;

    // Says that it runs, and on what; registers its telemetry.
    void announce();

    // What has gathered since the last call: the workers' reports, ports that have gone, plans that
    // nobody uses any more. Call it some ten times a second.
    void tick();

    // The operator's word (control_server.hh has the wire format). Never throws; an error is
    // {"ok":false,"error":TEXT}.
    Json command(const Json& request);
    Json status() const;

    const config::Config& config() const { return config_; }

  private:
    // Workers take up a plan well within that.
    static constexpr std::chrono::seconds take_up_timeout{2};

    Appliance(config::Config config, const ApplianceOptions& options);

    tl::expected<void, std::string> start();
    tl::expected<void, std::string> open_client_ports();
    tl::expected<void, std::string> seat_fixed_replicas();
    tl::expected<void, std::string> open_logs();
    tl::expected<void, std::string> make_workers();
    void start_threads();
    void take_rings_as_client_ports();
    void start_replay();

    // Opens what the roster seats and has no port yet; what it no longer seats is closed once no
    // worker uses it. Returns the first thing that went wrong, empty: nothing.
    std::string follow_roster();
    std::string open_seat(std::uint8_t group, std::uint8_t slot, const recovery::Seat& seat);
    void publish();
    bool all_have_taken_up(std::uint64_t epoch) const;
    void close_retired(bool wait);
    void look_at_ports();
    void look_at_domains();
    void handle(const Event& event);
    tl::expected<void, std::string> stand(std::uint8_t group, std::uint8_t slot,
                                          recovery::Standing standing, const std::string& reason,
                                          voter::Incarnation incarnation = {});
    bool may_suspend(std::uint8_t group, std::uint8_t slot) const;
    tl::expected<std::pair<std::uint8_t, std::uint8_t>, std::string> seat_of(
        const Json& request) const;
    Json reload();
    bool same_logs(const config::Config& next) const;

    tl::expected<void, std::string> make_evidence();
    void write_evidence();

    Json group_status(std::uint8_t group) const;
    Json replica_status(std::uint8_t group, std::uint8_t slot) const;
    // Where its seat is reached; nullptr: nowhere yet.
    const PortTable::Entry* port_of(std::uint8_t group, std::uint8_t slot) const;

    config::Config config_;
    ApplianceOptions options_;
    std::uint64_t ticks_per_second_ = 0;
    std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
    int lock_ = -1;
    Pools pools_;
    PortTable ports_;
    // What the kernel dropped before ports because we were slow, by PlanPort::Role.
    std::array<std::uint64_t, 3> missed_{};
    std::uint64_t denied_calls_told_ = 0;
    unsigned domain_changes_ = 0;  // of netback, as far as plans know them
    recovery::Roster roster_;
    std::unique_ptr<SharedCounters> counters_;
    Handoff handoff_;
    std::vector<std::unique_ptr<EventQueue>> events_;
    std::array<std::unique_ptr<RequestLog>, groups_max> logs_;  // of groups with state
    std::vector<std::unique_ptr<Worker>> workers_;
    std::vector<std::unique_ptr<WorkerThread>> threads_;
    std::optional<EvidenceStore> evidence_;
    rte_mempool* evidence_items_ = nullptr;
    std::vector<rte_ring*> evidence_rings_;  // by worker
    std::uint64_t plan_epoch_ = 0;
    std::vector<std::unique_ptr<Plan>> plans_;  // the last is in use, earlier ones perhaps
    struct Retired {
        std::uint64_t epoch;  // closed when all workers have taken up this plan
        std::uint8_t port;
    };
    std::vector<Retired> retired_;
    std::array<std::array<bool, voter::replicas_max>, groups_max> suspects_{};
    std::array<std::vector<std::uint32_t>, groups_max> marked_kinds_;
    std::uint64_t blank_checksums_told_ = 0;
    std::unique_ptr<ReplayFeeder> replay_;
};

// A step in words, to standard error, with time. Rare events only.
void say(const std::string& text);

}  // namespace proxy
