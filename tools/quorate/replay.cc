// quorate replay: the client requests of a capture through the whole appliance, and what came of
// it.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "config/config.hh"
#include "config/words.hh"
#include "tools/quorate/commands.hh"
#include "tools/quorate/output.hh"
#include "tools/quorate/replay_session.hh"
#include "tools/replay/survey.hh"

namespace quorate {

namespace {

constexpr std::uintmax_t long_look_bytes = 256u << 20;  // a second or more

struct Arguments {
    std::filesystem::path capture;
    std::filesystem::path config;
    replay::Speed speed;
    double per_second = 0;
    std::uint64_t window = 0;
    bool window_given = false;
    std::uint64_t passes = 1;
    std::string service;
    std::uint16_t port = 0;
    bool keep_state = false;
    bool json = false;
};

[[noreturn]] void complain(const std::string& text, Exit code) {
    std::fprintf(stderr, "quorate replay: %s\n", text.c_str());
    leave(code);
}

config::Config load(const Arguments& arguments) {
    auto loaded = config::load(arguments.config);
    if (loaded) return std::move(*loaded);
    std::fprintf(stderr, "%s\n", loaded.error().text().c_str());
    leave(Exit::usage);
}

replay::Wanted wanted_of(const config::Config& config, const Arguments& arguments) {
    replay::Wanted wanted;
    if (arguments.port != 0) wanted.port = arguments.port;
    if (!arguments.service.empty()) {
        std::string names;
        for (std::size_t i = 0; i < config.services.size(); ++i) {
            if (config.services[i].name == arguments.service) wanted.service = i;
            names += (i == 0 ? "" : ", ") + config.services[i].name;
        }
        if (!wanted.service) {
            complain("there is no service \"" + arguments.service + "\"; there are " + names,
                     Exit::usage);
        }
    } else if (wanted.port && config.services.size() != 1) {
        complain("--port needs --service: there are several", Exit::usage);
    }
    return wanted;
}

// Two thirds of what the replicas take of clients that are not known yet: room for one that is a
// little slower than the others.
std::uint64_t default_window(const config::Config& config, const std::vector<std::size_t>& groups) {
    std::uint64_t window = UINT64_MAX;
    for (const std::size_t index : groups) {
        const config::Group& group = config.groups[index];
        const std::uint64_t share = group.inflight_max * (100 - group.reserved_percent) / 100;
        window = std::min(window, std::max<std::uint64_t>(1, share * 2 / 3));
    }
    return window;
}

std::vector<std::size_t> groups_of(const config::Config& config, const replay::Survey& found) {
    std::vector<std::size_t> groups;
    for (std::size_t i = 0; i < config.services.size(); ++i) {
        const auto& wanted = found.wanted.service;
        const bool asked = found.complete ? found.tally.taken[i] != 0 : !wanted || *wanted == i;
        const std::size_t group = *config.group_index(config.services[i].group);
        const bool known = std::find(groups.begin(), groups.end(), group) != groups.end();
        if (asked && !known) groups.push_back(group);
    }
    return groups;
}

replay::Survey look_at(const config::Config& config, const Arguments& arguments) {
    std::error_code error;
    const bool stream =
        arguments.capture == "-" || std::filesystem::is_fifo(arguments.capture, error);
    if (arguments.passes != 1 && stream) {
        complain("--loop needs a file: " + arguments.capture.string() + " can be read once",
                 Exit::usage);
    }
    const auto bytes = std::filesystem::file_size(arguments.capture, error);
    if (!error && bytes >= long_look_bytes) {
        std::fprintf(stderr, "looking through %s (%s)\n", arguments.capture.c_str(),
                     config::size_text(bytes).c_str());
    }
    auto found = replay::survey(arguments.capture, config, wanted_of(config, arguments));
    if (!found) complain(found.error(), Exit::failed);
    return std::move(*found);
}

void start_replicas(const config::Config& config, const Arguments& arguments,
                    ReplayReplicas& replicas) {
    if (auto looked = replicas.look(); !looked) complain(looked.error(), Exit::failed);
    if (const std::string history = replicas.history(); !history.empty() && !arguments.keep_state) {
        complain(history +
                     ": say --keep-state if that is wanted, or replay with a configuration "
                     "that has another appliance.name and state_dir",
                 Exit::failed);
    }
    if (replicas.to_start().empty()) return;
    std::string names;
    for (const Target& target : replicas.to_start()) {
        names += (names.empty() ? "" : ", ") + text_of(config, target);
    }
    std::fprintf(stderr, "starting %s\n", names.c_str());
    if (auto started = replicas.start(); !started) complain(started.error(), Exit::failed);
}

void run(const Arguments& arguments) {
    const config::Config config = load(arguments);
    const replay::Survey found = look_at(config, arguments);
    if (const std::string proxy = proxy_in_the_way(config); !proxy.empty()) {
        complain(proxy, Exit::failed);
    }
    ReplaySettings settings;
    settings.config_file = arguments.config;
    settings.groups = groups_of(config, found);
    settings.stream = {arguments.capture, found.wanted, arguments.speed, arguments.passes};
    settings.found = found;
    if (arguments.speed.top || arguments.window_given) {
        settings.window =
            arguments.window_given ? arguments.window : default_window(config, settings.groups);
    }
    EndSignals signals;
    ReplayReplicas replicas(config, settings.groups);
    start_replicas(config, arguments, replicas);
    const auto result = run_replay(config, settings, signals);
    const std::string left = replicas.stop();
    if (!left.empty()) std::fprintf(stderr, "quorate replay: %s\n", left.c_str());
    if (!result) complain(result.error(), Exit::failed);
    const replay::Json summary = replay::summary(config, result->outcome, result->status);
    if (arguments.json) {
        print_json(summary);
    } else {
        std::fputs(replay::summary_text(summary).c_str(), stdout);
    }
    if (!result->outcome.complaint.empty()) complain(result->outcome.complaint, Exit::failed);
    if (!left.empty()) leave(Exit::failed);
}

constexpr const char* about =
    "Replay the client requests of a capture (pcap, pcapng) through the whole appliance:\n"
    "the same pipeline and replicas, with rings in the place of the client ports.";

constexpr const char* footer =
    "Requests are the packets to the address and UDP port of a service; where there are none, "
    "those\n"
    "to a service's port, given its address. Each is written anew with right checksums. Replicas "
    "that\nrun are used; those of a group of which none runs are started, and stopped at the end. "
    "The proxy\nof the configuration must not run.\n"
    "Latency is from a request's arrival at a worker to its reply's leaving.\n"
    "^C ends it in order, with the summary.\n"
    "Exit codes: 0 it ran to its end, or until ^C; 1 it could not (whole capture, replicas, "
    "proxy);\n"
    "2 wrong arguments or configuration.\n"
    "  quorate replay clients.pcap --config quorate.toml --multiplier 2\n"
    "  quorate replay clients.pcap --config quorate.toml --topspeed --loop 10 --json";

}  // namespace

void add_replay(CLI::App& app) {
    CLI::App* command = app.add_subcommand("replay", about);
    command->footer(footer);
    auto arguments = std::make_shared<Arguments>();
    command
        ->add_option("CAPTURE", arguments->capture,
                     "a file; - (standard input) and pipes are read once, so taken by address only")
        ->required();
    command->add_option("-c,--config", arguments->config, "the configuration (TOML)")->required();
    CLI::Option* multiplier = command
                                  ->add_option("--multiplier", arguments->speed.multiplier,
                                               "so many times the recorded speed (default 1)")
                                  ->check(CLI::Range(1e-6, 1e6));
    CLI::Option* pps =
        command->add_option("--pps", arguments->per_second, "so many requests a second, evenly")
            ->check(CLI::Range(1e-3, 1e8))
            ->excludes(multiplier);
    command
        ->add_flag("--topspeed", arguments->speed.top,
                   "as fast as answers come, with --window requests under way")
        ->excludes(multiplier)
        ->excludes(pps);
    CLI::Option* window =
        command
            ->add_option(
                "--window", arguments->window,
                "requests under way at most; 0: any number, and what the replicas have no\n"
                "room for is refused. Default with --topspeed: two thirds of what they\n"
                "take of strangers; else 0")
            ->check(CLI::Range(std::uint64_t{0}, std::uint64_t{1'000'000}));
    command
        ->add_option("--loop", arguments->passes,
                     "so many times through the capture (default 1); 0: until ^C")
        ->check(CLI::Range(std::uint64_t{0}, std::uint64_t{1'000'000'000}));
    command->add_option("--service", arguments->service, "only requests for this service");
    command
        ->add_option("--port", arguments->port,
                     "the UDP port that the capture has for --service, at any address")
        ->check(CLI::Range(1, 65535));
    command->add_flag("--keep-state", arguments->keep_state,
                      "let the replay become part of the state of replicas that have some");
    command->add_flag("--json", arguments->json, "the summary as one JSON object");
    command->callback([arguments, window, pps] {
        arguments->window_given = window->count() != 0;
        if (pps->count() != 0) arguments->speed.per_second = arguments->per_second;
        run(*arguments);
    });
}

}  // namespace quorate
