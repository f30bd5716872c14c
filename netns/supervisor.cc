#include "netns/supervisor.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <optional>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "netns/inside.hh"
#include "netns/link.hh"
#include "netns/process.hh"
#include "netns/record.hh"
#include "recovery/log.hh"

namespace netns {
namespace {

using Clock = std::chrono::steady_clock;

constexpr milliseconds terminate_grace{2'000};  // from SIGTERM to SIGKILL
constexpr unsigned quoted_lines = 5;            // of the service's output, where a start failed

std::string time_text() {
    std::array<char, 32> out{};
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::localtime_r(&now, &parts);
    std::strftime(out.data(), out.size(), "%Y-%m-%d %H:%M:%S", &parts);
    return out.data();
}

class Supervisor {
  public:
    explicit Supervisor(Spec spec)
        : spec_(std::move(spec)), record_(spec_.record), log_(spec_.log_file) {
        deadline_ = Clock::now() + milliseconds(spec_.health_timeout_ms);
    }

    void run() {
        if (auto begun = begin(); !begun) failure_ = begun.error();
        while (inside_ > 0 && !inside_ended_) wait_and_handle();
        drain_output();
        finish();
    }

  private:
    enum class Stage { starting, running, stopping };

    tl::expected<void, std::string> begin() {
        const auto self = identify(::getpid());
        if (!self) return tl::unexpected(std::string("cannot see itself in /proc; is it mounted?"));
        if (auto done = take_over(spec_.record_file, record_, *self); !done) return done;
        place_is_ours_ = true;

        sigset_t signals;
        ::sigemptyset(&signals);
        for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGCHLD}) {
            ::sigaddset(&signals, signal);
        }
        ::sigprocmask(SIG_BLOCK, &signals, nullptr);
        signals_ = Descriptor(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
        int orders[2];
        int output[2];
        if (signals_.get() < 0 ||
            ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders) != 0) {
            return tl::unexpected(with_cause("cannot prepare"));
        }
        orders_ = Descriptor(orders[0]);
        const Descriptor their_orders(orders[1]);
        if (::pipe2(output, O_CLOEXEC) != 0) return tl::unexpected(with_cause("cannot prepare"));
        output_ = Descriptor(output[0]);
        const Descriptor their_output(output[1]);
        ::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
        pin();

        // Only a cloned process is process 1 of a new PID namespace.
        const unsigned long flags = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC |
                                    CLONE_NEWUTS | static_cast<unsigned long>(SIGCHLD);
        inside_ = static_cast<pid_t>(::syscall(SYS_clone, flags, nullptr, nullptr, nullptr, 0));
        if (inside_ == 0) run_inside(spec_, their_orders.get(), their_output.get());
        if (inside_ < 0) {
            return tl::unexpected(with_cause("cannot make namespaces") +
                                  "; run as root, or in a user namespace (unshare -Urnm)");
        }
        if (const auto identity = identify(inside_)) record_.inside = *identity;
        if (auto done = save(); !done) return abandon(done);
        if (auto done = make_link(record_.interface, link_tag(record_.appliance), inside_); !done) {
            return abandon(done);
        }
        send(message::go);
        return {};
    }

    tl::expected<void, std::string> abandon(tl::expected<void, std::string> why) {
        ::kill(inside_, SIGKILL);
        return why;
    }

    tl::expected<void, std::string> save() {
        auto done = write_record(spec_.record_file, record_);
        if (!done) log_.note(done.error());
        return done;
    }

