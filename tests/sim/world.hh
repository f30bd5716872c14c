// One simulated world: clients, links, replicas and the real worker between them, all from one
// seed. First faults, then healing. The checker says what was wrong. Replicas are behind rings in
// this process (of DPDK), or they are Xen domains behind netback's rings, which have faults of
// their own: frontends that stall, attack, reconnect and die, and an appliance that is killed and
// adopts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sim {

// A deliberately wrong appliance, which the checker has to catch.
enum class Canary { none, quorum_of_one, no_vote, roster_ignored, shadow_ignored };
enum class Replicas { on_ports, domains };

struct Result {
    std::vector<std::string> complaints;  // the checker's; empty: all is well
    std::uint64_t trace = 0;              // of every packet that left, and when
    std::uint64_t requests = 0;
    std::uint64_t replies = 0;
    std::uint64_t suspects = 0;
    // Where replicas are domains.
    std::uint64_t violations = 0;    // seen of frontends
    std::uint64_t kills = 0;         // of the appliance
    std::uint64_t kills_within = 0;  // of those, between writing responses and publishing them
};
Result run_world(std::uint64_t seed, Replicas replicas = Replicas::on_ports,
                 Canary canary = Canary::none);

}  // namespace sim
