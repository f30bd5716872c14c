// What is known of a domain of ours outside Xen: one JSON file per place, written before the domain
// is built and removed after it is gone, so that whatever is killed when, a record leads to all
// that is ours.
//
//     STATE_DIR/domains/GROUP-SLOT-PLACE.json    this record
//     STATE_DIR/domains/GROUP-SLOT-PLACE.log     its console, which stays (.log.1: before that)
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "recovery/durable_file.hh"
#include "recovery/process.hh"
#include "recovery/replica_host.hh"
#include "recovery/replica_record.hh"
#include "xen/domain/machine.hh"
#include "xen/domain/uuid.hh"
#include "xen/domain_id.hh"

namespace xen::domain {

enum class Phase : std::uint8_t {
    building,  // nobody knows the domain's number yet
    starting,  // it boots; its health is awaited
    running,   // it was healthy
    ended,     // it ended by itself, or somebody else ended it
};
const char* text(Phase phase);

struct Record {
    recovery::ReplicaName name;
    std::string appliance;
    std::string domain_name;  // by which the proxy finds it
    Uuid uuid;
    std::optional<DomainId> domain;
    std::uint32_t memory_mb = 0;
    std::uint32_t vcpus = 0;
    recovery::ProcessIdentity owner;   // who starts it
    recovery::ProcessIdentity keeper;  // of its console; pid 0: none yet
    Phase phase = Phase::building;
    std::string detail;  // for people
};

// Of the machine's domains, the one that this record is about.
const DomainFacts* find_domain(const Record& record, const std::vector<DomainFacts>& domains);
// Does it run, or is somebody starting it? A domain that was restored or rebuilt by somebody else
// under the same UUID is not the one that was started.
bool is_alive(const Record& record, const std::vector<DomainFacts>& domains);
recovery::ReplicaFacts facts_of(const Record& record, const std::vector<DomainFacts>& domains);

struct Paths {
    std::filesystem::path domains;  // STATE_DIR/domains

    std::filesystem::path record(const recovery::ReplicaName& name) const;
    std::filesystem::path log(const recovery::ReplicaName& name) const;
};

// nullopt: there is none. A file that is not a record is an error, never removed or guessed at.
tl::expected<std::optional<Record>, std::string> read_record(const std::filesystem::path& file);
tl::expected<void, std::string> write_record(const std::filesystem::path& file,
                                             const Record& record);
tl::expected<std::vector<Record>, std::string> read_records(const Paths& paths);

// Reads, changes and writes a record under the lock, if it still is about this UUID. False: it is
// not, or there is none; nothing was written.
template <class Change>
tl::expected<bool, std::string> change_record(const std::filesystem::path& file, const Uuid& uuid,
                                              Change&& change) {
    const auto lock = recovery::lock_records(file.parent_path());
    if (!lock) return tl::unexpected(lock.error());
    auto record = read_record(file);
    if (!record) return tl::unexpected(record.error());
    if (!*record || (*record)->uuid != uuid) return false;
    change(**record);
    if (auto done = write_record(file, **record); !done) return tl::unexpected(done.error());
    return true;
}

// Under the lock, if it still is about this UUID.
tl::expected<void, std::string> remove_record(const std::filesystem::path& file, const Uuid& uuid);

}  // namespace xen::domain
