// [[group]]: how many replicas must agree, what happens when they don't, and who they are.
#include <algorithm>

#include "config/sections.hh"
#include "config/words.hh"

namespace config {

namespace {

// "0 to 2", and for people the names beside the numbers.
std::string slots_text(const Group& group) {
    std::string out;
    for (std::size_t i = 0; i < group.replicas.size(); ++i) {
        if (i != 0) out += i + 1 == group.replicas.size() ? " or " : ", ";
        out += in_quotes(group.replicas[i].name);
    }
    return out;
}

// n, f and quorum fit: any two quorums share a replica (else two camps could both win), and f liars
// are no quorum.
void check_votes(Section& section, Group& group) {
    const std::size_t n = group.replicas.size();
    if (!section.has("quorum")) {
        const std::size_t wanted = 2u * group.f + 1;
        group.quorum = static_cast<std::uint8_t>(group.f + 1);
        if (n == wanted) return;
        std::string fix = "write " + counted(wanted, "[[group.replica]]") + ", ";
        fix += n % 2 == 1 && n <= voter::replicas_max ? "or f = " + std::to_string((n - 1) / 2)
                                                      : "or give a quorum";
        const std::string key = section.has("f") ? "f" : "replica";
        section.wrong(key,
                      "has " + counted(n, "replica") + ", but f = " + std::to_string(group.f) +
                          " takes " + std::to_string(wanted),
                      fix);
        return;
    }
    const std::size_t least = n / 2 + 1;
    if (group.quorum > n || group.quorum < least) {
        const std::string what =
            "is " + std::to_string(group.quorum) + " of " + counted(n, "replica");
        const std::string range =
            least == n ? std::to_string(n) : std::to_string(least) + " to " + std::to_string(n);
        section.wrong("quorum",
                      what + (group.quorum > n ? ", which can never agree"
                                               : ", so that two camps could both win"),
                      "write " + range);
        return;
    }
    if (!section.has("f")) {
        // Faults of either kind that it masks: fewer than a quorum lie, a quorum is still there.
        group.f = static_cast<std::uint8_t>(std::min<std::size_t>(
            {std::size_t{group.quorum} - 1, n - group.quorum, voter::faults_max}));
    } else if (group.quorum <= group.f) {
        section.wrong("f",
                      "is " + std::to_string(group.f) + " with a quorum of " +
                          std::to_string(group.quorum) + ", so that f liars could win",
                      "write f = " + std::to_string(group.quorum - 1) + " or less");
    }
}

void read_primary(Section& section, Group& group, bool slots_known) {
    const bool needed = group.mode == Mode::observe || group.quorum_lost == QuorumLost::open;
    const std::string why =
        group.mode == Mode::observe ? "mode = \"observe\"" : "quorum_lost = \"open\"";
    if (!section.has("primary")) {
        if (needed) {
            section.wrong("primary", "is missing, and " + why + " lets one replica answer alone",
                          "write its name or slot number");
        }
        std::string ignored;
        section.text("primary", ignored);  // it is a key all the same
        return;
    }
    if (section.is_number("primary")) {
        const auto last = static_cast<std::int64_t>(group.replicas.size()) - 1;
        section.number(
            "primary", 0,
            slots_known ? std::max<std::int64_t>(last, 0) : std::int64_t{voter::replicas_max} - 1,
            group.primary);
        return;
    }
    std::string name;
    if (!section.text("primary", name) || !slots_known) return;
    const auto found = std::find_if(group.replicas.begin(), group.replicas.end(),
                                    [&](const Replica& replica) { return replica.name == name; });
    if (found == group.replicas.end()) {
        section.wrong("primary", "is " + in_quotes(name) + ", which is no replica of this group",
                      "write " + slots_text(group));
        return;
    }
    group.primary = static_cast<std::uint8_t>(found - group.replicas.begin());
}

void read_accusation(Section& group_section, Group& group) {
    Section section = group_section.section("accusation");
    voter::AccusationRules& rules = group.accusation;
    section.number("window_ms", 100, 3'600'000, group.accusation_window_ms);
    section.number("dissents_min", 1, 1'000'000, rules.dissents_min);
    section.number("silences_min", 1, 1'000'000, rules.silences_min);
    section.number("sources_min", 1, 64, rules.sources_min);
    section.number("share_percent", 0, 100, rules.share_percent);
    section.finish();
}

void read_group(Section& section, Pass& pass, std::map<std::string, std::string>& names) {
    const std::size_t before = pass.report.count();
    Group& group = pass.config.groups.emplace_back();
    pass.groups.push_back(section.spot());
    if (!read_name(section, names, group.name)) pass.groups_known = false;
    section.number("f", 0, voter::faults_max, group.f);
    section.number("quorum", 1, voter::replicas_max, group.quorum);
    section.choice("state", {{"none", State::none}, {"log", State::log}}, group.state);
    section.choice("release", {{"quorum", voter::Release::quorum}, {"all", voter::Release::all}},
                   group.release);
    section.choice("mode", {{"enforce", Mode::enforce}, {"observe", Mode::observe}}, group.mode);
    section.choice("quorum_lost",
                   {{"silence", QuorumLost::silence},
                    {"error", QuorumLost::error},
                    {"open", QuorumLost::open}},
                   group.quorum_lost);
    section.number("deadline_ms", 10, 10'000, group.deadline_ms);
    section.number("inflight_max", 1, 65'536, group.inflight_max);
    section.number("reserved_percent", 0, 90, group.reserved_percent);
    section.size("log_bytes", 1u << 20, 64ull << 30, group.log_bytes);
    section.choice("suspend", {{"manual", Suspend::manual}, {"automatic", Suspend::automatic}},
                   group.suspend);
    read_accusation(section, group);
    const bool own_good = before == pass.report.count();
    if (own_good && section.has("log_bytes") && group.state != State::log) {
        section.wrong("log_bytes", "is given, but this group keeps no log",
                      "write state = \"log\", or leave log_bytes out");
    }

    const std::size_t before_replicas = pass.report.count();
    read_replicas(section, pass, group);
    const bool slots_known = before_replicas == pass.report.count();
    read_primary(section, group, slots_known);
    if (own_good && slots_known) check_votes(section, group);
    group.accusation.faults = group.f;
    section.finish();
}

}  // namespace

void read_groups(Section& root, Pass& pass) {
    std::map<std::string, std::string> names;
    const std::size_t before = pass.report.count();
    for (Section& section : root.sections("group", groups_max)) read_group(section, pass, names);
    if (before == pass.report.count() && pass.config.groups.empty()) {
        root.wrong("group", "is missing", "write at least one [[group]] with its replicas");
        pass.groups_known = false;
    }
    if (pass.config.groups.empty()) pass.groups_known = false;
}

}  // namespace config
