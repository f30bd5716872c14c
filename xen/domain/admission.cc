#include "xen/domain/admission.hh"

namespace xen::domain {
namespace {

// Xen's own structures of a domain and its vcpus, and, for PVH, the tables of its memory (as much
// as libxl_get_required_shadow_memory() takes, which PV does not need).
constexpr std::uint64_t domain_kb = 4'096;
constexpr std::uint64_t vcpu_kb = 1'024;
constexpr std::uint64_t tables_kb_per_mb = 8;

std::string megabytes(std::uint64_t kb) { return std::to_string(kb / 1'024) + " MB"; }

}  // namespace

std::uint64_t need_kb(std::uint32_t memory_mb, std::uint32_t vcpus) {
    return memory_mb * (std::uint64_t{1'024} + tables_kb_per_mb) + vcpus * vcpu_kb + domain_kb;
}

std::string refusal(const Demand& demand, const MachineFacts& machine, std::uint64_t promised_kb) {
    const std::uint64_t need = need_kb(demand.memory_mb, demand.vcpus);
    const std::uint64_t left =
        machine.free_kb > promised_kb ? machine.free_kb - promised_kb : std::uint64_t{0};
    if (need > left) {
        return "it needs " + megabytes(need) + " of memory, and Xen has " + megabytes(left) +
               " left" +
               (promised_kb == 0 ? std::string()
                                 : " (besides " + megabytes(promised_kb) +
                                       " for domains that are being built)") +
               "; give it less memory_mb, or Dom0 less (dom0_mem)";
    }
    for (const unsigned cpu : demand.cpus) {
        if (cpu <= machine.cpu_last) continue;
        return "it is to run on CPU " + std::to_string(cpu) + ", and the last of this machine is " +
               std::to_string(machine.cpu_last) + "; change cpus";
    }
    if (demand.vcpus > machine.cpus) {
        return "it has " + std::to_string(demand.vcpus) + " vcpus, and this machine " +
               std::to_string(machine.cpus) + " CPUs; give it fewer vcpus";
    }
    return {};
}

}  // namespace xen::domain
