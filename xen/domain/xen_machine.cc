#include "xen/domain/xen_machine.hh"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

extern "C" {
#include <xenctrl.h>
#include <xentoollog.h>
}

#include "recovery/process.hh"
#include "xen/domain/keeper.hh"
#include "xen/domain/text.hh"

namespace xen::domain {
namespace {

constexpr std::size_t domains_max = 32'768;
constexpr std::chrono::milliseconds keeper_deadline{60'000};

// One for each call: handles are not for several threads, and opening is two system calls.
class Control {
  public:
    Control() : logger_(::xtl_createlogger_stdiostream(stderr, XTL_CRITICAL, 0)) {
        if (logger_ != nullptr) handle_ = ::xc_interface_open(base(), base(), 0);
        cause_ = errno;
    }
    Control(const Control&) = delete;
    Control& operator=(const Control&) = delete;
    ~Control() {
        if (handle_ != nullptr) ::xc_interface_close(handle_);
        if (logger_ != nullptr) ::xtl_logger_destroy(base());
    }
    xc_interface* get() const { return handle_; }
    tl::unexpected<std::string> not_open() const {
        return tl::unexpected(std::string("the hypervisor cannot be reached: ") +
                              std::strerror(cause_) +
                              "; is this the Dom0 of a running Xen, and are we root?");
    }

  private:
    xentoollog_logger* base() const { return reinterpret_cast<xentoollog_logger*>(logger_); }

    xentoollog_logger_stdiostream* logger_;
    xc_interface* handle_ = nullptr;
    int cause_ = 0;
};

tl::unexpected<std::string> failed(const std::string& what) {
    return tl::unexpected(recovery::with_cause("Xen cannot " + what));
}

State state_of(const xc_dominfo_t& info) {
    if (info.dying) return State::dying;
    if (info.crashed) return State::crashed;  // which the library does not count as shut down
    if (!info.shutdown) return State::running;
    switch (info.shutdown_reason) {
        case SHUTDOWN_poweroff:
            return State::powered_off;
        case SHUTDOWN_reboot:
        case SHUTDOWN_soft_reset:
            return State::rebooting;
        case SHUTDOWN_suspend:
            return State::suspended;
        default:
            return State::crashed;
    }
}

DomainFacts facts_of(const xc_dominfo_t& info) {
    DomainFacts facts;
    facts.id = DomainId{static_cast<std::uint16_t>(info.domid)};
    std::copy(std::begin(info.handle), std::end(info.handle), facts.uuid.bytes.begin());
    facts.state = state_of(info);
    facts.paused = info.paused != 0;
    facts.blocked = info.blocked != 0;
    facts.memory_kb = std::uint64_t{info.nr_pages} * 4;
    facts.cpu_ns = info.cpu_time;
    facts.vcpus = info.nr_online_vcpus;
    return facts;
}

struct Freed {
    void operator()(void* memory) const { std::free(memory); }
};

tl::expected<void, std::string> pin(const Control& control, DomainId domain, const Limits& limits) {
    const std::unique_ptr<std::uint8_t, Freed> map(::xc_cpumap_alloc(control.get()));
    const int bytes = ::xc_get_cpumap_size(control.get());
    if (!map || bytes <= 0) return failed("say how many CPUs it has");
    for (const unsigned cpu : limits.cpus) {
        if (cpu / 8 >= static_cast<unsigned>(bytes)) {
            return tl::unexpected("this machine has no CPU " + std::to_string(cpu));
        }
        map.get()[cpu / 8] = static_cast<std::uint8_t>(map.get()[cpu / 8] | 1u << cpu % 8);
    }
    for (unsigned vcpu = 0; vcpu < limits.vcpus; ++vcpu) {
        if (::xc_vcpu_setaffinity(control.get(), domain.value, static_cast<int>(vcpu), map.get(),
                                  nullptr, XEN_VCPUAFFINITY_HARD) != 0) {
            return failed("pin vcpu " + std::to_string(vcpu));
        }
    }
    return {};
}

tl::expected<void, std::string> cap(const Control& control, DomainId domain,
                                    std::uint32_t percent) {
    int scheduler = 0;
    if (::xc_sched_id(control.get(), &scheduler) != 0) return failed("name its scheduler");
    if (scheduler != XEN_SCHEDULER_CREDIT2) {
        return tl::unexpected(std::string(
            "a cap takes the scheduler credit2, and this machine has another; start Xen with "
            "sched=credit2, or leave cap_percent out"));
    }
    xen_domctl_sched_credit2 parameters{};
    if (::xc_sched_credit2_domain_get(control.get(), domain.value, &parameters) != 0) {
        return failed("say what share the domain has");
    }
    parameters.cap = static_cast<std::uint16_t>(percent);
    if (::xc_sched_credit2_domain_set(control.get(), domain.value, &parameters) != 0) {
        return failed("cap the domain");
    }
    return {};
}

}  // namespace

XenMachine::XenMachine(std::vector<std::string> helper, std::vector<std::string> keeper)
    : helper_(helper.empty() ? std::vector<std::string>{"quorate", helper_subcommand} : helper),
      keeper_(keeper.empty() ? std::vector<std::string>{"quorate", keeper_subcommand} : keeper) {}

Machine::Result<MachineFacts> XenMachine::facts() {
    const Control control;
    if (control.get() == nullptr) return control.not_open();
    xc_physinfo_t info{};
    if (::xc_physinfo(control.get(), &info) != 0) return failed("describe the machine");
    return MachineFacts{(info.free_pages - std::min(info.free_pages, info.outstanding_pages)) * 4,
                        info.nr_cpus, info.max_cpu_id};
}

Machine::Result<std::vector<DomainFacts>> XenMachine::domains() {
    const Control control;
    if (control.get() == nullptr) return control.not_open();
    std::vector<DomainFacts> found;
    std::vector<xc_dominfo_t> part(128);
    std::uint32_t next = 0;
    while (next < domains_max) {
        const int count = ::xc_domain_getinfo(control.get(), next,
                                              static_cast<unsigned>(part.size()), part.data());
        if (count < 0 && errno != ESRCH) return failed("list its domains");
        if (count <= 0) break;
        for (int i = 0; i < count; ++i) {
            found.push_back(facts_of(part[static_cast<std::size_t>(i)]));
        }
        next = part[static_cast<std::size_t>(count) - 1].domid + 1;
    }
    return found;
}

Machine::Result<Disk> XenMachine::attach(const std::filesystem::path& file,
                                         const std::string& sha256) {
    std::error_code ignored;
    if (!std::filesystem::exists("/sys/bus/xen-backend/drivers/vbd", ignored)) {
        return tl::unexpected(
            std::string("this kernel has no backend for disks: modprobe xen-blkback"));
    }
    return attach_disk(file, sha256);
}

Machine::Result<DomainId> XenMachine::build(const Plan& plan) { return helper_.build(plan); }

Machine::Result<void> XenMachine::destroy(DomainId domain, const Uuid& uuid) {
    return helper_.destroy(domain, uuid);
}

Machine::Result<void> XenMachine::limit(DomainId domain, const Limits& limits) {
    const Control control;
    if (control.get() == nullptr) return control.not_open();
    if (!limits.cpus.empty()) {
        if (auto done = pin(control, domain, limits); !done) return done;
    }
    if (limits.cap_percent == 0) return {};
    return cap(control, domain, limits.cap_percent);
}

Machine::Result<void> XenMachine::pause(DomainId domain) {
    const Control control;
    if (control.get() == nullptr) return control.not_open();
    if (::xc_domain_pause(control.get(), domain.value) != 0) return failed("pause the domain");
    return {};
}

Machine::Result<void> XenMachine::unpause(DomainId domain) {
    const Control control;
    if (control.get() == nullptr) return control.not_open();
    if (::xc_domain_unpause(control.get(), domain.value) != 0) return failed("unpause the domain");
    return {};
}

Machine::Result<void> XenMachine::dump(DomainId domain, const Uuid& uuid,
                                       const std::filesystem::path& file, std::uint64_t bytes_max) {
    return helper_.dump(domain, uuid, file, bytes_max);
}

Machine::Result<void> XenMachine::keep(const KeeperOrder& order) {
    std::vector<std::string> command = keeper_;
    command.push_back(std::filesystem::path(order.record_file).stem().native());
    const auto finished =
        recovery::run(command, keeper_deadline, {"/proc/self/exe", to_text(order)});
    if (!finished) return tl::unexpected(finished.error());
    // It goes on in the background, and only says something when it cannot.
    if (!finished->succeeded() || !finished->output.empty()) {
        return tl::unexpected("its console's keeper: " + last_lines(finished->output, 3));
    }
    return {};
}

}  // namespace xen::domain
