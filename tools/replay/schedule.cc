#include "tools/replay/schedule.hh"

#include <algorithm>

namespace replay {
namespace {

// Some three centuries: whatever a capture says, sums stay within 64 bits.
constexpr double ns_max = 9e18;

std::uint64_t to_ns(double ns) { return static_cast<std::uint64_t>(std::clamp(ns, 0.0, ns_max)); }

}  // namespace

void Schedule::begin_pass() {
    if (pass_count_ > 1) {
        const std::uint64_t took = last_due_ns_ - begin_due_ns_;
        begin_due_ns_ = last_due_ns_ + took / (pass_count_ - 1);
    } else {
        begin_due_ns_ = last_due_ns_;
    }
    pass_count_ = 0;
}

std::uint64_t Schedule::due_ns(std::uint64_t time_ns) {
    if (speed_.top) return 0;
    std::uint64_t due = 0;
    if (speed_.per_second) {
        due = to_ns(static_cast<double>(count_) * 1e9 / *speed_.per_second);
    } else {
        due = as_recorded(time_ns);
    }
    last_due_ns_ = std::min(std::max(due, last_due_ns_), to_ns(ns_max));
    ++count_;
    ++pass_count_;
    return last_due_ns_;
}

std::uint64_t Schedule::as_recorded(std::uint64_t time_ns) {
    if (pass_count_ == 0) first_time_ns_ = time_ns;
    const std::uint64_t after = time_ns > first_time_ns_ ? time_ns - first_time_ns_ : 0;
    return begin_due_ns_ + to_ns(static_cast<double>(after) / speed_.multiplier);
}

}  // namespace replay
