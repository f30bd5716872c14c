// What the records of both replica hosts have in common: one JSON file per place, in a directory
// with a lock. What else is in a record is each host's own.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <tl/expected.hpp>

#include "recovery/durable_file.hh"
#include "recovery/process.hh"
#include "recovery/replica_host.hh"

namespace recovery {

using RecordJson = nlohmann::ordered_json;

// "GROUP-SLOT-PLACE"
std::string place_name(const ReplicaName& name);

// Held by whoever gives a place to somebody, or removes what was there.
tl::expected<FileLock, std::string> lock_records(const std::filesystem::path& directory);
// All *.json, sorted; none when there is no such directory.
tl::expected<std::vector<std::filesystem::path>, std::string> record_files(
    const std::filesystem::path& directory);
// Nothing when there is no such file.
tl::expected<std::optional<std::string>, std::string> read_record_text(
    const std::filesystem::path& file);
tl::expected<void, std::string> write_record_text(const std::filesystem::path& file,
                                                  const RecordJson& json);
std::string not_a_record(const std::filesystem::path& file, const std::string& why);

RecordJson json_of(const ProcessIdentity& process);
RecordJson json_of(const ReplicaName& name);
// They throw what nlohmann throws, or an std::string; so may `read` below.
ProcessIdentity process_from(const RecordJson& json);
ReplicaName name_from(const RecordJson& json);

std::string dump(const RecordJson& json, int indent);

template <class Value, class Read>
tl::expected<Value, std::string> parsed(const std::string& text, Read&& read) {
    try {
        return read(RecordJson::parse(text));
    } catch (const RecordJson::exception& error) {
        return tl::unexpected(std::string(error.what()));
    } catch (const std::string& error) {
        return tl::unexpected(error);
    }
}

}  // namespace recovery
