#include "recovery/replica_record.hh"

#include <algorithm>
#include <system_error>

namespace recovery {
namespace {

constexpr std::size_t record_bytes_max = 64u << 10;
constexpr milliseconds lock_wait_max{5'000};

}  // namespace

std::string place_name(const ReplicaName& name) {
    return name.group + "-" + std::to_string(name.slot.value) + "-" + text(name.place);
}

tl::expected<FileLock, std::string> lock_records(const std::filesystem::path& directory) {
    return FileLock::take(directory / "lock", lock_wait_max);
}

tl::expected<std::vector<std::filesystem::path>, std::string> record_files(
    const std::filesystem::path& directory) {
    std::vector<std::filesystem::path> files;
    std::error_code error;
    for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end;
         at.increment(error)) {
        if (at->path().extension() == ".json") files.push_back(at->path());
    }
    if (error && error != std::errc::no_such_file_or_directory) {
        return tl::unexpected("cannot read " + directory.string() + ": " + error.message());
    }
    std::sort(files.begin(), files.end());
    return files;
}

tl::expected<std::optional<std::string>, std::string> read_record_text(
    const std::filesystem::path& file) {
    return read_file(file, record_bytes_max);
}

tl::expected<void, std::string> write_record_text(const std::filesystem::path& file,
                                                  const RecordJson& json) {
    return write_durably(file, dump(json, 2), 0600);
}

std::string not_a_record(const std::filesystem::path& file, const std::string& why) {
    return file.string() + " is not a replica's record (" + why +
           "); look what it is, and move it away";
}

RecordJson json_of(const ProcessIdentity& process) {
    return {{"pid", process.pid}, {"start", process.start}, {"boot", process.boot}};
}

RecordJson json_of(const ReplicaName& name) {
    return {{"group", name.group},
            {"slot", name.slot.value},
            {"place", text(name.place)},
            {"incarnation", name.incarnation.value}};
}

ProcessIdentity process_from(const RecordJson& json) {
    return {json.at("pid").get<pid_t>(), json.at("start").get<std::uint64_t>(),
            json.at("boot").get<std::string>()};
}

ReplicaName name_from(const RecordJson& json) {
    ReplicaName name;
    name.group = json.at("group").get<std::string>();
    name.slot.value = json.at("slot").get<std::uint8_t>();
    name.incarnation.value = json.at("incarnation").get<std::uint32_t>();
    const auto place = parse_place(json.at("place").get<std::string>());
    if (!place) throw std::string("place is unknown");
    name.place = *place;
    return name;
}

std::string dump(const RecordJson& json, int indent) {
    return json.dump(indent, ' ', false, RecordJson::error_handler_t::replace) + "\n";
}

}  // namespace recovery
