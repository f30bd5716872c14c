#include "tools/quorate/control_options.hh"

#include <algorithm>
#include <cstdio>
#include <vector>

#include <CLI/CLI.hpp>

#include "config/config.hh"
#include "tools/quorate/commands.hh"

namespace quorate {

namespace {

std::vector<std::filesystem::path> sockets_here() {
    std::vector<std::filesystem::path> found;
    const std::filesystem::path parent = config::Machine::here().run_directory;
    std::error_code problem;
    std::filesystem::directory_iterator entries(parent, problem);
    while (!problem && entries != std::filesystem::directory_iterator()) {
        const std::filesystem::path socket = entries->path() / "control.sock";
        std::error_code not_there;
        if (std::filesystem::is_socket(socket, not_there)) found.push_back(socket);
        entries.increment(problem);
    }
    std::sort(found.begin(), found.end());
    return found;
}

}  // namespace

std::chrono::milliseconds ControlOptions::timeout() const {
    return std::chrono::milliseconds(static_cast<std::int64_t>(timeout_s * 1000));
}

void add_control_options(CLI::App& command, ControlOptions& options) {
    CLI::Option* config = command.add_option("--config,-c", options.config,
                                             "the configuration of the proxy that is meant");
    command
        .add_option("--socket,-s", options.socket,
                    "its control socket, STATE_DIR/control.sock.\n"
                    "With neither: the only proxy that runs here under the default directory.")
        ->excludes(config);
    command.add_option("--timeout", options.timeout_s, "seconds to wait for an answer")
        ->capture_default_str()
        ->check(CLI::Range(0.01, 3600.0));
}

std::filesystem::path control_socket(const ControlOptions& options) {
    if (!options.socket.empty()) return options.socket;
    if (!options.config.empty()) {
        // Whether this machine could run it is not the question.
        config::Machine machine = config::Machine::here();
        machine.cpus = 0;
        machine.files = false;
        const auto loaded = config::load(options.config, machine);
        if (loaded) return loaded->control_socket();
        std::fprintf(stderr, "%s\n", loaded.error().text().c_str());
        leave(Exit::usage);
    }
    const std::vector<std::filesystem::path> found = sockets_here();
    if (found.size() == 1) return found.front();
    if (found.empty()) {
        std::fprintf(stderr, "quorate: no proxy runs here; name one with --config or --socket\n");
        leave(Exit::unreachable);
    }
    std::fprintf(stderr, "quorate: which of these? Name one with --config or --socket:\n");
    for (const auto& socket : found) std::fprintf(stderr, "  %s\n", socket.c_str());
    leave(Exit::usage);
}

void leave_with(const ControlError& error) {
    std::fprintf(stderr, "quorate: %s\n", error.what.c_str());
    leave(error.refused ? Exit::failed : Exit::unreachable);
}

}  // namespace quorate
