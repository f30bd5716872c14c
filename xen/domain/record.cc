#include "xen/domain/record.hh"

#include <algorithm>
#include <array>
#include <system_error>

namespace xen::domain {
namespace {

using Json = recovery::RecordJson;
using recovery::json_of;
using recovery::process_from;

constexpr std::array<std::pair<Phase, const char*>, 4> phases{{
    {Phase::building, "building"},
    {Phase::starting, "starting"},
    {Phase::running, "running"},
    {Phase::ended, "ended"},
}};

Json json_of(const Record& record) {
    Json json = json_of(record.name);
    json.update({{"phase", text(record.phase)},
                 {"detail", record.detail},
                 {"appliance", record.appliance},
                 {"domain_name", record.domain_name},
                 {"uuid", record.uuid.text()},
                 {"domain", record.domain ? Json(record.domain->value) : Json()},
                 {"memory_mb", record.memory_mb},
                 {"vcpus", record.vcpus},
                 {"owner", json_of(record.owner)},
                 {"keeper", json_of(record.keeper)}});
    return json;
}

// Throws what nlohmann throws, or an std::string.
Record record_from(const Json& json) {
    Record record;
    record.name = recovery::name_from(json);
    record.phase = recovery::phase_from(json, phases);
    record.detail = json.at("detail").get<std::string>();
    record.appliance = json.at("appliance").get<std::string>();
    record.domain_name = json.at("domain_name").get<std::string>();
    const auto uuid = parse_uuid(json.at("uuid").get<std::string>());
    if (!uuid) throw std::string("uuid is none");
    record.uuid = *uuid;
    if (!json.at("domain").is_null()) {
        record.domain = DomainId{json.at("domain").get<std::uint16_t>()};
    }
    record.memory_mb = json.at("memory_mb").get<std::uint32_t>();
    record.vcpus = json.at("vcpus").get<std::uint32_t>();
    record.owner = process_from(json.at("owner"));
    record.keeper = process_from(json.at("keeper"));
    return record;
}

bool is_the_started_one(const Record& record, const DomainFacts& domain) {
    return !record.domain || domain.id == *record.domain;
}

std::string usage_text(const DomainFacts& domain) {
    return "domain " + std::to_string(domain.id.value) + ", " +
           std::to_string(domain.memory_kb / 1'024) + " MB, " +
           std::to_string(domain.cpu_ns / 1'000'000'000) + " s of CPU";
}

}  // namespace

const char* text(Phase phase) { return phases[static_cast<std::size_t>(phase)].second; }

const DomainFacts* find_domain(const Record& record, const std::vector<DomainFacts>& domains) {
    const auto found = std::find_if(domains.begin(), domains.end(), [&](const DomainFacts& domain) {
        return domain.uuid == record.uuid;
    });
    return found == domains.end() ? nullptr : &*found;
}

bool is_alive(const Record& record, const std::vector<DomainFacts>& domains) {
    if (record.phase == Phase::ended) return false;
    if (record.phase != Phase::running) return recovery::is_alive(record.owner);
    const DomainFacts* domain = find_domain(record, domains);
    return domain != nullptr && domain->lives() && is_the_started_one(record, *domain);
}

recovery::ReplicaFacts facts_of(const Record& record, const std::vector<DomainFacts>& domains) {
    recovery::ReplicaFacts facts;
    facts.name = record.name;
    facts.pid = record.domain ? record.domain->value : 0;
    facts.port = "netback:" + record.domain_name;
    const DomainFacts* domain = find_domain(record, domains);
    facts.running = record.phase == Phase::running && is_alive(record, domains);
    if (facts.running) {
        facts.detail =
            (domain->paused ? "paused; " : "") + record.detail + "; " + usage_text(*domain);
    } else if (record.phase == Phase::ended) {
        facts.detail = record.detail;
    } else if (record.phase != Phase::running) {
        facts.detail =
            is_alive(record, domains)
                ? std::string(text(record.phase))
                : std::string("whoever started it was killed while it was ") + text(record.phase);
    } else if (domain == nullptr || domain->state == State::dying) {
        facts.detail = "its domain is gone; it was " + record.detail;
    } else if (!is_the_started_one(record, *domain)) {
        facts.detail = "its domain was replaced by domain " + std::to_string(domain->id.value) +
                       ", which is not ours";
    } else {
        facts.detail = std::string(text(domain->state)) + "; it was " + record.detail;
    }
    return facts;
}

std::filesystem::path Paths::record(const recovery::ReplicaName& name) const {
    return domains / (recovery::place_name(name) + ".json");
}

std::filesystem::path Paths::log(const recovery::ReplicaName& name) const {
    return domains / (recovery::place_name(name) + ".log");
}

tl::expected<std::optional<Record>, std::string> read_record(const std::filesystem::path& file) {
    return recovery::read_record(file, record_from);
}

tl::expected<void, std::string> write_record(const std::filesystem::path& file,
                                             const Record& record) {
    return recovery::write_record_text(file, json_of(record));
}

tl::expected<std::vector<Record>, std::string> read_records(const Paths& paths) {
    return recovery::read_records(paths.domains, record_from);
}

tl::expected<void, std::string> remove_record(const std::filesystem::path& file, const Uuid& uuid) {
    const auto lock = recovery::lock_records(file.parent_path());
    if (!lock) return tl::unexpected(lock.error());
    const auto record = read_record(file);
    if (!record) return tl::unexpected(record.error());
    if (!*record || (*record)->uuid != uuid) return {};
    std::error_code error;
    std::filesystem::remove(recovery::temporary_of(file), error);
    std::filesystem::remove(file, error);
    if (error) return tl::unexpected("cannot remove " + file.string() + ": " + error.message());
    return {};
}

}  // namespace xen::domain
