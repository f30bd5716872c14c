// Processes of ours: told apart from strangers that got the same number later, ended, and run to
// their end with a deadline.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>
#include <tl/expected.hpp>

namespace recovery {

using std::chrono::milliseconds;

// A descriptor with one owner.
class Descriptor {
  public:
    Descriptor() = default;
    explicit Descriptor(int value) : value_(value) {}
    Descriptor(Descriptor&& other) noexcept : value_(other.release()) {}
    Descriptor& operator=(Descriptor&& other) noexcept;
    ~Descriptor() { reset(); }
    int get() const { return value_; }
    int release();
    void reset();

  private:
    int value_ = -1;
};

// "WHAT: cause of errno"
std::string with_cause(const std::string& what);

// A process, for as long as it lives: its number, and when it started, since numbers come again.
// Known limit: a process of another PID namespace than the caller's is taken for gone.
struct ProcessIdentity {
    pid_t pid = 0;            // 0: none
    std::uint64_t start = 0;  // clock ticks since the boot: field 22 of /proc/PID/stat
    std::string boot;         // /proc/sys/kernel/random/boot_id

    bool operator==(const ProcessIdentity&) const = default;
};

// nullopt: there is no such process, or it is dead and only waited for.
std::optional<ProcessIdentity> identify(pid_t pid);
bool is_alive(const ProcessIdentity& process);

// Sends a signal to exactly this process. False: it is gone.
bool send_signal(const ProcessIdentity& process, int signal);
// True: it ended (or was gone already) before the deadline.
bool wait_for_end(const ProcessIdentity& process, milliseconds deadline);

// "exited with status 3", "was killed by signal 9 (Killed)"
std::string describe_end(int wait_status);

struct Finished {
    int wait_status = 0;
    std::string output;  // both streams, at most 64 KiB
    bool succeeded() const { return wait_status == 0; }
};

struct Running {
    std::string program;  // what is executed; empty: the command's first word
    std::string input;    // what it reads
};

// Runs a program from the PATH, in a process group of its own and with signals as they are by
// default, and kills the group at the deadline. The caller must not reap children behind its back.
tl::expected<Finished, std::string> run(const std::vector<std::string>& command,
                                        milliseconds deadline, const Running& how = {});

// The other end of Running::input: standard input, to its end.
std::string read_input();

}  // namespace recovery
