#include "tools/quorate/replay_session.hh"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <optional>
#include <thread>

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include "tools/quorate/control_client.hh"
#include "tools/quorate/proxy_process.hh"
#include "tools/quorate/proxy_status.hh"
#include "tools/quorate/replay_progress.hh"

namespace quorate {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds look_interval{100};
constexpr milliseconds answer_timeout{5'000};
constexpr milliseconds leave_timeout{2'000};
constexpr auto ready_timeout = std::chrono::seconds(30);  // DPDK starts, and a log may be replayed

class Session {
  public:
    Session(const config::Config& config, const ReplaySettings& settings, EndSignals& signals,
            ProxyProcess proxy)
        : config_(config),
          settings_(settings),
          signals_(signals),
          proxy_(std::move(proxy)),
          progress_(settings.found.tally.taken_total() * settings.stream.passes) {}

    tl::expected<ReplayResult, std::string> run();

  private:
    tl::expected<void, std::string> wait_until_ready();
    tl::expected<void, std::string> feed(replay::Stream& stream);
    tl::expected<void, std::string> look();
    replay::Outcome outcome(const replay::Stream& stream) const;
    bool ready() const;
    std::string why_ended();
    std::string why_silent(const std::string& otherwise);
    void pass_on_words();

    const config::Config& config_;
    const ReplaySettings& settings_;
    EndSignals& signals_;
    ProxyProcess proxy_;
    ReplayProgress progress_;
    std::optional<ControlClient> control_;
    nlohmann::json status_;
    bool interrupted_ = false;
};

tl::expected<ReplayResult, std::string> Session::run() {
    if (auto is = wait_until_ready(); !is) return tl::unexpected(is.error());
    replay::Stream stream(config_, settings_.stream, proxy_.take_requests());
    if (auto fed = feed(stream); !fed) {
        proxy_.end();
        return tl::unexpected(fed.error());
    }
    if (interrupted_) {
        stream.abandon();
    } else {
        stream.finish();
    }
    if (control_) [[maybe_unused]]
        const auto ignored = control_->ask({{"command", "shutdown"}});
    proxy_.end();
    pass_on_words();
    progress_.end();
    return ReplayResult{outcome(stream), std::move(status_)};
}

replay::Outcome Session::outcome(const replay::Stream& stream) const {
    replay::Outcome outcome;
    outcome.capture = settings_.stream.capture.string();
    outcome.speed = settings_.stream.speed;
    outcome.window = settings_.window;
    outcome.interrupted = interrupted_;
    outcome.complaint = stream.complaint();
    outcome.wanted = settings_.stream.wanted;
    // The stream is ahead of what was sent.
    outcome.tally = settings_.found.complete ? settings_.found.tally : stream.tally();
    const std::uint64_t a_pass = std::max<std::uint64_t>(1, outcome.tally.taken_total());
    outcome.passes = (status_["replay"].value("sent", std::uint64_t{0}) + a_pass - 1) / a_pass;
    return outcome;
}

tl::expected<void, std::string> Session::wait_until_ready() {
    const auto deadline = Clock::now() + ready_timeout;
    while (Clock::now() < deadline) {
        if (signals_.came(look_interval)) return tl::unexpected(std::string("ended by hand"));
        pass_on_words();
        if (proxy_.ended()) return tl::unexpected(why_ended());
        if (!control_) {
            auto connected = ControlClient::connect(config_.control_socket(), answer_timeout);
            if (!connected) continue;
            control_.emplace(std::move(*connected));
        }
        if (auto looked = look(); !looked) return looked;
        if (ready()) return {};
    }
    return tl::unexpected(
        std::string("no quorum of the replicas is admitted; `quorate replica list` says why"));
}

// Every group that has replicas to answer does.
bool Session::ready() const {
    const ProxyStatus status = read_status(status_);
    return std::all_of(status.groups.begin(), status.groups.end(), [&](const GroupStatus& group) {
        const auto index = config_.group_index(group.name);
        const bool used = index && std::find(settings_.groups.begin(), settings_.groups.end(),
                                             *index) != settings_.groups.end();
        return !used || group.answers();
    });
}

tl::expected<void, std::string> Session::feed(replay::Stream& stream) {
    while (true) {
        const bool end = signals_.came(look_interval);
        pass_on_words();
        if (proxy_.ended()) return tl::unexpected(why_ended());
        if (end && !interrupted_) {
            interrupted_ = true;
            if (auto told = control_->ask({{"command", "replay-stop"}}); !told) {
                return tl::unexpected(why_silent(told.error().what));
            }
        }
        if (auto looked = look(); !looked) return looked;
        const std::string state = status_["replay"].value("state", "");
        if (state == "done") {
            // What the workers reported last is written down by then.
            (void)signals_.came(look_interval);
            return look();
        }
        if (state == "broken") {
            return tl::unexpected("the requests stopped in the middle of one: " +
                                  stream.complaint());
        }
        progress_.show(status_);
    }
}

tl::expected<void, std::string> Session::look() {
    auto status = control_->ask_status();
    if (!status) return tl::unexpected(why_silent(status.error().what));
    status_ = std::move(*status);
    if (!status_.is_object() || !status_.contains("replay") || !status_["replay"].is_object()) {
        return tl::unexpected("another quorate-proxy answers on " +
                              config_.control_socket().string());
    }
    return {};
}

std::string Session::why_ended() {
    pass_on_words();
    return "quorate-proxy ended early (" + *proxy_.ended() + ")";
}

// A proxy that does not answer has ended, as a rule, and is about to be seen to.
std::string Session::why_silent(const std::string& otherwise) {
    const auto deadline = Clock::now() + leave_timeout;
    while (!proxy_.ended() && Clock::now() < deadline) std::this_thread::sleep_for(look_interval);
    return proxy_.ended() ? why_ended() : otherwise;
}

void Session::pass_on_words() {
    for (const std::string& line : proxy_.take_lines()) progress_.say(line);
}

bool is_free(const std::filesystem::path& lock) {
    const int descriptor = ::open(lock.c_str(), O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return true;  // there never was one
    const bool free = ::flock(descriptor, LOCK_EX | LOCK_NB) == 0;
    ::close(descriptor);
    return free;
}

// nullopt: nobody answers.
std::optional<std::string> pid_of_proxy(const config::Config& config) {
    auto control = ControlClient::connect(config.control_socket(), milliseconds(1'000));
    if (!control) return std::nullopt;
    const auto status = control->ask_status();
    if (!status || !status->contains("pid")) return std::nullopt;
    return (*status)["pid"].dump();
}

}  // namespace

EndSignals::EndSignals() {
    sigemptyset(&signals_);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals_, signal);
    sigprocmask(SIG_BLOCK, &signals_, nullptr);
}

bool EndSignals::came(milliseconds wait) {
    const timespec time{wait.count() / 1000, (wait.count() % 1000) * 1'000'000};
    came_ = ::sigtimedwait(&signals_, nullptr, &time) > 0 || came_;
    return came_;
}

tl::expected<ReplayResult, std::string> run_replay(const config::Config& config,
                                                   const ReplaySettings& settings,
                                                   EndSignals& signals) {
    auto proxy = ProxyProcess::replay(settings.config_file, settings.window);
    if (!proxy) return tl::unexpected(proxy.error());
    return Session(config, settings, signals, std::move(*proxy)).run();
}

std::string proxy_in_the_way(const config::Config& config) {
    const auto lock = config.state_dir / "proxy.lock";
    const auto deadline = Clock::now() + leave_timeout;
    while (!is_free(lock)) {
        const auto pid = pid_of_proxy(config);
        if (!pid && Clock::now() < deadline) {  // it may be on its way out
            std::this_thread::sleep_for(look_interval);
            continue;
        }
        return "a quorate-proxy" + (pid ? " (process " + *pid + ")" : "") +
               " runs with this configuration, on " + config.state_dir.string() +
               ": stop it for the time of the replay, or replay with a configuration that has "
               "another appliance.name and state_dir";
    }
    return {};
}

}  // namespace quorate
