// What the host asks of the hypervisor and its toolstack, as a seam: the real one is
// xen_machine.hh, tests have one in memory. Calls block, with a deadline, and may be made from
// several threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "xen/domain/admission.hh"
#include "xen/domain/disk.hh"
#include "xen/domain/plan.hh"
#include "xen/domain/uuid.hh"
#include "xen/domain_id.hh"

namespace xen::domain {

enum class State : std::uint8_t {
    running,  // or blocked, or paused
    powered_off,
    rebooting,  // wants to; nobody does it for it
    suspended,
    crashed,
    dying,  // being destroyed; somebody may still have its memory mapped
};
const char* text(State state);

struct DomainFacts {
    DomainId id;
    Uuid uuid;
    State state = State::running;
    bool paused = false;
    bool blocked = false;  // all of its vcpus wait
    std::uint64_t memory_kb = 0;
    std::uint64_t cpu_ns = 0;
    unsigned vcpus = 0;

    bool lives() const { return state == State::running; }
};

struct Limits {
    unsigned vcpus = 1;
    std::vector<unsigned> cpus;     // empty: anywhere
    std::uint32_t cap_percent = 0;  // 0: none
};

// Who watches a domain after its start.
struct KeeperOrder {
    std::string record_file;
    std::string log_file;
    Uuid uuid;
    DomainId domain;
};

class Machine {
  public:
    template <class Value>
    using Result = tl::expected<Value, std::string>;

    Machine() = default;
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;
    virtual ~Machine() = default;

    virtual Result<MachineFacts> facts() = 0;
    virtual Result<std::vector<DomainFacts>> domains() = 0;
    // For a domain's backend: attach_disk(), where there is one to serve it.
    virtual Result<Disk> attach(const std::filesystem::path& file, const std::string& sha256) = 0;
    // Built and paused, or an error, after which some of it may be there.
    virtual Result<DomainId> build(const Plan& plan) = 0;
    // Only if the number still belongs to this UUID; else it is gone, which is no error.
    virtual Result<void> destroy(DomainId domain, const Uuid& uuid) = 0;
    virtual Result<void> limit(DomainId domain, const Limits& limits) = 0;
    virtual Result<void> pause(DomainId domain) = 0;
    virtual Result<void> unpause(DomainId domain) = 0;
    // Its memory as an ELF core, into a new file that only we may read, of at most `bytes_max`.
    virtual Result<void> dump(DomainId domain, const Uuid& uuid, const std::filesystem::path& file,
                              std::uint64_t bytes_max) = 0;
    // Starts the process that keeps its console and notes its death (keeper.hh).
    virtual Result<void> keep(const KeeperOrder& order) = 0;
};

}  // namespace xen::domain
