#include "tools/quorate/status_view.hh"

#include <algorithm>

namespace quorate {

namespace {

using Align = Table::Align;

// What a page is made from: the totals, and the earlier status where rates are wanted.
struct Source {
    const ProxyStatus& now;
    const ProxyStatus* before = nullptr;
    double interval_s = 0;

    // A counter as it is shown: the total, or in `top` its rate.
    std::string shown(const Count& total, const Count& earlier) const {
        if (before == nullptr) return or_dash(total, grouped);
        return or_dash(per_second(earlier, total, interval_s), rate_text);
    }

    // A counter of what should not happen: the total stays in sight, and what grows stands out.
    Span trouble(const Count& total, const Count& earlier) const {
        const bool any = total.value_or(0) > 0;
        if (before == nullptr) return {or_dash(total, grouped), any ? Tone::warning : Tone::plain};
        const auto rate = per_second(earlier, total, interval_s);
        if (rate.value_or(0) == 0) return {or_dash(total, grouped), Tone::plain};
        return {grouped(*total) + " +" + rate_text(*rate), Tone::warning};
    }
};

void put(Line& line, std::string label, std::string value, Tone tone = Tone::plain) {
    if (!line.empty()) line.push_back({"   ", Tone::plain});
    if (!label.empty()) line.push_back({std::move(label) + " ", Tone::dim});
    line.push_back({std::move(value), tone});
}

void put(Line& line, std::string label, Span value) {
    put(line, std::move(label), std::move(value.text), value.tone);
}

Line headline(const ProxyStatus& status) {
    Line line{{"quorate " + (status.name.empty() ? "?" : status.name), Tone::strong}};
    if (!status.mode.empty()) put(line, "", status.mode);
    put(line, "up", or_dash(status.uptime_s, age_text));
    put(line, "pid", or_dash(status.pid, [](auto pid) { return std::to_string(pid); }));
    put(line, "epoch", or_dash(status.epoch, [](auto epoch) { return std::to_string(epoch); }));
    if (status.workers) put(line, "", counted(*status.workers, "worker"));
    return line;
}

Line packets(const Source& source) {
    const ProxyStatus& now = source.now;
    const ProxyStatus& before = source.before != nullptr ? *source.before : now;
    Line line{{"packets", Tone::plain}};
    put(line, "received", source.shown(now.received, before.received));
    if (now.made) put(line, "made", source.shown(now.made, before.made));
    put(line, "sent", source.shown(now.sent, before.sent));
    put(line, "dropped", source.shown(now.dropped, before.dropped));
    put(line, "held", or_dash(now.held, grouped));
    if (now.balanced) {
        put(line, "", *now.balanced ? "balanced" : "NOT BALANCED: packets are unaccounted for",
            *now.balanced ? Tone::good : Tone::bad);
    }
    return line;
}

void put_strength(Line& line, const GroupStatus& group) {
    if (group.halted) {
        put(line, "", "HALTED: answers nothing", Tone::bad);
    } else if (!group.has_quorum()) {
        put(line, "", group.answers() ? "no quorum: the primary answers alone" : "NO QUORUM",
            group.answers() ? Tone::warning : Tone::bad);
    } else if (group.masking) {
        const auto masks = static_cast<std::uint64_t>(std::max<std::int64_t>(*group.masking, 0));
        const bool full = masks >= group.f.value_or(0);
        put(line, "",
            masks == 0 ? "masks no fault now" : "masks " + counted(masks, "fault") + " now",
            full ? Tone::good : Tone::warning);
    }
}

Line group_head(const GroupStatus& group) {
    Line line{{"group " + (group.name.empty() ? "?" : group.name), Tone::strong}};
    const auto number = [](auto value) { return std::to_string(value); };
    put(line, "",
        "quorum " + or_dash(group.quorum, number) + " of " + std::to_string(group.replicas.size()));
    put_strength(line, group);
    if (!group.mode.empty()) put(line, "mode", group.mode);
    if (!group.state.empty()) put(line, "state", group.state);
    return line;
}

Line votes(const Source& source, const GroupStatus& group, const GroupStatus& before) {
    Line line{{"  requests ", Tone::dim},
              {source.shown(group.requests, before.requests), Tone::plain}};
    put(line, "agreed", source.shown(group.agreed, before.agreed));
    put(line, "split", source.trouble(group.split, before.split));
    put(line, "expired", source.trouble(group.expired, before.expired));
    if (group.p50_us || group.p99_us || group.max_us) {
        put(line, "latency p50", or_dash(group.p50_us, latency_text));
        put(line, "p99", or_dash(group.p99_us, latency_text));
        put(line, "max", or_dash(group.max_us, latency_text));
    }
    return line;
}

Tone standing_tone(const std::string& standing) {
    if (standing == "admitted") return Tone::good;
    if (standing == "suspended" || standing == "absent") return Tone::bad;
    return Tone::warning;
}

std::string note_on(const ReplicaStatus& replica) {
    std::string note;
    const auto add = [&note](const std::string& text) {
        if (!note.empty()) note += ", ";
        note += text;
    };
    if (replica.suspect) add("suspect");
    if (!replica.connected && replica.standing != "absent") add("no port");
    if (replica.skipped.value_or(0) > 0) add("skipped " + grouped(*replica.skipped));
    if (!replica.reason.empty() && replica.standing != "admitted") add(replica.reason);
    return note;
}

Lines replicas(const Source& source, const GroupStatus& group, const GroupStatus* before) {
    Table table({Align::right, Align::left, Align::left, Align::left, Align::left, Align::right,
                 Align::right, Align::right, Align::right, Align::left},
                "  ");
    Line head;
    for (const char* title : {"slot", "replica", "standing", "place", "port", "boot", "replies",
                              "dissent", "silence", ""}) {
        head.push_back({title, Tone::dim});
    }
    table.add(std::move(head));
    const auto number = [](auto value) { return std::to_string(value); };
    for (const ReplicaStatus& replica : group.replicas) {
        const ReplicaStatus* earlier = find_replica(before, replica.name);
        const ReplicaStatus& since = earlier != nullptr ? *earlier : replica;
        table.add(
            {{or_dash(replica.slot, number), Tone::plain},
             {replica.name, Tone::plain},
             {replica.standing.empty() ? "-" : replica.standing, standing_tone(replica.standing)},
             {replica.place, Tone::plain},
             {replica.port, Tone::plain},
             {or_dash(replica.incarnation, number), Tone::plain},
             {source.shown(replica.replies, since.replies), Tone::plain},
             source.trouble(replica.dissent, since.dissent),
             source.trouble(replica.silence, since.silence),
             {note_on(replica), replica.suspect ? Tone::bad : Tone::dim}});
    }
    return table.lines();
}

Lines drops(const Source& source) {
    std::vector<std::pair<std::string, std::uint64_t>> sorted;
    for (const auto& drop : source.now.drops) {
        if (drop.second > 0) sorted.push_back(drop);
    }
    if (sorted.empty()) return {};
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    Table table({Align::left, Align::right, Align::right}, "  ");
    for (const auto& [reason, total] : sorted) {
        std::string rate;
        if (source.before != nullptr) {
            const auto earlier = source.before->drops.find(reason);
            const Count since = earlier == source.before->drops.end() ? 0 : earlier->second;
            rate = or_dash(per_second(since, total, source.interval_s), rate_text);
        }
        table.add({{reason, Tone::plain}, {grouped(total), Tone::plain}, {rate, Tone::plain}});
    }
    Lines out{{{"drops", Tone::strong}}};
    for (Line& line : table.lines()) out.push_back(std::move(line));
    return out;
}

// Counters that this tool has no place for, where they are not zero.
Line others(const GroupStatus& group) {
    Line line;
    for (const auto& [key, value] : group.others) {
        if (value == 0) continue;
        std::string label = line.empty() ? "  " + key : key;
        std::replace(label.begin(), label.end(), '_', ' ');
        put(line, std::move(label), grouped(value));
    }
    return line;
}

Lines group_part(const Source& source, const GroupStatus& group) {
    const GroupStatus* before =
        source.before != nullptr ? find_group(*source.before, group.name) : nullptr;
    Lines out{group_head(group), votes(source, group, before != nullptr ? *before : group)};
    if (Line line = others(group); !line.empty()) out.push_back(std::move(line));
    for (Line& line : replicas(source, group, before)) out.push_back(std::move(line));
    if (!group.log.empty()) {
        Line line{{"  log", Tone::plain}};
        for (const auto& [key, value] : group.log) put(line, key, value);
        out.push_back(std::move(line));
    }
    if (!group.nondeterministic_kinds.empty()) {
        std::string kinds;
        for (const std::string& kind : group.nondeterministic_kinds) {
            kinds += (kinds.empty() ? "" : ", ") + kind;
        }
        out.push_back({{"  answers differ by nature, nobody is blamed: ", Tone::warning},
                       {kinds, Tone::plain}});
    }
    return out;
}

Lines evidence(const ProxyStatus& now) {
    if (now.evidence_records.value_or(0) == 0 && now.evidence_lost.value_or(0) == 0) return {};
    Line line{{"evidence", Tone::strong}};
    put(line, "records", or_dash(now.evidence_records, grouped));
    put(line, "lost", or_dash(now.evidence_lost, grouped));
    if (!now.evidence_file.empty()) put(line, "in", now.evidence_file);
    return {line};
}

// What never came as far as the counters of packets, and what should never be.
Lines alarms(const ProxyStatus& now) {
    Lines out;
    if (now.missed_from_clients.value_or(0) != 0 || now.missed_from_replicas.value_or(0) != 0) {
        Line line{{"missed", Tone::strong}};
        put(line, "from clients", or_dash(now.missed_from_clients, grouped));
        put(line, "from replicas", or_dash(now.missed_from_replicas, grouped));
        line.push_back({"   the kernel dropped these: the proxy was too slow", Tone::dim});
        out.push_back(line);
    }
    if (now.denied_calls.value_or(0) != 0) {
        out.push_back({{"ALARM: workers tried " + grouped(*now.denied_calls) +
                            " system calls that they never make",
                        Tone::bad}});
    }
    return out;
}

Lines page(const Source& source) {
    Lines out{headline(source.now), packets(source)};
    for (Line& line : alarms(source.now)) out.push_back(std::move(line));
    const auto add = [&out](Lines part) {
        if (!part.empty()) out.emplace_back();
        for (Line& line : part) out.push_back(std::move(line));
    };
    for (const GroupStatus& group : source.now.groups) add(group_part(source, group));
    add(evidence(source.now));
    add(drops(source));
    return out;
}

nlohmann::ordered_json json_or_null(const std::optional<double>& value) {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

}  // namespace

const GroupStatus* find_group(const ProxyStatus& status, const std::string& name) {
    for (const GroupStatus& group : status.groups) {
        if (group.name == name) return &group;
    }
    return nullptr;
}

const ReplicaStatus* find_replica(const GroupStatus* group, const std::string& name) {
    if (group == nullptr) return nullptr;
    for (const ReplicaStatus& replica : group->replicas) {
        if (replica.name == name) return &replica;
    }
    return nullptr;
}

std::optional<double> per_second(const Count& before, const Count& now, double interval_s) {
    if (!before || !now || *now < *before || !(interval_s > 0)) return std::nullopt;
    return static_cast<double>(*now - *before) / interval_s;
}

Lines status_page(const ProxyStatus& status) { return page(Source{status}); }

Lines top_page(const ProxyStatus& before, const ProxyStatus& now, double interval_s) {
    return page(Source{now, &before, interval_s});
}

Lines top_lines(const ProxyStatus& before, const ProxyStatus& now, double interval_s,
                const std::string& clock) {
    Lines out;
    const Source source{now, &before, interval_s};
    for (const GroupStatus& group : now.groups) {
        const GroupStatus* earlier = find_group(before, group.name);
        const GroupStatus& since = earlier != nullptr ? *earlier : group;
        std::optional<double> dissent = 0.0;
        std::optional<double> silence = 0.0;
        for (const ReplicaStatus& replica : group.replicas) {
            const ReplicaStatus* then = find_replica(earlier, replica.name);
            const auto add = [&](std::optional<double>& sum, const Count& total, const Count& old) {
                const auto rate = per_second(old, total, interval_s);
                sum = sum && rate ? std::optional(*sum + *rate) : std::nullopt;
            };
            add(dissent, replica.dissent, then != nullptr ? then->dissent : replica.dissent);
            add(silence, replica.silence, then != nullptr ? then->silence : replica.silence);
        }
        Line line{{clock, Tone::dim}, {"  " + group.name, Tone::strong}};
        put(line, "requests", source.shown(group.requests, since.requests));
        put(line, "agreed", source.shown(group.agreed, since.agreed));
        put(line, "split", source.shown(group.split, since.split));
        put(line, "expired", source.shown(group.expired, since.expired));
        put(line, "dissent", or_dash(dissent, rate_text));
        put(line, "silence", or_dash(silence, rate_text));
        put(line, "p50", or_dash(group.p50_us, latency_text));
        put(line, "p99", or_dash(group.p99_us, latency_text));
        put(line, "admitted",
            std::to_string(group.admitted()) + " of " + std::to_string(group.replicas.size()));
        put_strength(line, group);
        out.push_back(std::move(line));
    }
    return out;
}

nlohmann::ordered_json top_json(const ProxyStatus& before, const ProxyStatus& now,
                                double interval_s) {
    using Json = nlohmann::ordered_json;
    const auto rate = [&](const Count& old, const Count& total) {
        return json_or_null(per_second(old, total, interval_s));
    };
    Json groups = Json::array();
    for (const GroupStatus& group : now.groups) {
        const GroupStatus* earlier = find_group(before, group.name);
        const GroupStatus& since = earlier != nullptr ? *earlier : group;
        Json replicas = Json::array();
        for (const ReplicaStatus& replica : group.replicas) {
            const ReplicaStatus* then = find_replica(earlier, replica.name);
            const ReplicaStatus& old = then != nullptr ? *then : replica;
            replicas.push_back({{"name", replica.name},
                                {"standing", replica.standing},
                                {"suspect", replica.suspect},
                                {"replies_per_s", rate(old.replies, replica.replies)},
                                {"dissent_per_s", rate(old.dissent, replica.dissent)},
                                {"silence_per_s", rate(old.silence, replica.silence)}});
        }
        groups.push_back({{"name", group.name},
                          {"answers", group.answers()},
                          {"masking", group.masking ? Json(*group.masking) : Json(nullptr)},
                          {"requests_per_s", rate(since.requests, group.requests)},
                          {"agreed_per_s", rate(since.agreed, group.agreed)},
                          {"split_per_s", rate(since.split, group.split)},
                          {"expired_per_s", rate(since.expired, group.expired)},
                          {"latency_us",
                           {{"p50", json_or_null(group.p50_us)},
                            {"p99", json_or_null(group.p99_us)},
                            {"max", json_or_null(group.max_us)}}},
                          {"replicas", std::move(replicas)}});
    }
    return {{"name", now.name},
            {"interval_s", interval_s},
            {"received_per_s", rate(before.received, now.received)},
            {"sent_per_s", rate(before.sent, now.sent)},
            {"dropped_per_s", rate(before.dropped, now.dropped)},
            {"groups", std::move(groups)}};
}

}  // namespace quorate
