// One replay from start to end: a proxy of our own, the stream of requests into it, and a look at
// it now and then. What it says on the way goes to standard error.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <signal.h>
#include <tl/expected.hpp>

#include "config/config.hh"
#include "tools/quorate/replay_replicas.hh"
#include "tools/replay/stream.hh"
#include "tools/replay/summary.hh"
#include "tools/replay/survey.hh"

namespace quorate {

struct ReplaySettings {
    std::filesystem::path config_file;
    replay::StreamSettings stream;
    std::uint64_t window = 0;
    replay::Survey found;
    std::vector<std::size_t> groups;  // that are asked, by index
};

struct ReplayResult {
    replay::Outcome outcome;
    nlohmann::json status;  // the proxy's last
};

// SIGINT, SIGTERM and SIGHUP, from here on taken when they are asked for: they end a replay in
// order.
class EndSignals {
  public:
    EndSignals();
    // Waits so long at most; whether one came, now or earlier.
    bool came(std::chrono::milliseconds wait);

  private:
    sigset_t signals_;
    bool came_ = false;
};

// The error is why it could not be; then nothing is left of it.
tl::expected<ReplayResult, std::string> run_replay(const config::Config& config,
                                                   const ReplaySettings& settings,
                                                   EndSignals& signals);

// Whether a quorate-proxy has this configuration's state directory; what to do then, or empty.
std::string proxy_in_the_way(const config::Config& config);

}  // namespace quorate
