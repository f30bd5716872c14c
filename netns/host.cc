#include "netns/host.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <set>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "netns/files.hh"
#include "netns/link.hh"
#include "netns/process.hh"
#include "netns/supervisor.hh"
#include "recovery/replica_record.hh"

extern char** environ;

namespace netns {
namespace {

constexpr milliseconds stop_deadline{10'000};  // for a supervisor to end all and itself
constexpr milliseconds start_margin{15'000};   // on top of the health timeout
constexpr milliseconds phase_deadline{5'000};
constexpr int phase_pause_ms = 2;

using recovery::HostError;
using recovery::ReplicaName;

std::string who(const ReplicaName& name) {
    return name.group + "/" + std::to_string(name.slot.value) + " place " +
           recovery::text(name.place);
}

tl::unexpected<HostError> host_error(const ReplicaName& name, const std::string& what) {
    return tl::unexpected(HostError{"replica " + who(name) + ": " + what});
}

// Writes all of it to a pipe whose reader may have gone; the reader's silence tells more.
void write_whole(int descriptor, const std::string& text) {
    std::size_t at = 0;
    while (at < text.size()) {
        const ssize_t written = ::write(descriptor, text.data() + at, text.size() - at);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return;
        at += static_cast<std::size_t>(written);
    }
}

// Until the other side closes. nullopt: it did not before the deadline.
std::optional<std::string> read_until_closed(int descriptor, milliseconds deadline) {
    const auto end = std::chrono::steady_clock::now() + deadline;
    std::string text;
    std::array<char, 4'096> part;
    for (;;) {
        const auto left =
            std::chrono::ceil<milliseconds>(end - std::chrono::steady_clock::now()).count();
        if (left <= 0) return {};
        pollfd ready{descriptor, POLLIN, 0};
        if (::poll(&ready, 1, static_cast<int>(left)) <= 0) continue;
        const ssize_t got = ::read(descriptor, part.data(), part.size());
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return text;
        text.append(part.data(), static_cast<std::size_t>(got));
    }
}

}  // namespace

Host::Host(const config::Config& config, std::vector<std::string> supervisor)
    : config_(config), supervisor_(std::move(supervisor)) {
    if (supervisor_.empty()) supervisor_ = {"quorate", supervisor_subcommand};
    std::error_code ignored;
    paths_.replicas = std::filesystem::absolute(config.state_dir, ignored) / "replicas";
}

std::filesystem::path Host::directory(const ReplicaName& name) const {
    return paths_.directory(name);
}

std::filesystem::path Host::log(const ReplicaName& name) const { return paths_.log(name); }

tl::expected<Spec, std::string> Host::specification(const ReplicaName& name) const {
    const auto index = config_.group_index(name.group);
    if (!index) return tl::unexpected("the configuration has no group " + name.group);
    const config::Group& group = config_.groups[*index];
    if (name.slot.value >= group.replicas.size()) {
        return tl::unexpected(std::string("the configuration has no such slot"));
    }
    const auto& replica = group.replicas[name.slot.value].netns;
    if (!replica) {
        return tl::unexpected(
            std::string("it has no [group.replica.netns]: it is run by somebody else"));
    }
    Spec spec;
    spec.record.name = name;
    spec.record.appliance = config_.name;
    spec.record.interface =
        config::place_interface(config_, *index, name.slot, name.place == recovery::Place::b);
    const auto self = identify(::getpid());
    if (!self) return tl::unexpected(std::string("cannot read /proc"));
    spec.record.owner = *self;
    const std::filesystem::path directory = paths_.directory(name);
    spec.record_file = paths_.record(name).native();
    spec.directory = directory.native();
    spec.log_file = paths_.log(name).native();
    for (const auto& word : replica->command) {
        spec.command.push_back(with_directory(word, directory));
    }
    for (const auto& word : replica->health) {
        spec.health.push_back(with_directory(word, directory));
    }
    for (const auto& [key, value] : replica->environment) {
        spec.environment[key] = with_directory(value, directory);
    }
    spec.cpus = replica->cpus;
    spec.user = replica->user;
    spec.health_timeout_ms = replica->health_timeout_ms;
    std::set<wire::IpAddress> addresses;
    for (const config::Service& service : config_.services) {
        if (service.group != name.group) continue;
        addresses.insert(service.addresses.begin(), service.addresses.end());
    }
    for (const auto& address : addresses) spec.addresses.push_back(address.text());
    return spec;
}

// Makes the place ours: a record that says so, where there was none or only remains.
tl::expected<void, std::string> Host::claim(const Record& record) {
    std::error_code error;
    std::filesystem::create_directories(paths_.replicas, error);
    if (error) {
        return tl::unexpected("cannot make " + paths_.replicas.string() + ": " + error.message() +
                              "; set state_dir to a directory you may write to");
    }
    const auto lock = recovery::lock_records(paths_.replicas);
    if (!lock) return tl::unexpected(lock.error());
    const auto file = paths_.record(record.name);
    const auto before = read_record(file);
    if (!before) return tl::unexpected(before.error());
    if (*before && (*before)->alive()) {
        return tl::unexpected("incarnation " + std::to_string((*before)->name.incarnation.value) +
                              " is there already (process " + std::to_string((*before)->owner.pid) +
                              ", " + text((*before)->phase) + "); stop it first");
    }
    if (*before) {
        if (auto removed = remove_remains(file, **before); !removed) return removed;
    }
    return write_record(file, record);
}

// Starts the supervisor and waits until it says how the start went.
tl::expected<void, std::string> Host::supervise(const Spec& spec) {
    int input[2];
    int status[2];
    if (::pipe2(input, O_CLOEXEC) != 0) return tl::unexpected(with_cause("cannot make a pipe"));
    Descriptor specification_read(input[0]);
    Descriptor specification_write(input[1]);
    if (::pipe2(status, O_CLOEXEC) != 0) return tl::unexpected(with_cause("cannot make a pipe"));
    const Descriptor status_read(status[0]);
    Descriptor status_write(status[1]);

    std::vector<std::string> command = supervisor_;
    command.push_back(
        recovery::place_name(spec.record.name));  // for whoever looks at the processes
    std::vector<char*> arguments;
    for (std::string& word : command) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_adddup2(&files, specification_read.get(), 0);
    ::posix_spawn_file_actions_adddup2(&files, status_write.get(), status_descriptor);
    pid_t pid = 0;
    const int error =
        ::posix_spawn(&pid, "/proc/self/exe", &files, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&files);
    if (error != 0) {
        return tl::unexpected("cannot start its supervisor: " + std::string(std::strerror(error)));
    }
    specification_read.reset();
    status_write.reset();
    write_whole(specification_write.get(), to_text(spec));
    specification_write.reset();
    int launched = 0;
    while (::waitpid(pid, &launched, 0) < 0 && errno == EINTR) {
    }

    const auto text =
        read_until_closed(status_read.get(), milliseconds(spec.health_timeout_ms) + start_margin);
    if (!text) return tl::unexpected(std::string("its supervisor does not answer"));
    if (!text->empty()) return tl::unexpected(*text);
    const auto record = read_record(spec.record_file);
    if (!record) return tl::unexpected(record.error());
    if (!*record || (*record)->phase == Phase::starting || (*record)->phase == Phase::preparing) {
        return tl::unexpected(std::string("its supervisor was killed"));
    }
    return {};
}

Host::Result<recovery::ReplicaFacts> Host::start(const ReplicaName& name) {
    auto spec = specification(name);
    if (!spec) return host_error(name, spec.error());
    if (auto done = claim(spec->record); !done) return host_error(name, done.error());
    const auto& replica = config_.group(name.group)->replicas[name.slot.value].netns;
    auto done = write_files(*replica, spec->directory);
    if (done) done = supervise(*spec);
    if (!done) {
        // A supervisor that failed has cleaned up; one that was killed, or never came, has not.
        const auto record = read_record(spec->record_file);
        if (record && *record && (*record)->name.incarnation == name.incarnation) {
            if (auto ended = end(**record); !ended) {
                return host_error(name, done.error() + "; and " + ended.error());
            }
        }
        return host_error(name, done.error());
    }
    const auto record = read_record(spec->record_file);
    if (!record) return host_error(name, record.error());
    if (!*record) return host_error(name, "it was stopped at once");
    return (*record)->facts();
}

// Ends the supervisor, if it lives, and removes what is left.
tl::expected<void, std::string> Host::end(const Record& record) {
    const bool supervised = record.phase != Phase::preparing;
    if (!supervised && record.owner.pid != ::getpid() && is_alive(record.owner)) {
        return tl::unexpected("process " + std::to_string(record.owner.pid) +
                              " is just starting it; try again");
    }
    if (supervised && record.alive()) {
        send_signal(record.owner, SIGTERM);
        if (!wait_for_end(record.owner, stop_deadline)) {
            send_signal(record.owner, SIGKILL);
            wait_for_end(record.owner, stop_deadline);
        }
    }
    // One whose service has ended by itself is about to end, too.
    if (record.phase == Phase::ended) wait_for_end(record.owner, stop_deadline);
    const auto lock = recovery::lock_records(paths_.replicas);
    if (!lock) return tl::unexpected(lock.error());
    const auto file = paths_.record(record.name);
    const auto left = read_record(file);
    if (!left) return tl::unexpected(left.error());
    if (!*left || (*left)->name.incarnation != record.name.incarnation) return {};
    return remove_remains(file, **left);
}

Host::Result<void> Host::stop(const ReplicaName& name) {
    const auto record = read_record(paths_.record(name));
    if (!record) return host_error(name, record.error());
    if (!*record || (*record)->name.incarnation != name.incarnation) return {};
    if (auto done = end(**record); !done) return host_error(name, done.error());
    return {};
}

Host::Result<void> Host::change_phase(const ReplicaName& name, int signal, Phase wanted) {
    const auto until = std::chrono::steady_clock::now() + phase_deadline;
    bool told = false;
    for (;;) {
        const auto record = read_record(paths_.record(name));
        if (!record) return host_error(name, record.error());
        if (!*record || (*record)->name.incarnation != name.incarnation || !(*record)->alive()) {
            return host_error(name, "it does not run");
        }
        const Phase phase = (*record)->phase;
        if (phase == wanted) return {};
        if (phase != Phase::running && phase != Phase::paused) {
            return host_error(name, std::string("it is still ") + text(phase));
        }
        if (!told) told = send_signal((*record)->owner, signal);
        if (std::chrono::steady_clock::now() > until) {
            return host_error(name, "its supervisor does not answer");
        }
        ::poll(nullptr, 0, phase_pause_ms);
    }
}

Host::Result<void> Host::pause(const ReplicaName& name) {
    return change_phase(name, SIGUSR1, Phase::paused);
}

Host::Result<void> Host::resume(const ReplicaName& name) {
    return change_phase(name, SIGUSR2, Phase::running);
}

Host::Result<std::vector<recovery::ReplicaFacts>> Host::inspect() {
    const auto records = read_records(paths_);
    if (!records) return tl::unexpected(HostError{records.error()});
    std::vector<recovery::ReplicaFacts> facts;
    for (const Record& record : *records) facts.push_back(record.facts());
    return facts;
}

// Of those who were killed while claiming a place: nothing else of theirs was there yet.
tl::expected<void, std::string> Host::remove_unfinished_records() {
    std::error_code error;
    if (!std::filesystem::exists(paths_.replicas, error)) return {};
    const auto lock = recovery::lock_records(paths_.replicas);
    if (!lock) return tl::unexpected(lock.error());
    std::vector<std::filesystem::path> unfinished;
    for (const auto& file : std::filesystem::directory_iterator(paths_.replicas, error)) {
        std::filesystem::path record = file.path();
        if (record.extension() != ".tmp") continue;
        record.replace_extension();
        if (record.extension() == ".json" && !std::filesystem::exists(record, error)) {
            unfinished.push_back(file.path());
        }
    }
    for (const auto& file : unfinished) std::filesystem::remove(file, error);
    return {};
}

Host::Result<unsigned> Host::clean() {
    const auto records = read_records(paths_);
    if (!records) return tl::unexpected(HostError{records.error()});
    unsigned removed = 0;
    std::set<std::string> in_use;
    for (const Record& record : *records) {
        if (record.alive()) {
            in_use.insert(record.interface);
            continue;
        }
        if (auto done = end(record); !done) return host_error(record.name, done.error());
        ++removed;
    }
    if (auto done = remove_unfinished_records(); !done) {
        return tl::unexpected(HostError{done.error()});
    }
    // A link outlives its record only if somebody removed that; its tag still says whose it is.
    const std::string tag = link_tag(config_.name);
    const auto links = links_tagged(tag);
    if (!links) return tl::unexpected(HostError{links.error()});
    for (const std::string& link : *links) {
        if (in_use.contains(link)) continue;
        auto done = remove_link(link, tag);
        if (!done) return tl::unexpected(HostError{done.error()});
        removed += *done ? 1 : 0;
    }
    return removed;
}

}  // namespace netns
