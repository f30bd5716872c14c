#include "tools/quorate/replay_replicas.hh"

#include <algorithm>
#include <future>

namespace quorate {

tl::expected<void, std::string> ReplayReplicas::look() {
    const auto rows = actions_.list(all_targets(config_));
    if (!rows) return tl::unexpected(rows.error());
    to_start_.clear();
    for (const std::size_t group : groups_) {
        std::vector<Target> ours;
        bool any_runs = false;
        for (const ReplicaActions::Row& row : *rows) {
            if (row.target.group != group || row.external) continue;
            ours.push_back(row.target);
            any_runs = any_runs || (row.facts && row.facts->running);
        }
        if (!any_runs) to_start_.insert(to_start_.end(), ours.begin(), ours.end());
    }
    return {};
}

bool ReplayReplicas::starts(std::size_t group) const {
    return std::any_of(to_start_.begin(), to_start_.end(),
                       [&](const Target& target) { return target.group == group; });
}

std::string ReplayReplicas::history() const {
    for (const std::size_t index : groups_) {
        const config::Group& group = config_.groups[index];
        if (group.state != config::State::log) continue;
        std::error_code error;
        if (std::filesystem::exists(config_.request_log(group), error)) {
            return "group " + group.name + " has a history (" +
                   config_.request_log(group).string() + "), and a replay would become part of it";
        }
        if (!starts(index)) {
            return "the replicas of group " + group.name +
                   " run, and a replay would change their state";
        }
    }
    return {};
}

tl::expected<void, std::string> ReplayReplicas::start() {
    // Written before anything can make one.
    for (const std::size_t index : groups_) {
        const config::Group& group = config_.groups[index];
        const auto log = config_.request_log(group);
        std::error_code error;
        if (group.state == config::State::log && starts(index) &&
            !std::filesystem::exists(log, error)) {
            logs_.push_back(log);
        }
    }
    std::string trouble;
    for (const Outcome& outcome : all(to_start_, &ReplicaActions::start)) {
        if (outcome.ok) {
            started_.push_back(outcome.target);
        } else if (trouble.empty()) {
            trouble = text_of(config_, outcome.target) + ": " + outcome.what;
        }
    }
    if (trouble.empty()) return {};
    if (const std::string more = stop(); !more.empty()) trouble += "\n" + more;
    return tl::unexpected(trouble);
}

std::string ReplayReplicas::stop() {
    std::string trouble;
    for (const Outcome& outcome : all(std::exchange(started_, {}), &ReplicaActions::stop)) {
        if (outcome.ok) continue;
        if (!trouble.empty()) trouble += '\n';
        trouble += text_of(config_, outcome.target) + ": " + outcome.what;
    }
    // Whoever executed them is gone.
    std::error_code error;
    for (const auto& log : std::exchange(logs_, {})) std::filesystem::remove(log, error);
    return trouble;
}

std::vector<Outcome> ReplayReplicas::all(const std::vector<Target>& targets,
                                         Outcome (ReplicaActions::*action)(const Target&)) {
    std::vector<std::future<Outcome>> running;
    for (const Target& target : targets) {
        running.push_back(std::async(
            std::launch::async, [this, action, target] { return (actions_.*action)(target); }));
    }
    std::vector<Outcome> outcomes;
    for (auto& one : running) outcomes.push_back(one.get());
    return outcomes;
}

}  // namespace quorate
