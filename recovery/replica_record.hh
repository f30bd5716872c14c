// What the records of both replica hosts have in common: one JSON file per place, in a directory
// with a lock. What else is in a record is each host's own.
#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
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
tl::expected<void, std::string> write_record_text(const std::filesystem::path& file,
                                                  const RecordJson& json);

RecordJson json_of(const ProcessIdentity& process);
RecordJson json_of(const ReplicaName& name);
// They throw what nlohmann throws, or an std::string; so may `read` below.
ProcessIdentity process_from(const RecordJson& json);
ReplicaName name_from(const RecordJson& json);

template <class Phase, std::size_t count>
Phase phase_from(const RecordJson& json,
                 const std::array<std::pair<Phase, const char*>, count>& phases) {
    const std::string name = json.at("phase").get<std::string>();
    const auto known = std::find_if(phases.begin(), phases.end(),
                                    [&](const auto& phase) { return phase.second == name; });
    if (known == phases.end()) throw std::string("phase is unknown");
    return known->first;
}

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

// Nothing when there is no such file.
tl::expected<std::optional<std::string>, std::string> read_record_text(
    const std::filesystem::path& file);
std::string not_a_record(const std::filesystem::path& file, const std::string& why);

// What `read` makes of a file; nothing when there is none.
template <class Read, class Record = std::invoke_result_t<Read, const RecordJson&>>
tl::expected<std::optional<Record>, std::string> read_record(const std::filesystem::path& file,
                                                             Read&& read) {
    const auto content = read_record_text(file);
    if (!content) return tl::unexpected(content.error());
    if (!*content) return std::nullopt;
    auto record = parsed<Record>(**content, read);
    if (!record) return tl::unexpected(not_a_record(file, record.error()));
    return std::move(*record);
}

// Of all record_files(), with the same.
template <class Read, class Record = std::invoke_result_t<Read, const RecordJson&>>
tl::expected<std::vector<Record>, std::string> read_records(const std::filesystem::path& directory,
                                                            Read&& read) {
    const auto files = record_files(directory);
    if (!files) return tl::unexpected(files.error());
    std::vector<Record> records;
    for (const auto& file : *files) {
        auto record = read_record(file, read);
        if (!record) return tl::unexpected(record.error());
        if (*record) records.push_back(std::move(**record));  // it may have gone meanwhile
    }
    return records;
}

}  // namespace recovery
