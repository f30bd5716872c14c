// When each request is due, on a clock that begins with the first one. Pure: times in, times out.
#pragma once

#include <cstdint>
#include <optional>

namespace replay {

// As recorded unless told otherwise; at most one of them.
struct Speed {
    double multiplier = 1;             // of the recorded speed
    std::optional<double> per_second;  // evenly, whatever was recorded
    bool top = false;                  // no times at all
};

class Schedule {
  public:
    explicit Schedule(const Speed& speed) : speed_(speed) {}

    // The next request is a capture's first again. It is due one mean gap after the last one.
    void begin_pass();
    // Of the next request, recorded at `time_ns`; never less than that of the one before, whatever
    // order the capture has.
    std::uint64_t due_ns(std::uint64_t time_ns);

  private:
    std::uint64_t as_recorded(std::uint64_t time_ns);

    Speed speed_;
    std::uint64_t count_ = 0;
    std::uint64_t last_due_ns_ = 0;
    // Of this pass.
    std::uint64_t begin_due_ns_ = 0;
    std::uint64_t pass_count_ = 0;
    std::uint64_t first_time_ns_ = 0;
};

}  // namespace replay
