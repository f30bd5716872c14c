#include "proxy/ports/privileges.hh"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

#include <linux/capability.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "proxy/ports/system_call_filter.hh"
#include "xen/netback/hypervisor.hh"

namespace proxy {
namespace {

// writer: the SIGSYS handler on any worker; reader: control
std::atomic<std::uint64_t> denied{0};
std::atomic<int> last_denied{-1};

// The filter raises SIGSYS in place of the call; this makes it look like a refusal.
void on_denied(int, siginfo_t* info, void* context) {
    denied.fetch_add(1, std::memory_order_relaxed);
    last_denied.store(info->si_syscall, std::memory_order_relaxed);
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RAX] = -EPERM;
}

std::string cause(int error) { return std::strerror(error); }

tl::expected<void, std::string> drop_capabilities() {
    // The bounding set needs CAP_SETPCAP, so it goes first, and stays where there never was any.
    for (unsigned long capability = 0; capability <= 63; ++capability) {
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno == EINVAL) break;
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none{};
    if (syscall(SYS_capset, &header, none.data()) != 0) {
        return tl::unexpected("capabilities cannot be dropped: " + cause(errno));
    }
    return {};
}

// Calls that need no look at their arguments: they act on what the process has open already, on the
// thread itself, or on time.
constexpr std::array plain_calls{
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(recvfrom),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(futex),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(sched_yield),
    SCMP_SYS(getcpu),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(getrandom),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(rseq),
    SCMP_SYS(membarrier),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

int add_rules(scmp_filter_ctx filter) {
    int failed = 0;
    const auto note = [&](int code) {
        if (code < 0 && failed == 0) failed = code;
    };
    const auto allow = [&](int call, std::initializer_list<scmp_arg_cmp> arguments) {
        note(add_rule(filter, SCMP_ACT_ALLOW, call, arguments));
    };
    for (const int call : plain_calls) allow(call, {});
    // On what is open already: copies from and to pages that guests grant, and their notification.
    for (const unsigned long request : xen::netback::worker_ioctls()) {
        allow(SCMP_SYS(ioctl), {argument_is(1, request)});
    }
    // Sending where the socket is bound to, and nowhere else.
    allow(SCMP_SYS(sendto), {argument_is(4, 0)});
    allow(SCMP_SYS(getsockopt), {argument_is(1, SOL_SOCKET), argument_is(2, SO_ERROR)});
    // Memory that is not executable and not a file.
    allow(SCMP_SYS(mmap),
          {argument_has(2, PROT_EXEC, 0), argument_has(3, MAP_ANONYMOUS, MAP_ANONYMOUS)});
    allow(SCMP_SYS(mprotect), {argument_has(2, PROT_EXEC, 0)});
    // A failed assertion may still abort the process.
    allow(SCMP_SYS(tgkill), {argument_is(0, static_cast<scmp_datum_t>(getpid()))});
    return failed;
}

tl::expected<void, std::string> load_filter() {
    struct sigaction action {};
    action.sa_sigaction = on_denied;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSYS, &action, nullptr);
    sigset_t sys;
    sigemptyset(&sys);
    sigaddset(&sys, SIGSYS);
    pthread_sigmask(SIG_UNBLOCK, &sys, nullptr);

    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
    if (filter == nullptr) return tl::unexpected<std::string>("no memory for a system call filter");
    int code = add_rules(filter);
    if (code == 0) code = seccomp_load(filter);
    seccomp_release(filter);
    if (code == 0) return {};
    return tl::unexpected("system calls cannot be filtered (" + cause(-code) +
                          "): the kernel needs CONFIG_SECCOMP_FILTER");
}

}  // namespace

tl::expected<void, std::string> drop_thread_privileges() {
    auto capabilities = drop_capabilities();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 && capabilities) {
        capabilities = tl::unexpected("no_new_privs cannot be set: " + cause(errno));
    }
    auto filter = load_filter();
    return capabilities ? filter : capabilities;
}

std::uint64_t denied_calls() { return denied.load(std::memory_order_relaxed); }
int last_denied_call() { return last_denied.load(std::memory_order_relaxed); }

}  // namespace proxy
