// quorate reload: let a running proxy read its configuration again.
#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>

#include "tools/quorate/commands.hh"
#include "tools/quorate/control_options.hh"

namespace quorate {

namespace {

void reload(const ControlOptions& options) {
    auto client = ControlClient::connect(control_socket(options), options.timeout());
    if (!client) leave_with(client.error());
    const auto reply = client->ask({{"command", "reload"}});
    if (!reply) leave_with(reply.error());
    std::printf("reloaded\n");
}

}  // namespace

void add_reload(CLI::App& app) {
    auto options = std::make_shared<ControlOptions>();
    CLI::App* command = app.add_subcommand(
        "reload",
        "Let a running proxy read its configuration again and take what can change while it runs.\n"
        "Where the file is wrong, or changes what cannot change, it says so and keeps the old "
        "one.");
    add_control_options(*command, *options);
    command->callback([options] { reload(*options); });
}

}  // namespace quorate
