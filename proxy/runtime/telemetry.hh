// The same numbers through DPDK's telemetry (dpdk-telemetry.py): /quorate/counters, /quorate/drops
// and /quorate/group,INDEX.
#pragma once

#include <span>

#include "config/config.hh"
#include "proxy/counters.hh"

namespace proxy {

// Both outlive EAL's telemetry thread, which answers; counters are read as the workers write them.
void register_telemetry(const config::Config& config, std::span<WorkerCounters> workers);

}  // namespace proxy