    void pin() {
        if (spec_.cpus.empty()) return;
        cpu_set_t set;
        CPU_ZERO(&set);
        for (const unsigned cpu : spec_.cpus) {
            if (cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
        }
        // We read what it prints: on its processors, so that a flood of that costs nobody else.
        if (::sched_setaffinity(0, sizeof set, &set) != 0) log_.note(with_cause("cannot pin"));
    }

    void send(char order) { ::send(orders_.get(), &order, 1, MSG_NOSIGNAL); }

    void wait_and_handle() {
        const bool starting = stage_ == Stage::starting;
        std::array<pollfd, 4> ready{{{signals_.get(), POLLIN, 0},
                                     {orders_.get(), POLLIN, 0},
                                     {output_.get(), POLLIN, 0},
                                     {starting ? status_descriptor : -1, 0, 0}}};
        if (::poll(ready.data(), ready.size(), wait_ms()) < 0 && errno != EINTR) {
            ::kill(inside_, SIGKILL);
        }
        if (ready[2].revents != 0) drain_output();
        if (ready[1].revents != 0) receive();
        if (ready[0].revents != 0) take_signals();
        if (ready[3].revents != 0 && stage_ == Stage::starting && failure_.empty()) {
            fail("whoever started it is gone");
        }
        if (!killed_ && wait_ms() == 0) {
            if (stage_ == Stage::starting) {
                fail("not healthy within " + std::to_string(spec_.health_timeout_ms) + " ms");
            }
            killed_ = true;
            ::kill(inside_, SIGKILL);
        }
    }

    int wait_ms() const {
        if (stage_ == Stage::running || killed_) return -1;
        const auto left = std::chrono::ceil<milliseconds>(deadline_ - Clock::now()).count();
        return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
    }

    void drain_output() {
        std::array<char, 65'536> part;
        // Bounded, so that a service that prints without end cannot keep us from our orders.
        for (int i = 0; i < 16; ++i) {
            const ssize_t got = ::read(output_.get(), part.data(), part.size());
            if (got == 0) output_.reset();  // nobody is left who could print
            if (got <= 0) return;
            log_.write({part.data(), static_cast<std::size_t>(got)});
        }
    }

    void receive() {
        std::array<char, message_bytes_max> bytes;
        ssize_t got;
        while ((got = ::recv(orders_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT)) > 0) {
            const std::string text(bytes.data() + 1, static_cast<std::size_t>(got) - 1);
            switch (bytes[0]) {
                case message::healthy:
                    become_healthy();
                    break;
                case message::failed:
                    fail(text);
                    break;
                case message::ended:
                    service_end_ = text;
                    break;
                case message::words:
                    health_words_ = text;
                    break;
                case message::done:
                    record_.phase = wanted_;
                    static_cast<void>(save());
                    break;
                default:
                    break;
            }
        }
    }

    void become_healthy() {
        if (stage_ != Stage::starting || !failure_.empty()) return;
        stage_ = Stage::running;
        running_since_ = Clock::now();
        record_.phase = Phase::running;
        record_.detail = "healthy since " + time_text();
        if (auto done = save(); !done) return fail(done.error());
        log_.note("incarnation " + std::to_string(record_.name.incarnation.value) + " is healthy");
        ::close(status_descriptor);
    }

    void take_signals() {
        signalfd_siginfo signal;
        while (::read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
            switch (signal.ssi_signo) {
                case SIGCHLD:
                    if (::waitpid(inside_, &inside_status_, WNOHANG) == inside_) {
                        inside_ended_ = true;
                    }
                    break;
                case SIGUSR1:
                case SIGUSR2:
                    if (stage_ != Stage::running) break;
                    wanted_ = signal.ssi_signo == SIGUSR1 ? Phase::paused : Phase::running;
                    send(signal.ssi_signo == SIGUSR1 ? message::pause : message::resume);
                    break;
                default:
                    stop();
                    break;
            }
        }
    }

    void stop() {
        if (stage_ == Stage::stopping) return;
        if (stage_ == Stage::starting && failure_.empty()) failure_ = "it was told to stop";
        stage_ = Stage::stopping;
        deadline_ = Clock::now() + terminate_grace;
        send(message::terminate);
    }

    void fail(const std::string& why) {
        if (failure_.empty()) failure_ = why;
        ::kill(inside_, SIGKILL);
    }

    // Nothing runs in the namespaces any more.
    void finish() {
        receive();  // what it said last
        drain_output();
        const std::string end = !service_end_.empty() ? "the service " + service_end_
                                : inside_ended_
                                    ? "its first process " + describe_end(inside_status_)
                                    : "it ended";
        if (stage_ == Stage::running) return remember_end(end);
        if (stage_ == Stage::starting && failure_.empty()) {
            failure_ = end + " before it was healthy";
        }
        log_.note("incarnation " + std::to_string(record_.name.incarnation.value) +
                  (failure_.empty() ? " was stopped; " + end : " did not start: " + failure_));
        if (!place_is_ours_) return report(failure_);
        if (auto done = remove_remains(spec_.record_file, record_); !done) {
            log_.note(done.error());
            if (!failure_.empty()) failure_ += "; and " + done.error();
        }
        if (!failure_.empty()) report(failure_);
    }

    void remember_end(const std::string& end) {
        const auto lived =
            std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - running_since_);
        record_.phase = Phase::ended;
        record_.detail =
            end + " at " + time_text() + ", after " + std::to_string(lived.count()) + " s";
        log_.note("incarnation " + std::to_string(record_.name.incarnation.value) + ": " +
                  record_.detail);
        static_cast<void>(save());
        if (auto done = remove_link(record_.interface, link_tag(record_.appliance)); !done) {
            log_.note(done.error());
        }
    }

    void report(const std::string& why) {
        std::string text = why;
        if (const std::string lines = log_.last_lines(quoted_lines); !lines.empty()) {
            text += "; its last output:\n" + lines;
        }
        if (!health_words_.empty()) text += "; its health check said:\n" + health_words_;
        [[maybe_unused]] const ssize_t ignored =
            ::write(status_descriptor, text.data(), text.size());
    }

    Spec spec_;
    Record record_;
    recovery::Log log_;
    Stage stage_ = Stage::starting;
    Clock::time_point deadline_;  // to be healthy, or to have ended
    Clock::time_point running_since_;
    Phase wanted_ = Phase::running;  // what the last order to process 1 leads to
    Descriptor signals_;
    Descriptor orders_;
    Descriptor output_;
    pid_t inside_ = 0;
    bool place_is_ours_ = false;
    bool inside_ended_ = false;
    bool killed_ = false;
    int inside_status_ = 0;
    std::string service_end_;  // as process 1 told it
    std::string health_words_;
    std::string failure_;  // why the start did not succeed
};

}  // namespace

int run_supervisor() {
    auto spec = parse_spec(recovery::read_input());
    if (!spec) {
        std::fprintf(stderr, "replica-supervisor is for Quorate's own use: %s\n",
                     spec.error().c_str());
        return 2;
    }
    const pid_t background = ::fork();
    if (background != 0) return background > 0 ? 0 : 1;
    ::setsid();
    // As whoever called us had it does not matter.
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGCHLD, SIG_DFL);
    ::signal(SIGHUP, SIG_IGN);
    ::signal(SIGPIPE, SIG_IGN);
    ::umask(077);
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int target = 0; target < status_descriptor; ++target) ::dup2(null, target);
    ::close_range(status_descriptor + 1, ~0u, 0);
    ::fcntl(status_descriptor, F_SETFD, FD_CLOEXEC);
    if (::chdir("/") != 0) return 1;
    ::prctl(PR_SET_NAME, "quorate-replica");
    Supervisor(std::move(*spec)).run();
    ::_exit(0);
}

}  // namespace netns
