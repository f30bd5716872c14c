#include "netns/record.hh"

#include <array>
#include <csignal>
#include <system_error>

#include "netns/link.hh"
#include "recovery/durable_file.hh"
#include "recovery/replica_record.hh"

namespace netns {
namespace {

using Json = recovery::RecordJson;
using recovery::dump;
using recovery::json_of;
using recovery::parsed;
using recovery::process_from;

constexpr milliseconds namespace_end_deadline{5'000};

constexpr std::array<std::pair<Phase, const char*>, 5> phases{{
    {Phase::preparing, "preparing"},
    {Phase::starting, "starting"},
    {Phase::running, "running"},
    {Phase::paused, "paused"},
    {Phase::ended, "ended"},
}};

Json json_of(const Record& record) {
    Json json = json_of(record.name);
    json.update({{"phase", text(record.phase)},
                 {"detail", record.detail},
                 {"appliance", record.appliance},
                 {"interface", record.interface},
                 {"owner", json_of(record.owner)},
                 {"inside", json_of(record.inside)}});
    return json;
}

// Throws what nlohmann throws, or an std::string.
Record record_from(const Json& json) {
    Record record;
    record.name = recovery::name_from(json);
    record.phase = recovery::phase_from(json, phases);
    record.detail = json.at("detail").get<std::string>();
    record.appliance = json.at("appliance").get<std::string>();
    record.interface = json.at("interface").get<std::string>();
    record.owner = process_from(json.at("owner"));
    record.inside = process_from(json.at("inside"));
    return record;
}

}  // namespace

const char* text(Phase phase) { return phases[static_cast<std::size_t>(phase)].second; }

recovery::ReplicaFacts Record::facts() const {
    recovery::ReplicaFacts facts;
    facts.name = name;
    facts.running = alive() && (phase == Phase::running || phase == Phase::paused);
    facts.pid = owner.pid;
    facts.port = "veth:" + interface;
    facts.detail = detail;
    if (phase == Phase::paused) facts.detail = "paused; " + detail;
    if (phase != Phase::ended && !is_alive(owner)) {
        facts.detail = "its supervisor (process " + std::to_string(owner.pid) +
                       ") was killed while it was " + text(phase);
    }
    return facts;
}

std::filesystem::path Paths::record(const recovery::ReplicaName& name) const {
    return replicas / (recovery::place_name(name) + ".json");
}

std::filesystem::path Paths::directory(const recovery::ReplicaName& name) const {
    return replicas / recovery::place_name(name);
}

std::filesystem::path Paths::log(const recovery::ReplicaName& name) const {
    return replicas / (recovery::place_name(name) + ".log");
}

tl::expected<std::optional<Record>, std::string> read_record(const std::filesystem::path& file) {
    return recovery::read_record(file, record_from);
}

tl::expected<void, std::string> write_record(const std::filesystem::path& file,
                                             const Record& record) {
    return recovery::write_record_text(file, json_of(record));
}

tl::expected<void, std::string> take_over(const std::filesystem::path& file, Record& record,
                                          const ProcessIdentity& self) {
    const auto lock = recovery::lock_records(file.parent_path());
    if (!lock) return tl::unexpected(lock.error());
    const auto now = read_record(file);
    if (!now) return tl::unexpected(now.error());
    if (!*now || (*now)->phase != Phase::preparing || (*now)->owner != record.owner ||
        (*now)->name.incarnation != record.name.incarnation) {
        return tl::unexpected(std::string("its place was cleaned up or given away meanwhile"));
    }
    record.owner = self;
    record.phase = Phase::starting;
    return write_record(file, record);
}

tl::expected<std::vector<Record>, std::string> read_records(const Paths& paths) {
    return recovery::read_records(paths.replicas, record_from);
}

tl::expected<void, std::string> remove_remains(const std::filesystem::path& record_file,
                                               const Record& record) {
    if (record.inside.pid != 0 && !wait_for_end(record.inside, namespace_end_deadline)) {
        // Its supervisor is gone, and it should be: this is the end it was promised.
        send_signal(record.inside, SIGKILL);
        if (!wait_for_end(record.inside, namespace_end_deadline)) {
            return tl::unexpected("process " + std::to_string(record.inside.pid) +
                                  " of the replica does not end even when killed");
        }
    }
    if (auto done = remove_link(record.interface, link_tag(record.appliance)); !done) {
        return tl::unexpected(done.error());
    }
    // Derived, not read: a record can have no other directory removed than the one beside it.
    const std::filesystem::path directory = record_file.parent_path() / record_file.stem();
    std::error_code error;
    std::filesystem::remove_all(directory, error);
    if (error) {
        return tl::unexpected("cannot remove " + directory.string() + ": " + error.message());
    }
    // Of one who was killed while writing the record.
    std::filesystem::remove(recovery::temporary_of(record_file), error);
    std::filesystem::remove(record_file, error);
    if (error) {
        return tl::unexpected("cannot remove " + record_file.string() + ": " + error.message());
    }
    return {};
}

std::string to_text(const Spec& spec) {
    return dump({{"record", json_of(spec.record)},
                 {"record_file", spec.record_file},
                 {"directory", spec.directory},
                 {"log_file", spec.log_file},
                 {"command", spec.command},
                 {"health", spec.health},
                 {"environment", spec.environment},
                 {"cpus", spec.cpus},
                 {"user", spec.user},
                 {"addresses", spec.addresses},
                 {"health_timeout_ms", spec.health_timeout_ms}},
                -1);
}

tl::expected<Spec, std::string> parse_spec(const std::string& text) {
    return parsed<Spec>(text, [](const Json& json) {
        Spec spec;
        spec.record = record_from(json.at("record"));
        json.at("record_file").get_to(spec.record_file);
        json.at("directory").get_to(spec.directory);
        json.at("log_file").get_to(spec.log_file);
        json.at("command").get_to(spec.command);
        json.at("health").get_to(spec.health);
        json.at("environment").get_to(spec.environment);
        json.at("cpus").get_to(spec.cpus);
        json.at("user").get_to(spec.user);
        json.at("addresses").get_to(spec.addresses);
        json.at("health_timeout_ms").get_to(spec.health_timeout_ms);
        if (spec.command.empty()) throw std::string("command is empty");
        return spec;
    });
}

}  // namespace netns
