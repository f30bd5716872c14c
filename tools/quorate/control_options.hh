// --config and --socket: which proxy a subcommand means.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>

#include "tools/quorate/control_client.hh"

namespace CLI {
class App;
}

namespace quorate {

struct ControlOptions {
    std::string config;
    std::string socket;
    double timeout_s = 3;

    std::chrono::milliseconds timeout() const;
};

void add_control_options(CLI::App& command, ControlOptions& options);

// From --socket, from the state_dir of --config, or, with neither, of the only proxy on this
// machine. Complains and leaves with Exit::usage where that does not say.
std::filesystem::path control_socket(const ControlOptions& options);

// Complains and leaves: Exit::failed where the proxy said no, Exit::unreachable otherwise.
[[noreturn]] void leave_with(const ControlError& error);

}  // namespace quorate
