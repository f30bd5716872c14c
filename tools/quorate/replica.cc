// quorate replica ...: start, stop, restart, suspend, admit, pause, resume and list replicas. Also
// the hidden subcommands that are a started replica's supervisor, and what builds and keeps a
// domain.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "netns/supervisor.hh"
#include "tools/quorate/commands.hh"
#include "tools/quorate/output.hh"
#include "tools/quorate/replica_actions.hh"
#include "xen/domain/helper.hh"
#include "xen/domain/keeper.hh"
#include "xen/domain/xen_machine.hh"

namespace quorate {

namespace {

using Json = nlohmann::ordered_json;

struct Options {
    std::string config;
    std::vector<std::string> replicas;
    bool all = false;
    bool json = false;
    std::string file;
};

config::Config load(const Options& options) {
    auto loaded = config::load(options.config);
    if (loaded) return std::move(*loaded);
    std::fprintf(stderr, "%s\n", loaded.error().text().c_str());
    leave(Exit::usage);
}

std::vector<Target> targets_of(const config::Config& config, const Options& options,
                               bool all_by_default) {
    if (options.all && !options.replicas.empty()) {
        std::fprintf(stderr, "quorate replica: give replicas or --all, not both\n");
        leave(Exit::usage);
    }
    if (options.all || (options.replicas.empty() && all_by_default)) return all_targets(config);
    std::vector<Target> targets;
    for (const std::string& text : options.replicas) {
        const auto target = find_target(config, text);
        if (!target) {
            std::fprintf(stderr, "quorate replica: %s\n", target.error().c_str());
            leave(Exit::usage);
        }
        if (std::find(targets.begin(), targets.end(), *target) == targets.end()) {
            targets.push_back(*target);
        }
    }
    if (!targets.empty()) return targets;
    std::fprintf(stderr, "quorate replica: say which: [GROUP/]SLOT, [GROUP/]NAME, or --all\n");
    leave(Exit::usage);
}

Json json_of(const config::Config& config, const Target& target, const recovery::Seat& seat) {
    return {{"group", group_of(config, target).name},
            {"slot", target.slot.value},
            {"name", group_of(config, target).replicas[target.slot.value].name},
            {"standing", text(seat.standing)},
            {"incarnation", seat.incarnation.value},
            {"place", recovery::text(seat.place)},
            {"port", seat.port},
            {"reason", seat.reason}};
}

using Action = std::function<Outcome(ReplicaActions&, const Target&)>;

// All targets at once: each start waits for its own health check.
void act(const Options& options, const Action& action) {
    const config::Config config = load(options);
    const std::vector<Target> targets = targets_of(config, options, false);
    ReplicaActions actions(config);
    std::vector<std::future<Outcome>> running;
    for (const Target& target : targets) {
        running.push_back(
            std::async(std::launch::async, [&, target] { return action(actions, target); }));
    }
    bool good = true;
    bool unreachable = false;
    Json replicas = Json::array();
    for (auto& one : running) {
        const Outcome outcome = one.get();
        good = good && outcome.ok;
        unreachable = unreachable || outcome.unreachable;
        if (options.json) {
            Json object = json_of(config, outcome.target, outcome.seat);
            object["ok"] = outcome.ok;
            object["what"] = outcome.what;
            object["note"] = outcome.note;
            replicas.push_back(std::move(object));
            continue;
        }
        std::fprintf(outcome.ok ? stdout : stderr, "%s: %s%s%s\n",
                     text_of(config, outcome.target).c_str(), outcome.what.c_str(),
                     outcome.note.empty() ? "" : "; ", outcome.note.c_str());
    }
    if (options.json) print_json(Json{{"ok", good}, {"replicas", std::move(replicas)}});
    if (!good) leave(unreachable ? Exit::unreachable : Exit::failed);
}

std::string where_text(const ReplicaActions::Row& row) {
    if (row.external) return "run by somebody else";
    if (!row.facts) return row.seat.standing == recovery::Standing::absent ? "-" : "not there";
    return row.facts->detail;
}

void print_table(const config::Config& config, const std::vector<ReplicaActions::Row>& rows) {
    std::vector<std::vector<std::string>> lines{
        {"REPLICA", "SLOT", "STANDING", "INCARNATION", "PLACE", "PORT", "PROCESS"}};
    for (const ReplicaActions::Row& row : rows) {
        const bool absent = row.seat.standing == recovery::Standing::absent;
        lines.push_back({text_of(config, row.target), std::to_string(row.target.slot.value),
                         text(row.seat.standing),
                         absent ? "-" : std::to_string(row.seat.incarnation.value),
                         absent ? "-" : recovery::text(row.seat.place),
                         absent ? "-" : row.seat.port, where_text(row)});
        for (const recovery::ReplicaFacts& other : row.others) {
            lines.push_back({"", "", "not seated", std::to_string(other.name.incarnation.value),
                             recovery::text(other.name.place), other.port, other.detail});
        }
    }
    std::vector<std::size_t> widths(lines.front().size());
    for (const auto& line : lines) {
        for (std::size_t i = 0; i < line.size(); ++i) {
            widths[i] = std::max(widths[i], line[i].size());
        }
    }
    for (const auto& line : lines) {
        std::string out;
        for (std::size_t i = 0; i < line.size(); ++i) {
            out += line[i];
            if (i + 1 < line.size()) out.append(widths[i] - line[i].size() + 2, ' ');
        }
        std::printf("%s\n", out.c_str());
    }
}

Json json_of(const recovery::ReplicaFacts& facts) {
    return {{"incarnation", facts.name.incarnation.value},
            {"place", recovery::text(facts.name.place)},
            {"running", facts.running},
            {"pid", facts.pid},
            {"port", facts.port},
            {"detail", facts.detail}};
}

void list(const Options& options) {
    const config::Config config = load(options);
    ReplicaActions actions(config);
    const auto rows = actions.list(targets_of(config, options, true));
    if (!rows) {
        std::fprintf(stderr, "quorate replica: %s\n", rows.error().c_str());
        leave(Exit::failed);
    }
    if (!options.json) return print_table(config, *rows);
    Json replicas = Json::array();
    for (const ReplicaActions::Row& row : *rows) {
        Json object = json_of(config, row.target, row.seat);
        object["external"] = row.external;
        object["process"] = row.facts ? json_of(*row.facts) : Json();
        object["others"] = Json::array();
        for (const auto& other : row.others) object["others"].push_back(json_of(other));
        replicas.push_back(std::move(object));
    }
    print_json(Json{{"replicas", std::move(replicas)}});
}

// Removes what killed supervisors left, and nothing else.
void clean(const Options& options) {
    const config::Config config = load(options);
    const auto removed = ReplicaHosts(config).clean();
    if (!removed) {
        std::fprintf(stderr, "quorate replica: %s\n", removed.error().what.c_str());
        leave(Exit::failed);
    }
    if (options.json) return print_json(Json{{"ok", true}, {"removed", *removed}});
    std::printf("%u removed\n", *removed);
}

// One file, one domain.
void dump(const Options& options) {
    if (options.all || options.replicas.size() != 1) {
        std::fprintf(stderr, "quorate replica: dump takes one replica\n");
        leave(Exit::usage);
    }
    act(options, [&](ReplicaActions& actions, const Target& target) {
        return actions.dump(target, options.file);
    });
}

void add(CLI::App& parent, const char* name, const char* about, bool names_replicas,
         const std::function<void(const Options&)>& run,
         const std::function<void(CLI::App&, Options&)>& more = {}) {
    auto options = std::make_shared<Options>();
    CLI::App* command = parent.add_subcommand(name, about);
    command->add_option("--config,-c", options->config, "the configuration (TOML)")->required();
    if (names_replicas) {
        command->add_option("REPLICA", options->replicas,
                            "[GROUP/]SLOT or [GROUP/]NAME; the group where it is not clear");
        command->add_flag("--all", options->all, "all replicas of the configuration");
    }
    command->add_flag("--json", options->json, "print one JSON object instead");
    if (more) more(*command, *options);
    command->callback([options, run] { run(*options); });
}

}  // namespace

void add_replica(CLI::App& app) {
    CLI::App* replica = app.add_subcommand(
        "replica",
        "Start, stop, restart, suspend, admit, pause, resume and list the replicas of a "
        "configuration.");
    replica->require_subcommand(1);
    const auto doing = [](Action action) {
        return [action](const Options& options) { act(options, action); };
    };
    add(*replica, "start", "Start replicas, each as a new incarnation, and wait until healthy.",
        true, doing(&ReplicaActions::start));
    add(*replica, "stop", "Stop replicas: their votes first, then the processes.", true,
        doing(&ReplicaActions::stop));
    add(*replica, "restart", "Stop replicas and start them anew in their other place.", true,
        doing(&ReplicaActions::restart));
    add(*replica, "suspend", "Take replicas out of the voting; they go on running.", true,
        doing(&ReplicaActions::suspend));
    add(*replica, "admit", "Have replicas vote again.", true, doing(&ReplicaActions::admit));
    add(*replica, "pause", "Have replicas stand still, votes and seats as they are.", true,
        doing(&ReplicaActions::pause));
    add(*replica, "resume", "Have paused replicas go on.", true, doing(&ReplicaActions::resume));
    add(*replica, "dump", "Write a domain's memory to a new file, which only we may read.", true,
        dump, [](CLI::App& command, Options& options) {
            command.add_option("--file", options.file, "the file")->required();
        });
    add(*replica, "list",
        "Show the roster and the processes or domains; all replicas unless some are named.", true,
        list);
    add(*replica, "clean", "Remove what is left of replicas that were killed.", false, clean);

    CLI::App* supervisor = app.add_subcommand(netns::supervisor_subcommand, "")->group("");
    supervisor->allow_extras();  // its replica's name, for whoever looks at the processes
    supervisor->callback([] { leave(static_cast<Exit>(netns::run_supervisor())); });
    CLI::App* builder = app.add_subcommand(xen::domain::helper_subcommand, "")->group("");
    builder->allow_extras();
    builder->callback([] { leave(static_cast<Exit>(xen::domain::run_helper())); });
    CLI::App* keeper = app.add_subcommand(xen::domain::keeper_subcommand, "")->group("");
    keeper->allow_extras();
    keeper->callback([] {
        xen::domain::XenMachine machine;
        leave(static_cast<Exit>(xen::domain::run_keeper(machine)));
    });
}

}  // namespace quorate
