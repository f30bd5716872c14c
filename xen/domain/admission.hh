// May this machine take one more domain? Asked before anything is made of it, so that a replica
// that does not fit costs nobody anything.
//
// Known limit: an estimate from above of what Xen needs besides the guest's memory; Xen itself has
// the last word, at the build.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace xen::domain {

struct MachineFacts {
    std::uint64_t free_kb = 0;
    unsigned cpus = 0;      // that are on
    unsigned cpu_last = 0;  // the largest number
};

struct Demand {
    std::uint32_t memory_mb = 0;
    std::uint32_t vcpus = 0;
    std::vector<unsigned> cpus;  // pinned to; empty: to none
};

// Of Xen's free memory.
std::uint64_t need_kb(std::uint32_t memory_mb, std::uint32_t vcpus);

// Why not, and what would help; empty: it may. `promised_kb` is for domains that are being built.
std::string refusal(const Demand& demand, const MachineFacts& machine, std::uint64_t promised_kb);

}  // namespace xen::domain
