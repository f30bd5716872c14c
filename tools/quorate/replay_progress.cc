#include "tools/quorate/replay_progress.hh"

#include <cstdio>

#include <unistd.h>

#include "tools/quorate/proxy_status.hh"
#include "tools/quorate/styled_text.hh"

namespace quorate {
namespace {

constexpr std::chrono::milliseconds interval{5'000};
constexpr std::chrono::milliseconds terminal_interval{200};

}  // namespace

ReplayProgress::ReplayProgress(std::uint64_t requests)
    : requests_(requests),
      terminal_(::isatty(STDERR_FILENO) == 1),
      next_(std::chrono::steady_clock::now() + (terminal_ ? terminal_interval : interval)) {}

void ReplayProgress::show(const nlohmann::json& status) {
    const auto now = std::chrono::steady_clock::now();
    if (now < next_) return;
    next_ = now + (terminal_ ? terminal_interval : interval);
    const std::string text = progress_text(status, requests_);
    std::fprintf(stderr, terminal_ ? "\r\x1b[K%s" : "%s\n", text.c_str());
    shown_ = true;
}

void ReplayProgress::say(const std::string& line) {
    end();
    std::fprintf(stderr, "%s\n", printable(line).c_str());
}

void ReplayProgress::end() {
    if (terminal_ && shown_) std::fputs("\r\x1b[K", stderr);
    shown_ = false;
}

std::string progress_text(const nlohmann::json& status, std::uint64_t requests) {
    const ProxyStatus proxy = read_status(status);
    const nlohmann::json replay = status.value("replay", nlohmann::json::object());
    std::uint64_t agreed = 0;
    std::uint64_t split = 0;
    std::uint64_t expired = 0;
    std::uint64_t dissent = 0;
    std::uint64_t silence = 0;
    for (const GroupStatus& group : proxy.groups) {
        agreed += group.agreed.value_or(0);
        split += group.split.value_or(0);
        expired += group.expired.value_or(0);
        for (const ReplicaStatus& replica : group.replicas) {
            dissent += replica.dissent.value_or(0);
            silence += replica.silence.value_or(0);
        }
    }
    std::string text = grouped(replay.value("sent", std::uint64_t{0}));
    if (requests != 0) text += " of " + grouped(requests);
    text += " sent in " + age_text(static_cast<std::uint64_t>(replay.value("seconds", 0.0))) +
            ", " + grouped(replay.value("answers", std::uint64_t{0})) + " answered; agreed " +
            grouped(agreed) + ", split " + grouped(split) + ", expired " + grouped(expired) +
            ", dissent " + grouped(dissent) + ", silence " + grouped(silence);
    return text;
}

}  // namespace quorate
