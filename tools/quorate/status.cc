// quorate status: how is it? For people, for scripts (--json), and for monitoring (the exit code).
#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "tools/quorate/commands.hh"
#include "tools/quorate/control_options.hh"
#include "tools/quorate/output.hh"
#include "tools/quorate/settled_status.hh"
#include "tools/quorate/status_view.hh"

namespace quorate {

namespace {

struct Options {
    ControlOptions control;
    bool json = false;
};

void status(const Options& options) {
    auto client =
        ControlClient::connect(control_socket(options.control), options.control.timeout());
    if (!client) leave_with(client.error());
    const auto object = settled_status(*client);
    if (!object) leave_with(object.error());
    const ProxyStatus read = read_status(*object);
    if (options.json) {
        print_json(*object);
    } else {
        std::fputs(text_of(status_page(read), wants_colour(STDOUT_FILENO)).c_str(), stdout);
    }
    if (!read.healthy()) leave(Exit::failed);
}

}  // namespace

void add_status(CLI::App& app) {
    auto options = std::make_shared<Options>();
    CLI::App* command = app.add_subcommand(
        "status",
        "Show what a running proxy does: its groups, replicas, votes and dropped packets.\n"
        "Exits with 1 when a group cannot answer (halted, or fewer admitted replicas than its\n"
        "quorum) or packets are unaccounted for.");
    add_control_options(*command, options->control);
    command->add_flag("--json", options->json, "print the proxy's status object instead");
    command->callback([options] { status(*options); });
}

}  // namespace quorate
