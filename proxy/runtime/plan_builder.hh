// From configuration, roster and open ports to a plan.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "config/config.hh"
#include "proxy/plan.hh"
#include "recovery/roster.hh"

namespace proxy {

// The ports that are open, under the index that packets and plans know them by.
struct PortTable {
    struct Entry {
        bool open = false;
        OpenedPort port;
        PlanPort::Role role = PlanPort::Role::none;
        std::uint8_t client = 0;
        std::uint8_t group = 0;
        voter::ReplicaId slot{};
        voter::Incarnation incarnation{};
        bool violation_told = false;  // netback's; once for each incarnation
    };
    std::array<Entry, ports_max> entries;
    std::uint8_t next = 0;  // indices are given out in turn, so that one is not used again at once
};

// `measure_without_voting`: the first reply of any replica is released (benchmarks only).
std::unique_ptr<Plan> build_plan(const config::Config& config, const recovery::Roster& roster,
                                 const PortTable& ports, std::uint64_t epoch,
                                 std::uint64_t ticks_per_second, bool measure_without_voting);

}  // namespace proxy
