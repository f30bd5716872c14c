#include "recovery/process.hh"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "recovery/durable_file.hh"

extern char** environ;

namespace recovery {
namespace {

constexpr std::size_t output_bytes_max = 64u << 10;

const std::string& boot_id() {
    static const std::string id = [] {
        const auto text = recovery::read_file("/proc/sys/kernel/random/boot_id", 100);
        return text && *text ? (*text)->substr(0, (*text)->find('\n')) : std::string();
    }();
    return id;
}

// glibc 2.36 declares these without extern "C".
int pidfd_open(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

int pidfd_send_signal(int descriptor, int signal) {
    return static_cast<int>(::syscall(SYS_pidfd_send_signal, descriptor, signal, nullptr, 0));
}

Descriptor open_process(const ProcessIdentity& process) {
    if (process.pid <= 0) return {};
    Descriptor descriptor(pidfd_open(process.pid));
    // Looked at after opening: what is open now cannot become somebody else.
    if (descriptor.get() >= 0 && !is_alive(process)) return {};
    return descriptor;
}

int until_ms(std::chrono::steady_clock::time_point end) {
    const auto left = std::chrono::ceil<milliseconds>(end - std::chrono::steady_clock::now());
    return left.count() > 0 ? static_cast<int>(left.count()) : 0;
}

// A file in memory, so that nobody waits for a reader.
tl::expected<Descriptor, std::string> input_of(const std::string& text) {
    if (text.empty()) {
        Descriptor nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        if (nothing.get() < 0) return tl::unexpected(with_cause("cannot open /dev/null"));
        return nothing;
    }
    Descriptor file(::memfd_create("input", MFD_CLOEXEC));
    if (file.get() < 0) return tl::unexpected(with_cause("cannot make a file in memory"));
    std::size_t at = 0;
    while (at < text.size()) {
        const ssize_t written = ::write(file.get(), text.data() + at, text.size() - at);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return tl::unexpected(with_cause("cannot write to a file in memory"));
        at += static_cast<std::size_t>(written);
    }
    ::lseek(file.get(), 0, SEEK_SET);
    return file;
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
    reset();
    value_ = other.release();
    return *this;
}

int Descriptor::release() { return std::exchange(value_, -1); }

void Descriptor::reset() {
    if (value_ >= 0) ::close(std::exchange(value_, -1));
}

std::string with_cause(const std::string& what) {
    const int error = errno;
    return what + ": " + std::strerror(error);
}

std::optional<ProcessIdentity> identify(pid_t pid) {
    const auto text = recovery::read_file("/proc/" + std::to_string(pid) + "/stat", 4'096);
    if (!text || !*text) return {};
    // PID (NAME) STATE ...: the name may hold anything, so the fields are counted from its end.
    const std::size_t name_end = (*text)->rfind(") ");
    if (name_end == std::string::npos) return {};
    std::vector<std::string> fields;  // from the third on
    std::size_t at = name_end + 2;
    while (at < (*text)->size() && fields.size() < 20) {
        const std::size_t end = (*text)->find(' ', at);
        fields.push_back((*text)->substr(at, end - at));
        if (end == std::string::npos) break;
        at = end + 1;
    }
    if (fields.size() < 20 || fields[0] == "Z" || fields[0] == "X") return {};
    return ProcessIdentity{pid, std::stoull(fields[19]), boot_id()};
}

bool is_alive(const ProcessIdentity& process) {
    return process.pid > 0 && identify(process.pid) == process;
}

bool send_signal(const ProcessIdentity& process, int signal) {
    const Descriptor descriptor = open_process(process);
    return descriptor.get() >= 0 && pidfd_send_signal(descriptor.get(), signal) == 0;
}

bool wait_for_end(const ProcessIdentity& process, milliseconds deadline) {
    const Descriptor descriptor = open_process(process);
    if (descriptor.get() < 0) return true;
    const auto end = std::chrono::steady_clock::now() + deadline;
    pollfd ended{descriptor.get(), POLLIN, 0};
    int ready;
    do {
        ready = ::poll(&ended, 1, until_ms(end));
    } while (ready < 0 && errno == EINTR);
    return ready > 0;
}

std::string describe_end(int wait_status) {
    if (WIFSIGNALED(wait_status)) {
        const int signal = WTERMSIG(wait_status);
        return "was killed by signal " + std::to_string(signal) + " (" + ::strsignal(signal) + ")";
    }
    return "exited with status " + std::to_string(WEXITSTATUS(wait_status));
}

tl::expected<Finished, std::string> run(const std::vector<std::string>& command,
                                        milliseconds deadline, const Running& how) {
    auto input = input_of(how.input);
    if (!input) return tl::unexpected(input.error());
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return tl::unexpected(with_cause("cannot make a pipe"));
    Descriptor reading(ends[0]);
    Descriptor writing(ends[1]);

    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_adddup2(&files, input->get(), 0);
    ::posix_spawn_file_actions_adddup2(&files, writing.get(), 1);
    ::posix_spawn_file_actions_adddup2(&files, writing.get(), 2);
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    sigset_t signals;
    ::sigemptyset(&signals);
    ::posix_spawnattr_setsigmask(&attributes, &signals);
    ::sigfillset(&signals);
    ::posix_spawnattr_setsigdefault(&attributes, &signals);
    ::posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    pid_t pid = 0;
    const char* program = how.program.empty() ? arguments[0] : how.program.c_str();
    const int error = ::posix_spawnp(&pid, program, &files, &attributes, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
    if (error != 0) {
        return tl::unexpected("cannot run " + command[0] + ": " + std::strerror(error) +
                              (error == ENOENT ? " (is its package installed?)" : ""));
    }
    writing.reset();

    const auto end = std::chrono::steady_clock::now() + deadline;
    Finished finished;
    bool late = false;
    std::array<char, 4'096> part;
    for (;;) {
        pollfd readable{reading.get(), POLLIN, 0};
        const int ready = ::poll(&readable, 1, until_ms(end));
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) {
            late = true;
            ::kill(-pid, SIGKILL);
            break;
        }
        const ssize_t got = ::read(reading.get(), part.data(), part.size());
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        const std::size_t room = output_bytes_max - finished.output.size();
        finished.output.append(part.data(), std::min(room, static_cast<std::size_t>(got)));
    }
    while (::waitpid(pid, &finished.wait_status, 0) < 0 && errno == EINTR) {
    }
    if (late) {
        return tl::unexpected(command[0] + " did not end within " +
                              std::to_string(deadline.count()) + " ms");
    }
    return finished;
}

std::string read_input() {
    std::string text;
    std::array<char, 16'384> part;
    for (;;) {
        const ssize_t got = ::read(STDIN_FILENO, part.data(), part.size());
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return text;
        text.append(part.data(), static_cast<std::size_t>(got));
    }
}

}  // namespace recovery
