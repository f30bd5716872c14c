// How far a replay is, on standard error: a line that is written over on a terminal, else a line
// every few seconds. Other words go above it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

namespace quorate {

class ReplayProgress {
  public:
    // `requests`: how many there will be; 0: nobody knows.
    explicit ReplayProgress(std::uint64_t requests);

    void show(const nlohmann::json& status);  // the proxy's, with "replay"
    void say(const std::string& line);
    void end();  // takes the line away

  private:
    std::uint64_t requests_;
    bool terminal_;
    bool shown_ = false;
    std::chrono::steady_clock::time_point next_;
};

// "1,200 of 5,000 sent in 3 s, 1,200 answered; agreed 1,198, split 0, expired 0, dissent 40,
// silence 0"
std::string progress_text(const nlohmann::json& status, std::uint64_t requests);

}  // namespace quorate
