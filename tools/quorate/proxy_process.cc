#include "tools/quorate/proxy_process.hh"

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace quorate {
namespace {

constexpr auto end_grace = std::chrono::seconds(10);
constexpr int pipe_bytes = 1 << 20;
constexpr std::size_t line_bytes_max = 4096;

// Installed it is beside us; in a build tree in the folder of its own; else the shell knows.
std::string program() {
    std::error_code error;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
    for (const char* where : {"quorate-proxy", "../../proxy/quorate-proxy"}) {
        const auto beside = (self.parent_path() / where).lexically_normal();
        if (::access(beside.c_str(), X_OK) == 0) return beside.string();
    }
    return "quorate-proxy";
}

// Between fork and exec: system calls only.
[[noreturn]] void become(char* const* argv, int requests, int output, pid_t parent) {
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::setpgid(0, 0);  // a ^C at the terminal is for us, who then end it in order
    ::prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    if (::getppid() != parent) ::_exit(127);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(output, STDERR_FILENO);
    ::fcntl(requests, F_SETFD, 0);
    ::execvp(argv[0], argv);
    constexpr char what[] = "quorate-proxy cannot be run: is it installed beside quorate?\n";
    [[maybe_unused]] const ssize_t said = ::write(STDERR_FILENO, what, sizeof what - 1);
    ::_exit(127);
}

}  // namespace

tl::expected<ProxyProcess, std::string> ProxyProcess::replay(const std::filesystem::path& config,
                                                             std::uint64_t window) {
    std::array<int, 2> requests{-1, -1};
    std::array<int, 2> output{-1, -1};
    if (::pipe2(requests.data(), O_CLOEXEC) != 0 || ::pipe2(output.data(), O_CLOEXEC) != 0) {
        const std::string cause = std::strerror(errno);
        for (const int end : {requests[0], requests[1]}) ::close(end);
        return tl::unexpected("no pipe to quorate-proxy: " + cause);
    }
    ::fcntl(requests[1], F_SETPIPE_SZ, pipe_bytes);  // smaller is only slower
    ::fcntl(output[0], F_SETFL, O_NONBLOCK);
    std::vector<std::string> words{program(),
                                   "--config",
                                   config.string(),
                                   "--replay-from",
                                   std::to_string(requests[0]),
                                   "--replay-window",
                                   std::to_string(window)};
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid == 0) become(argv.data(), requests[0], output[1], parent);
    const std::string cause = std::strerror(errno);
    ::close(requests[0]);
    ::close(output[1]);
    if (pid > 0) return ProxyProcess(pid, requests[1], output[0]);
    ::close(requests[1]);
    ::close(output[0]);
    return tl::unexpected("no process for quorate-proxy: " + cause);
}

ProxyProcess::ProxyProcess(ProxyProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      requests_(std::exchange(other.requests_, -1)),
      output_(std::exchange(other.output_, -1)),
      unfinished_(std::move(other.unfinished_)),
      ended_(std::move(other.ended_)) {}

ProxyProcess::~ProxyProcess() {
    if (pid_ < 0) return;
    end();
    if (requests_ >= 0) ::close(requests_);
    ::close(output_);
}

int ProxyProcess::take_requests() { return std::exchange(requests_, -1); }

std::vector<std::string> ProxyProcess::take_lines() {
    std::array<char, 4096> piece;
    std::vector<std::string> lines;
    ssize_t got = 0;
    while ((got = ::read(output_, piece.data(), piece.size())) > 0) {
        for (const char letter : std::string_view(piece.data(), static_cast<std::size_t>(got))) {
            if (letter != '\n' && unfinished_.size() < line_bytes_max) {
                unfinished_ += letter;
                continue;
            }
            lines.push_back(std::exchange(unfinished_, {}));
        }
    }
    return lines;
}

std::optional<std::string> ProxyProcess::ended() {
    int status = 0;
    if (!ended_ && ::waitpid(pid_, &status, WNOHANG) == pid_) {
        ended_ = WIFEXITED(status) ? "exit status " + std::to_string(WEXITSTATUS(status))
                                   : "signal " + std::to_string(WTERMSIG(status));
    }
    return ended_;
}

void ProxyProcess::end() {
    if (ended()) return;
    ::kill(pid_, SIGTERM);
    const auto deadline = std::chrono::steady_clock::now() + end_grace;
    while (!ended() && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    if (ended()) return;
    ::kill(pid_, SIGKILL);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    ended_ = "signal 9";
}

}  // namespace quorate
