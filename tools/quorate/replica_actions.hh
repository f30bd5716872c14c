// What `quorate replica ...` does, without the command line: roster, hosts and a note to the proxy,
// in an order in which a kill at any point leaves a roster that is true or cautious.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "config/config.hh"
#include "recovery/roster.hh"
#include "tools/quorate/replica_hosts.hh"

namespace quorate {

// A slot of the configuration.
struct Target {
    std::size_t group = 0;  // index
    voter::ReplicaId slot;
    bool operator==(const Target&) const = default;
};

const config::Group& group_of(const config::Config& config, const Target& target);
// "GROUP/NAME"
std::string text_of(const config::Config& config, const Target& target);

// "GROUP/SLOT", "GROUP/NAME", and, where only one group has such, "SLOT" or "NAME". A slot's number
// goes before a name that looks like one. The error says what there is.
tl::expected<Target, std::string> find_target(const config::Config& config,
                                              const std::string& text);
std::vector<Target> all_targets(const config::Config& config);

// The standing of a replica that has just booted: admitted, unless its group has a log of requests
// that it has not executed; then lagging, until the proxy has replayed it.
recovery::Standing first_standing(const config::Config& config, const config::Group& group);

// What was done, or why not; `note` is for people either way (no proxy runs, ...).
struct Outcome {
    Target target{};
    bool ok = false;
    bool unreachable = false;  // a proxy is there and does not answer
    std::string what{};
    std::string note{};
    recovery::Seat seat{};  // as it is now
};

class ReplicaActions {
  public:
    explicit ReplicaActions(const config::Config& config) : config_(config), hosts_(config) {}

    Outcome start(const Target& target);
    Outcome stop(const Target& target);
    // In the other place than it was.
    Outcome restart(const Target& target);
    // Through the proxy where one runs, which counts it and acts at once; else in the roster.
    Outcome suspend(const Target& target);
    Outcome admit(const Target& target);
    // Its latest boot stands still, and goes on. The votes are as they were: it is silent
    // meanwhile.
    Outcome pause(const Target& target);
    Outcome resume(const Target& target);
    // The memory of the domain that sits there, into a new file.
    Outcome dump(const Target& target, const std::filesystem::path& file);

    struct Row {
        Target target;
        recovery::Seat seat;
        bool external = false;  // not run by a host of ours
        std::optional<recovery::ReplicaFacts> facts;
        // What the host has besides: remains of earlier boots.
        std::vector<recovery::ReplicaFacts> others;
    };
    tl::expected<std::vector<Row>, std::string> list(const std::vector<Target>& targets);

  private:
    Outcome start_in(const Target& target, std::optional<recovery::Place> wanted);
    tl::expected<recovery::Seat, std::string> take_seat(const Target& target,
                                                        std::optional<recovery::Place> wanted);
    tl::expected<recovery::Seat, std::string> set_seat(const Target& target,
                                                       const recovery::Seat& before,
                                                       recovery::Seat after);
    tl::expected<std::vector<recovery::ReplicaFacts>, std::string> boots_of(const Target& target);
    tl::expected<recovery::ReplicaName, std::string> latest_boot(const Target& target);
    Outcome change_running(const Target& target, bool running);
    Outcome change_standing(const Target& target, const char* command);
    std::string change_alone(const Target& target, const char* command, recovery::Seat& seat);

    const config::Config& config_;
    ReplicaHosts hosts_;
};

}  // namespace quorate
