#include "proxy/runtime/telemetry.hh"

#include <cstdlib>

#include <rte_telemetry.h>

namespace proxy {

namespace {

// DPDK's handlers take no context.
const config::Config* told_config = nullptr;
std::span<WorkerCounters> told_workers;

template <class Of>
std::uint64_t sum(Of&& of) {
    std::uint64_t total = 0;
    for (const WorkerCounters& worker : told_workers) total += of(worker).get();
    return total;
}

int counters(const char*, const char*, rte_tel_data* data) {
    rte_tel_data_start_dict(data);
    const auto add = [&](const char* name, auto of) {
        rte_tel_data_add_dict_u64(data, name, sum(of));
    };
    add("received", [](const WorkerCounters& w) -> const Count& { return w.received; });
    add("made", [](const WorkerCounters& w) -> const Count& { return w.made; });
    add("sent", [](const WorkerCounters& w) -> const Count& { return w.sent; });
    add("held", [](const WorkerCounters& w) -> const Count& { return w.held; });
    add("passed", [](const WorkerCounters& w) -> const Count& { return w.passed; });
    add("turns", [](const WorkerCounters& w) -> const Count& { return w.turns; });
    add("busy_turns", [](const WorkerCounters& w) -> const Count& { return w.busy_turns; });
    add("busy_ticks", [](const WorkerCounters& w) -> const Count& { return w.busy_ticks; });
    add("sleeps", [](const WorkerCounters& w) -> const Count& { return w.sleeps; });
    return 0;
}

int drops(const char*, const char*, rte_tel_data* data) {
    rte_tel_data_start_dict(data);
    for (std::size_t i = 0; i < wire::drop_reasons_count; ++i) {
        rte_tel_data_add_dict_u64(
            data, wire::drop_reason_texts[i].name.data(),
            sum([i](const WorkerCounters& w) -> const Count& { return w.dropped[i]; }));
    }
    return 0;
}

int group(const char*, const char* parameters, rte_tel_data* data) {
    if (parameters == nullptr) return -1;
    char* end = nullptr;
    const unsigned long index = std::strtoul(parameters, &end, 10);
    if (end == parameters || index >= told_config->groups.size()) return -1;
    rte_tel_data_start_dict(data);
    rte_tel_data_add_dict_string(data, "name", told_config->groups[index].name.c_str());
    const auto add = [&](const char* name, Count GroupCounters::*member) {
        rte_tel_data_add_dict_u64(data, name, sum([&](const WorkerCounters& w) -> const Count& {
                                      return w.groups[index].*member;
                                  }));
    };
    add("requests", &GroupCounters::requests);
    add("agreed", &GroupCounters::agreed);
    add("split", &GroupCounters::split);
    add("expired", &GroupCounters::expired);
    add("rebuilt", &GroupCounters::rebuilt);
    add("errors_sent", &GroupCounters::errors_sent);
    add("retransmissions", &GroupCounters::retransmissions);
    for (std::size_t slot = 0; slot < told_config->groups[index].replicas.size(); ++slot) {
        const auto add_replica = [&](const char* name, Count ReplicaCounters::*member) {
            const std::string key = "replica" + std::to_string(slot) + "_" + name;
            rte_tel_data_add_dict_u64(data, key.c_str(),
                                      sum([&](const WorkerCounters& w) -> const Count& {
                                          return w.groups[index].replicas[slot].*member;
                                      }));
        };
        add_replica("replies", &ReplicaCounters::replies);
        add_replica("dissent", &ReplicaCounters::dissent);
        add_replica("silence", &ReplicaCounters::silence);
    }
    return 0;
}

}  // namespace

void register_telemetry(const config::Config& config, std::span<WorkerCounters> workers) {
    told_config = &config;
    told_workers = workers;
    rte_telemetry_register_cmd("/quorate/counters", counters, "Packet counters. No parameters.");
    rte_telemetry_register_cmd("/quorate/drops", drops,
                               "Dropped packets by reason. No parameters.");
    rte_telemetry_register_cmd("/quorate/group", group,
                               "Ballots of a group. Parameter: its index.");
}

}  // namespace proxy
