#include "tools/replay/summary.hh"

#include <cstdio>

#include "tools/quorate/styled_text.hh"
#include "tools/replay/survey.hh"
#include "wire/drop_reason.hh"

namespace replay {
namespace {

using quorate::grouped;
using quorate::latency_text;
using wire::DropReason;

// Tolerant: what is not there, or something else, is nothing.
std::uint64_t number(const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}
double real(const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_number() ? found->get<double>() : 0;
}
std::string word(const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}
const nlohmann::json& part(const nlohmann::json& object, const char* key) {
    static const nlohmann::json nothing = nlohmann::json::object();
    const auto found = object.find(key);
    return found != object.end() ? *found : nothing;
}

std::string form(const char* format, double value) {
    char text[64];
    std::snprintf(text, sizeof text, format, value);
    return text;
}

// Whether a request is lost by it, not some other packet of the appliance.
bool refuses_requests(DropReason reason) {
    return reason >= DropReason::no_service && reason < DropReason::mbufs_exhausted;
}

Json replica_of(const nlohmann::json& replica) {
    return {{"name", word(replica, "name")},         {"standing", word(replica, "standing")},
            {"asked", number(replica, "asked")},     {"replies", number(replica, "replies")},
            {"dissent", number(replica, "dissent")}, {"silence", number(replica, "silence")},
            {"skipped", number(replica, "skipped")}};
}

Json group_of(const nlohmann::json& group) {
    Json replicas = Json::array();
    for (const nlohmann::json& replica : part(group, "replicas")) {
        replicas.push_back(replica_of(replica));
    }
    const nlohmann::json& latency = part(group, "latency_us");
    Json out{{"name", word(group, "name")}};
    for (const char* key : {"requests", "agreed", "split", "expired", "rebuilt", "retransmissions",
                            "superseded", "errors_sent", "opened", "unsendable"}) {
        out[key] = number(group, key);
    }
    out["latency_us"] = Json::object();
    for (const char* key : {"p50", "p90", "p99", "p999", "max"}) {
        out["latency_us"][key] = real(latency, key);
    }
    out["replicas"] = std::move(replicas);
    return out;
}

void put_drops(Json& out, const nlohmann::json& drops) {
    out["refused"] = Json::object();
    out["dropped"] = Json::object();
    for (std::size_t i = 0; i < wire::drop_reasons_count; ++i) {
        const auto reason = static_cast<DropReason>(i);
        const std::string name(wire::drop_reason_texts[i].name);
        const std::uint64_t count = number(drops, name.c_str());
        // Used up in the ordinary course: votes that are not the one that left, and the like.
        if (count == 0 || reason == DropReason::consumed ||
            reason == DropReason::reply_not_released) {
            continue;
        }
        out[refuses_requests(reason) ? "refused" : "dropped"][name] = count;
    }
}

void put_rates(Json& out, const nlohmann::json& replay) {
    const std::uint64_t sent = number(replay, "sent");
    const std::uint64_t bytes = number(replay, "bytes");
    const std::uint64_t answered = number(replay, "answers");
    const double seconds = real(replay, "seconds");
    const double a_second = seconds > 0 ? 1 / seconds : 0;  // one burst has no rate
    out["actual"] = {{"packets", sent}, {"bytes", bytes}, {"seconds", seconds}};
    out["rated"] = {{"bytes_per_s", static_cast<double>(bytes) * a_second},
                    {"mbps", static_cast<double>(bytes) * a_second * 8 / 1e6},
                    {"pps", static_cast<double>(sent) * a_second}};
    out["answered"] = answered;
    out["unanswered"] = sent > answered ? sent - answered : 0;
    out["late_us_max"] = real(replay, "late_us_max");
}

std::string reasons_text(const Json& drops) {
    std::string text;
    for (std::size_t i = 0; i < wire::drop_reasons_count; ++i) {
        const auto& [name, meaning] = wire::drop_reason_texts[i];
        const auto found = drops.find(std::string(name));
        if (found == drops.end()) continue;
        text += "  " + grouped(found->get<std::uint64_t>()) + " " + std::string(name) + " (" +
                std::string(meaning) + ")\n";
    }
    return text;
}

std::string group_text(const Json& group) {
    const auto count = [](const Json& object, const char* key) {
        return grouped(object[key].get<std::uint64_t>());
    };
    const auto time = [&](const char* key) {
        return latency_text(group["latency_us"][key].get<double>());
    };
    std::string text = group["name"].get<std::string>() + ": " + count(group, "requests") +
                       " requests voted on: " + count(group, "agreed") + " agreed, " +
                       count(group, "split") + " split, " + count(group, "expired") +
                       " expired\n  latency: p50 " + time("p50") + ", p90 " + time("p90") +
                       ", p99 " + time("p99") + ", p99.9 " + time("p999") + ", max " + time("max") +
                       "\n";
    quorate::Table table(
        {quorate::Table::Align::left, quorate::Table::Align::left, quorate::Table::Align::right,
         quorate::Table::Align::right, quorate::Table::Align::right},
        "  ");
    table.add({{"replica"}, {"standing"}, {"dissent"}, {"silence"}, {"not asked"}});
    for (const Json& replica : group["replicas"]) {
        table.add({{quorate::printable(replica["name"].get<std::string>())},
                   {quorate::printable(replica["standing"].get<std::string>())},
                   {count(replica, "dissent")},
                   {count(replica, "silence")},
                   {count(replica, "skipped")}});
    }
    return text + quorate::text_of(table.lines(), false);
}

}  // namespace

std::string speed_text(const Speed& speed) {
    if (speed.top) return "at top speed";
    if (speed.per_second) return "at " + form("%.12g", *speed.per_second) + " a second";
    if (speed.multiplier == 1) return "as recorded";
    return "at " + form("%.12g", speed.multiplier) + " times the recorded speed";
}

Json summary(const config::Config& config, const Outcome& outcome, const nlohmann::json& status) {
    Json out{{"capture", outcome.capture},         {"speed", speed_text(outcome.speed)},
             {"window", outcome.window},           {"passes", outcome.passes},
             {"interrupted", outcome.interrupted}, {"complaint", outcome.complaint}};
    out["taken"] = Json::object();
    for (std::size_t i = 0; i < config.services.size(); ++i) {
        if (outcome.tally.taken[i] != 0) {
            out["taken"][config.services[i].name] = outcome.tally.taken[i];
        }
    }
    out["readdressed"] = outcome.wanted.by_port || outcome.wanted.port.has_value();
    out["skipped"] = Json::object();
    for (std::size_t i = 0; i < skips_count; ++i) {
        if (outcome.tally.skipped[i] == 0) continue;
        out["skipped"][std::string(skip_texts[i].name)] = outcome.tally.skipped[i];
    }
    put_rates(out, part(status, "replay"));
    out["groups"] = Json::array();
    for (const nlohmann::json& group : part(status, "groups")) {
        out["groups"].push_back(group_of(group));
    }
    put_drops(out, part(status, "drops"));
    const nlohmann::json& evidence = part(status, "evidence");
    out["evidence"] = {{"directory", word(evidence, "directory")},
                       {"file", word(evidence, "file")},
                       {"records", number(evidence, "records")}};
    return out;
}

std::string summary_text(const Json& summary) {
    std::uint64_t taken = 0;
    for (const Json& count : summary["taken"]) taken += count.get<std::uint64_t>();
    const auto passes = summary["passes"].get<std::uint64_t>();
    std::string text =
        quorate::printable(summary["capture"].get<std::string>()) + ", " +
        summary["speed"].get<std::string>() + ": " + quorate::counted(taken, "request") + " taken" +
        (summary["readdressed"].get<bool>() ? " by port, for the service's address" : "") +
        (passes > 1 ? ", " + grouped(passes) + " passes" : "") +
        (summary["interrupted"].get<bool>() ? ", ended by hand" : "") + "\n";
    Tally tally;
    for (std::size_t i = 0; i < skips_count; ++i) {
        tally.skipped[i] =
            summary["skipped"].value(std::string(skip_texts[i].name), std::uint64_t{0});
    }
    if (const std::string skips = skips_text(tally); !skips.empty()) {
        text += "skipped: " + skips + "\n";
    }
    const Json& actual = summary["actual"];
    const Json& rated = summary["rated"];
    text += "Actual: " + std::to_string(actual["packets"].get<std::uint64_t>()) + " packets (" +
            std::to_string(actual["bytes"].get<std::uint64_t>()) + " bytes) sent in " +
            form("%.2f", actual["seconds"].get<double>()) + " seconds\n";
    text += "Rated: " + form("%.1f", rated["bytes_per_s"].get<double>()) + " bytes/s, " +
            form("%.2f", rated["mbps"].get<double>()) + " Mbps, " +
            form("%.2f", rated["pps"].get<double>()) + " pps\n";
    text += "answered: " + grouped(summary["answered"].get<std::uint64_t>()) +
            ", unanswered: " + grouped(summary["unanswered"].get<std::uint64_t>()) + "\n";
    for (const Json& group : summary["groups"]) {
        if (group["requests"].get<std::uint64_t>() != 0) text += group_text(group);
    }
    if (!summary["refused"].empty())
        text += "refused, or without a vote of their own:\n" + reasons_text(summary["refused"]);
    if (!summary["dropped"].empty()) text += "dropped:\n" + reasons_text(summary["dropped"]);
    const Json& evidence = summary["evidence"];
    if (const auto records = evidence["records"].get<std::uint64_t>(); records != 0) {
        text += "evidence: " + quorate::counted(records, "record") + " in " +
                quorate::printable(evidence["directory"].get<std::string>()) + ", the last in " +
                quorate::printable(evidence["file"].get<std::string>()) + "\n";
    }
    return text;
}

}  // namespace replay
