// One simulated world: clients, links, replicas and the real worker between them, all from one
// seed. First faults, then healing. The checker says what was wrong.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sim {

// A deliberately wrong appliance, which the checker has to catch.
enum class Canary { none, quorum_of_one, no_vote, roster_ignored };

struct Result {
    std::vector<std::string> complaints;  // the checker's; empty: all is well
    std::uint64_t trace = 0;              // of every packet that left, and when
    std::uint64_t requests = 0;
    std::uint64_t replies = 0;
    std::uint64_t suspects = 0;
};
Result run_world(std::uint64_t seed, Canary canary = Canary::none);

}  // namespace sim
