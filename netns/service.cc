#include "netns/service.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "netns/process.hh"

namespace netns {
namespace {

// What a service that starts as root keeps: enough to become somebody else, to own its files, to
// take a low port and to send raw packets; not enough to change its addresses, to mount, to trace
// or to load modules.
constexpr std::array kept_capabilities{
    CAP_CHOWN,   CAP_DAC_OVERRIDE, CAP_FOWNER,  CAP_FSETID,       CAP_KILL,
    CAP_SETGID,  CAP_SETUID,       CAP_SETPCAP, CAP_SYS_RESOURCE, CAP_NET_BIND_SERVICE,
    CAP_NET_RAW, CAP_SYS_CHROOT,   CAP_IPC_LOCK};

// Writes what failed to the pipe and ends the child.
[[noreturn]] void give_up(int pipe, const std::string& what) {
    const std::string text = with_cause(what);
    [[maybe_unused]] const ssize_t ignored = ::write(pipe, text.data(), text.size());
    ::_exit(127);
}

void drop_capabilities(int pipe) {
    for (int capability = 0; capability <= CAP_LAST_CAP; ++capability) {
        if (std::find(kept_capabilities.begin(), kept_capabilities.end(), capability) !=
            kept_capabilities.end()) {
            continue;
        }
        // EINVAL: this kernel does not know it.
        if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EINVAL) {
            give_up(pipe, "cannot drop capabilities");
        }
    }
}

void become(const std::string& user, int pipe) {
    const passwd* entry = ::getpwnam(user.c_str());
    if (entry == nullptr) {
        errno = ENOENT;
        give_up(pipe, "user " + user);
    }
    if (::initgroups(user.c_str(), entry->pw_gid) != 0 || ::setgid(entry->pw_gid) != 0 ||
        ::setuid(entry->pw_uid) != 0) {
        give_up(pipe, errno == EINVAL
                          ? "cannot become user " + user +
                                " (in a user namespace without it; leave `user` out there)"
                          : "cannot become user " + user);
    }
}

[[noreturn]] void be_program(const Spec& spec, const std::vector<std::string>& command, int output,
                             int pipe) {
    ::setsid();
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);

    const int input = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (input < 0 || ::dup2(input, 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(output, 2) < 0) {
        give_up(pipe, "cannot open /dev/null");
    }
    drop_capabilities(pipe);
    if (!spec.user.empty()) become(spec.user, pipe);
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    // After becoming the user: it is the user who must be able to get there.
    if (::chdir(spec.directory.c_str()) != 0) {
        give_up(pipe, "cannot enter " + spec.directory +
                          (spec.user.empty()
                               ? ""
                               : " as user " + spec.user + "; may it pass all folders above?"));
    }

    // Nothing of the environment of whoever started us, secrets included, but where programs are.
    const char* path = std::getenv("PATH");
    const std::string programs =
        path != nullptr ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    ::clearenv();
    ::setenv("PATH", programs.c_str(), 1);
    ::setenv("HOME", spec.directory.c_str(), 1);
    ::setenv("TMPDIR", spec.directory.c_str(), 1);
    ::setenv("LANG", "C.UTF-8", 1);
    for (const auto& [name, value] : spec.environment) ::setenv(name.c_str(), value.c_str(), 1);

    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
    ::execvp(arguments[0], arguments.data());
    give_up(pipe, "cannot run " + command[0]);
}

}  // namespace

tl::expected<pid_t, std::string> start_program(const Spec& spec,
                                               const std::vector<std::string>& command,
                                               int output) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return tl::unexpected(with_cause("cannot make a pipe"));
    const Descriptor reading(ends[0]);
    Descriptor writing(ends[1]);
    const pid_t pid = ::fork();
    if (pid < 0) return tl::unexpected(with_cause("cannot fork"));
    if (pid == 0) be_program(spec, command, output, writing.get());
    writing.reset();

    // The pipe closes with the exec; what comes before is the reason why there was none.
    std::string why;
    std::array<char, 512> part;
    for (;;) {
        const ssize_t got = ::read(reading.get(), part.data(), part.size());
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        why.append(part.data(), static_cast<std::size_t>(got));
    }
    if (why.empty()) return pid;
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return tl::unexpected(why);
}

}  // namespace netns
