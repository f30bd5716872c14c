#include "netns/inside.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>

#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "netns/link.hh"
#include "netns/process.hh"
#include "netns/service.hh"

namespace netns {
namespace {

using Clock = std::chrono::steady_clock;

constexpr milliseconds health_pause{50};         // after a check that failed
constexpr milliseconds health_check_max{2'000};  // one check that hangs is ended and repeated

// The file system stays the machine's: a replica may be told to use files anywhere in it.
tl::expected<void, std::string> set_up_mounts() {
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
        return tl::unexpected(with_cause("cannot make mounts private"));
    }
    const unsigned long plain = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (::mount("proc", "/proc", "proc", plain, nullptr) != 0) {
        return tl::unexpected(with_cause("cannot mount /proc inside"));
    }
    // POSIX shared memory is the replica's own, as its other kinds of IPC are.
    if (::access("/dev/shm", F_OK) == 0 &&
        ::mount("shm", "/dev/shm", "tmpfs", plain, "size=64m,mode=1777") != 0) {
        return tl::unexpected(with_cause("cannot mount /dev/shm inside"));
    }
    return {};
}

class Inside {
  public:
    Inside(const Spec& spec, int supervisor, int output)
        : spec_(spec), supervisor_(supervisor), output_(output) {}

    [[noreturn]] void run() {
        while (receive() != message::go) {
        }
        set_up();
        if (auto service = start_program(spec_, spec_.command, output_)) {
            service_ = *service;
        } else {
            leave(message::failed, service.error());
        }
        if (spec_.health.empty()) become_healthy();
        for (;;) wait_and_handle();
    }

  private:
    [[noreturn]] void leave(char kind, const std::string& text) {
        send(kind, text);
        ::_exit(0);  // and the kernel ends all others
    }

    void send(char kind, const std::string& text = {}) {
        const std::string whole = (kind + text).substr(0, message_bytes_max);
        ::send(supervisor_, whole.data(), whole.size(), MSG_NOSIGNAL);
    }

    // The next message's letter; ends with the supervisor.
    char receive() {
        char kind = 0;
        ssize_t got;
        do {
            got = ::recv(supervisor_, &kind, 1, 0);
        } while (got < 0 && errno == EINTR);
        if (got <= 0) ::_exit(0);
        return kind;
    }

    void set_up() {
        // The same for all, as some services tell it to clients, and one that resolves without a
        // resolver: knot looks its own name up and would wait for seconds.
        const std::string name = "localhost";
        if (::sethostname(name.data(), name.size()) != 0) {
            leave(message::failed, with_cause("cannot set the host name"));
        }
        if (auto done = set_up_mounts(); !done) leave(message::failed, done.error());
        std::vector<wire::IpAddress> addresses;
        for (const std::string& text : spec_.addresses) {
            if (const auto address = wire::IpAddress::parse(text)) addresses.push_back(*address);
        }
        if (auto done = set_up_inner_link(addresses); !done) leave(message::failed, done.error());

        sigset_t children;
        ::sigemptyset(&children);
        ::sigaddset(&children, SIGCHLD);
        ::sigprocmask(SIG_BLOCK, &children, nullptr);
        children_ = ::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
        if (children_ < 0) leave(message::failed, with_cause("cannot wait for children"));
    }

    void wait_and_handle() {
        std::array<pollfd, 3> ready{
            {{supervisor_, POLLIN, 0}, {children_, POLLIN, 0}, {health_output_.get(), POLLIN, 0}}};
        if (::poll(ready.data(), ready.size(), wait_ms()) < 0 && errno != EINTR) ::_exit(1);
        if (ready[1].revents != 0) {
            signalfd_siginfo ignored;
            while (::read(children_, &ignored, sizeof ignored) > 0) {
            }
        }
        if (ready[2].revents != 0) hear_health();
        reap();
        if (ready[0].revents != 0) obey(receive());
        if (!healthy_ && Clock::now() >= next_health_) work_on_health();
    }

    int wait_ms() const {
        if (healthy_) return -1;
        const auto left = std::chrono::ceil<milliseconds>(next_health_ - Clock::now()).count();
        return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
    }

    void reap() {
        int status = 0;
        pid_t pid;
        while ((pid = ::waitpid(-1, &status, WNOHANG)) > 0) {
            if (pid == service_) leave(message::ended, describe_end(status));
            if (pid == health_) {
                health_ = 0;
                if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
                    become_healthy();
                } else {
                    next_health_ = Clock::now() + health_pause;
                }
            }
        }
    }

    void become_healthy() {
        healthy_ = true;
        send(message::healthy);
    }

    // Its turn has come: a check to be started, or one to be ended.
    void work_on_health() {
        next_health_ = Clock::now() + health_check_max;
        if (health_ != 0) {
            ::kill(-health_, SIGKILL);
            return;
        }
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) leave(message::failed, with_cause("cannot make a pipe"));
        health_output_ = Descriptor(ends[0]);
        const Descriptor their_output(ends[1]);
        ::fcntl(health_output_.get(), F_SETFL, O_NONBLOCK);
        health_words_.clear();
        if (auto check = start_program(spec_, spec_.health, their_output.get())) {
            health_ = *check;
        } else {
            leave(message::failed, "health: " + check.error());
        }
    }

    // For the error message of a start that fails; what is too long for one is thrown away.
    void hear_health() {
        std::array<char, message_bytes_max> part;
        const ssize_t got = ::read(health_output_.get(), part.data(), part.size());
        if (got == 0) health_output_.reset();
        const std::size_t room = message_bytes_max - 1 - health_words_.size();
        if (got <= 0 || room == 0) return;
        health_words_.append(part.data(), std::min(room, static_cast<std::size_t>(got)));
        send(message::words, health_words_);
    }

    void obey(char order) {
        switch (order) {
            case message::terminate:
                ::kill(service_, SIGTERM);
                ::kill(-1, SIGCONT);
                break;
            case message::pause:
                // All but us, at once: a process that forks meanwhile is stopped with its child.
                ::kill(-1, SIGSTOP);
                send(message::done);
                break;
            case message::resume:
                ::kill(-1, SIGCONT);
                send(message::done);
                break;
            default:
                break;
        }
    }

    const Spec& spec_;
    int supervisor_;
    int output_;
    int children_ = -1;
    pid_t service_ = 0;
    pid_t health_ = 0;  // the check that is running
    Descriptor health_output_;
    std::string health_words_;
    bool healthy_ = false;
    Clock::time_point next_health_ = Clock::now();
};

}  // namespace

void run_inside(const Spec& spec, int supervisor, int output) {
    // Our supervisor's end is ours; that it ended before this line shows on the socket.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    // Two descriptors besides the usual ones are for us; what else the supervisor has open is not.
    const int high = 16;
    const int high_supervisor = ::fcntl(supervisor, F_DUPFD, high);
    const int high_output = ::fcntl(output, F_DUPFD, high);
    const int null = ::open("/dev/null", O_RDWR);
    for (int target = 0; target < 3; ++target) ::dup2(null, target);
    const int own_supervisor = 3;
    const int own_output = 4;
    if (::dup3(high_supervisor, own_supervisor, O_CLOEXEC) < 0 ||
        ::dup3(high_output, own_output, O_CLOEXEC) < 0) {
        ::_exit(1);
    }
    ::close_range(5, ~0u, 0);
    Inside(spec, own_supervisor, own_output).run();
}

}  // namespace netns
