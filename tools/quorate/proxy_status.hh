// The proxy's status object as values. Tolerant: what is missing or of another type is "not known",
// so that a newer tool reads an older proxy and the other way round.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace quorate {

using Count = std::optional<std::uint64_t>;

struct ReplicaStatus {
    Count slot;
    std::string name;
    Count incarnation;
    std::string standing;  // absent, starting, lagging, admitted, suspended
    std::string place;     // a or b
    std::string port;
    std::string reason;
    Count replies;
    Count dissent;
    Count silence;
    Count skipped;  // requests it was not given: too many unanswered
    bool suspect = false;
    bool connected = true;  // its port is open
};

struct GroupStatus {
    std::string name;
    std::string state;
    std::string mode;
    Count quorum;
    Count f;
    std::optional<std::int64_t> masking;  // faults that it can still mask
    bool halted = false;
    Count requests;
    Count agreed;
    Count split;
    Count expired;
    std::vector<std::pair<std::string, std::uint64_t>> others;  // counters not named here
    std::optional<double> p50_us;
    std::optional<double> p99_us;
    std::optional<double> max_us;
    std::vector<std::pair<std::string, std::string>> log;  // as the proxy names things
    std::vector<std::string> nondeterministic_kinds;
    std::vector<ReplicaStatus> replicas;

    std::size_t admitted() const;
    bool has_quorum() const;  // a quorum of replicas is admitted, as far as is known
    // It can answer: not halted, and with a quorum unless the primary answers alone.
    bool answers() const;
};

struct ProxyStatus {
    std::string name;
    std::string mode;
    Count pid;
    Count uptime_s;
    Count epoch;
    Count workers;
    Count received;
    Count made;  // by the proxy itself: clones, errors, answers to neighbours
    Count sent;
    Count dropped;
    Count held;
    Count missed_from_clients;  // dropped by the kernel before the proxy took them
    Count missed_from_replicas;
    Count denied_calls;            // system calls that workers never make
    std::optional<bool> balanced;  // received + made = sent + dropped + held
    Count evidence_records;
    Count evidence_lost;
    std::string evidence_file;
    std::vector<GroupStatus> groups;
    std::map<std::string, std::uint64_t> drops;

    // Every group answers and every packet is accounted for.
    bool healthy() const;
};

ProxyStatus read_status(const nlohmann::json& status);

}  // namespace quorate
