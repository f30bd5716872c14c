// What a replay came to: one object for programs, and the same in words. Pure.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "config/config.hh"
#include "tools/replay/schedule.hh"
#include "tools/replay/selection.hh"

namespace replay {

using Json = nlohmann::ordered_json;

// What is known besides the proxy's last status.
struct Outcome {
    std::string capture;
    Speed speed;
    std::uint64_t window = 0;
    std::uint64_t passes = 0;  // begun to be sent
    bool interrupted = false;  // somebody wanted it to end
    std::string complaint;     // why not everything was sent; empty: all was
    Wanted wanted;
    Tally tally;
};

// `status` is what the proxy says of itself (the object "status"), with "replay" in it. What is
// missing in it is 0.
Json summary(const config::Config& config, const Outcome& outcome, const nlohmann::json& status);

// For people; lines that end with a newline.
std::string summary_text(const Json& summary);

// "as recorded", "2 times as recorded", "5,000 a second", "at top speed"
std::string speed_text(const Speed& speed);

}  // namespace replay
