// The replicas a replay needs: those that run already are used as they are; of a group of which
// none runs, all are started, and stopped at the end.
//
// Known limit: when we are killed, what was started goes on, as after `quorate replica start`.
#pragma once

#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "tools/quorate/replica_actions.hh"

namespace quorate {

class ReplayReplicas {
  public:
    // `groups` by index; `config` outlives it.
    ReplayReplicas(const config::Config& config, std::vector<std::size_t> groups)
        : config_(config), groups_(std::move(groups)), actions_(config) {}
    ~ReplayReplicas() { stop(); }
    ReplayReplicas(const ReplayReplicas&) = delete;
    ReplayReplicas& operator=(const ReplayReplicas&) = delete;

    // Finds out what has to be started.
    tl::expected<void, std::string> look();
    const std::vector<Target>& to_start() const { return to_start_; }

    // Starts it, all at once, and waits until it is healthy. An error: what was started is stopped.
    tl::expected<void, std::string> start();
    // Stops what was started; what could not be stopped, in words, one a line.
    std::string stop();

    // A group with state remembers what it is asked. Why a replay may not ask it (its replicas run,
    // or have history to go on from); empty: what it remembers goes with the replay.
    std::string history() const;

  private:
    std::vector<Outcome> all(const std::vector<Target>& targets,
                             Outcome (ReplicaActions::*action)(const Target&));
    bool starts(std::size_t group) const;

    const config::Config& config_;
    std::vector<std::size_t> groups_;
    ReplicaActions actions_;
    std::vector<Target> to_start_;
    std::vector<Target> started_;
    std::vector<std::filesystem::path> logs_;  // made during the replay
};

}  // namespace quorate
