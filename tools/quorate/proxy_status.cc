#include "tools/quorate/proxy_status.hh"

#include <algorithm>
#include <cmath>

#include "tools/quorate/styled_text.hh"

namespace quorate {

namespace {

using nlohmann::json;

const json& member(const json& object, const char* key) {
    static const json nothing;
    if (!object.is_object()) return nothing;
    const auto found = object.find(key);
    return found == object.end() ? nothing : *found;
}

std::optional<double> number(const json& object, const char* key) {
    const json& value = member(object, key);
    if (!value.is_number()) return std::nullopt;
    const double found = value.get<double>();
    return std::isfinite(found) ? std::optional(found) : std::nullopt;
}

// A whole number, not negative.
Count natural(const json& value) {
    if (value.is_number_unsigned()) return value.get<std::uint64_t>();
    if (!value.is_number_integer() || value.get<std::int64_t>() < 0) return std::nullopt;
    return static_cast<std::uint64_t>(value.get<std::int64_t>());
}

Count count(const json& object, const char* key) {
    if (const Count whole = natural(member(object, key))) return whole;
    const auto found = number(object, key);
    if (!found || *found < 0 || *found > 1e18) return std::nullopt;
    return static_cast<std::uint64_t>(*found);
}

std::string text(const json& object, const char* key) {
    const json& value = member(object, key);
    return value.is_string() ? printable(value.get<std::string>()) : std::string();
}

bool flag(const json& object, const char* key) {
    const json& value = member(object, key);
    return value.is_boolean() && value.get<bool>();
}

// Counters of a group that have a place of their own on the page.
bool is_known(const std::string& key) {
    static constexpr const char* known[] = {"requests", "agreed", "split",  "expired",
                                            "quorum",   "f",      "masking"};
    return std::find(std::begin(known), std::end(known), key) != std::end(known);
}

// A scalar as it is shown; empty: not a scalar.
std::string scalar_text(const json& value) {
    if (value.is_string()) return printable(value.get<std::string>());
    if (const Count whole = natural(value)) return grouped(*whole);
    if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
    return value.is_number() ? value.dump() : std::string();
}

ReplicaStatus read_replica(const json& object) {
    ReplicaStatus replica;
    replica.slot = count(object, "slot");
    replica.name = text(object, "name");
    replica.incarnation = count(object, "incarnation");
    replica.standing = text(object, "standing");
    replica.place = text(object, "place");
    replica.port = text(object, "port");
    replica.reason = text(object, "reason");
    replica.replies = count(object, "replies");
    replica.dissent = count(object, "dissent");
    replica.silence = count(object, "silence");
    replica.skipped = count(object, "skipped");
    replica.suspect = flag(object, "suspect");
    replica.connected = !member(object, "connected").is_boolean() || flag(object, "connected");
    return replica;
}

GroupStatus read_group(const json& object) {
    GroupStatus group;
    group.name = text(object, "name");
    group.state = text(object, "state");
    group.mode = text(object, "mode");
    group.quorum = count(object, "quorum");
    group.f = count(object, "f");
    if (const auto masking = number(object, "masking"); masking && std::abs(*masking) < 1e6) {
        group.masking = static_cast<std::int64_t>(*masking);
    }
    group.halted = flag(object, "halted");
    group.requests = count(object, "requests");
    group.agreed = count(object, "agreed");
    group.split = count(object, "split");
    group.expired = count(object, "expired");
    const json& latency = member(object, "latency_us");
    if (count(latency, "samples") != Count(0)) {
        group.p50_us = number(latency, "p50");
        group.p99_us = number(latency, "p99");
        group.max_us = number(latency, "max");
    }
    if (object.is_object()) {
        for (const auto& [key, value] : object.items()) {
            const Count whole = natural(value);
            if (whole && !is_known(key)) group.others.emplace_back(printable(key), *whole);
        }
    }
    const json& log = member(object, "log");
    if (log.is_object()) {
        for (const auto& [key, value] : log.items()) {
            std::string shown = scalar_text(value);
            if (!shown.empty()) group.log.emplace_back(printable(key), std::move(shown));
        }
    }
    const json& kinds = member(object, "nondeterministic_kinds");
    if (kinds.is_array()) {
        for (const json& kind : kinds) {
            const Count code = natural(kind);  // bit fields
            std::string shown = code ? hexadecimal(*code) : scalar_text(kind);
            if (!shown.empty()) group.nondeterministic_kinds.push_back(std::move(shown));
        }
    }
    const json& replicas = member(object, "replicas");
    if (replicas.is_array()) {
        for (const json& replica : replicas) group.replicas.push_back(read_replica(replica));
    }
    return group;
}

}  // namespace

std::size_t GroupStatus::admitted() const {
    return static_cast<std::size_t>(
        std::count_if(replicas.begin(), replicas.end(),
                      [](const ReplicaStatus& replica) { return replica.standing == "admitted"; }));
}

bool GroupStatus::has_quorum() const {
    return !quorum || replicas.empty() || admitted() >= *quorum;
}

bool GroupStatus::answers() const { return !halted && (has_quorum() || mode == "observe"); }

bool ProxyStatus::healthy() const {
    return balanced.value_or(true) &&
           std::all_of(groups.begin(), groups.end(),
                       [](const GroupStatus& group) { return group.answers(); });
}

ProxyStatus read_status(const json& object) {
    ProxyStatus status;
    status.name = text(object, "name");
    status.mode = text(object, "mode");
    status.pid = count(object, "pid");
    status.uptime_s = count(object, "uptime_s");
    status.epoch = count(object, "epoch");
    status.workers = count(object, "workers");
    const json& conservation = member(object, "conservation");
    status.received = count(conservation, "received");
    status.made = count(conservation, "made");
    status.sent = count(conservation, "sent");
    status.dropped = count(conservation, "dropped");
    status.held = count(conservation, "held");
    if (member(conservation, "balanced").is_boolean()) {
        status.balanced = flag(conservation, "balanced");
    }
    const json& missed = member(object, "missed");
    status.missed_from_clients = count(missed, "clients");
    status.missed_from_replicas = count(missed, "replicas");
    status.denied_calls = count(object, "denied_calls");
    const json& evidence = member(object, "evidence");
    status.evidence_records = count(evidence, "records");
    status.evidence_lost = count(evidence, "lost");
    status.evidence_file = text(evidence, "file");
    const json& groups = member(object, "groups");
    if (groups.is_array()) {
        for (const json& group : groups) status.groups.push_back(read_group(group));
    }
    const json& drops = member(object, "drops");
    if (drops.is_object()) {
        for (const auto& [reason, value] : drops.items()) {
            if (const Count dropped = count(drops, reason.c_str())) {
                status.drops[printable(reason)] = *dropped;
            }
        }
    }
    return status;
}

}  // namespace quorate
