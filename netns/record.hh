// What is known of a replica outside its supervisor: one JSON file per place, written before
// anything is made that would have to be removed, and removed last. So whatever is killed when, a
// record leads to all that is ours.
//
//     STATE_DIR/replicas/GROUP-SLOT-PLACE.json    this record
//     STATE_DIR/replicas/GROUP-SLOT-PLACE/        the replica's own directory
//     STATE_DIR/replicas/GROUP-SLOT-PLACE.log     its output, which stays (.log.1: before that)
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "netns/process.hh"
#include "recovery/durable_file.hh"
#include "recovery/replica_host.hh"

namespace netns {

enum class Phase : std::uint8_t {
    preparing,  // its files are being written; no supervisor yet
    starting,   // its supervisor runs, its health check has not succeeded
    running,
    paused,
    ended,  // the service ended by itself; nothing but files is left
};
const char* text(Phase phase);

struct Record {
    recovery::ReplicaName name;
    std::string appliance;   // its tag is on the interface
    std::string interface;   // the link's outer end
    ProcessIdentity owner;   // the supervisor; while preparing, who prepares
    ProcessIdentity inside;  // process 1 of its namespaces; pid 0: not yet
    Phase phase = Phase::preparing;
    std::string detail;  // for people

    bool alive() const { return phase != Phase::ended && is_alive(owner); }
    recovery::ReplicaFacts facts() const;
};

struct Paths {
    std::filesystem::path replicas;  // STATE_DIR/replicas

    std::filesystem::path record(const recovery::ReplicaName& name) const;
    std::filesystem::path directory(const recovery::ReplicaName& name) const;
    std::filesystem::path log(const recovery::ReplicaName& name) const;
};

// nullopt: there is none. A file that is not a record is an error, never removed or guessed at.
tl::expected<std::optional<Record>, std::string> read_record(const std::filesystem::path& file);
tl::expected<void, std::string> write_record(const std::filesystem::path& file,
                                             const Record& record);
// Makes `self` the owner of a place that is still being prepared as `record` says, and `record`
// what is then written. An error where somebody has cleaned up meanwhile, or taken the place.
tl::expected<void, std::string> take_over(const std::filesystem::path& file, Record& record,
                                          const ProcessIdentity& self);
// All of them; none when there is no such directory.
tl::expected<std::vector<Record>, std::string> read_records(const Paths& paths);

// Once nobody who belongs to it is alive: removes the link, the directory and the record. The log
// stays. Waits for the namespaces to end where their supervisor was killed just now.
tl::expected<void, std::string> remove_remains(const std::filesystem::path& record_file,
                                               const Record& record);

// What a supervisor is told, through its standard input.
struct Spec {
    Record record;
    std::string record_file;
    std::string directory;
    std::string log_file;
    std::vector<std::string> command;  // {dir} replaced, here and below
    std::vector<std::string> health;   // empty: healthy as soon as it runs
    std::map<std::string, std::string> environment;
    std::vector<unsigned> cpus;
    std::string user;  // empty: as we are
    std::vector<std::string> addresses;
    std::uint32_t health_timeout_ms = 0;
};
std::string to_text(const Spec& spec);
tl::expected<Spec, std::string> parse_spec(const std::string& text);

}  // namespace netns
