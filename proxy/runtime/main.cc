// quorate-proxy: the data plane as a process.
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <iostream>

#include <CLI/CLI.hpp>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "proxy/ports/eal.hh"
#include "proxy/runtime/appliance.hh"
#include "proxy/runtime/control_server.hh"
#include "proxy/runtime/telemetry.hh"

namespace proxy {

void say(const std::string& text) {
    char clock[16];
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    std::strftime(clock, sizeof clock, "%H:%M:%S", localtime_r(&now, &parts));
    std::fprintf(stderr, "%s quorate-proxy: %s\n", clock, text.c_str());
}

}  // namespace proxy

namespace {

constexpr int exit_ok = 0;
constexpr int exit_failed = 1;
constexpr int exit_usage = 2;
constexpr int tick_ms = 20;

// SIGTERM and SIGINT end it, SIGHUP reloads; blocked everywhere, read here.
int signal_descriptor() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    return signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
}

void serve(proxy::Appliance& appliance, proxy::ControlServer& control, const bool& shutdown,
           int signals) {
    while (!shutdown) {
        std::vector<pollfd> set{{signals, POLLIN, 0}};
        control.add_descriptors(set);
        ::poll(set.data(), set.size(), tick_ms);
        signalfd_siginfo info{};
        while (::read(signals, &info, sizeof info) == sizeof info) {
            if (info.ssi_signo != SIGHUP) return;
            const auto answer = appliance.command({{"command", "reload"}});
            if (!answer["ok"]) proxy::say("not reloaded: " + answer["error"].get<std::string>());
        }
        control.serve(set);
        appliance.tick();
    }
}

int run(const std::string& file, const proxy::ApplianceOptions& options) {
    auto config = config::load(file);
    if (!config) {
        std::cerr << config.error().text() << "\n";
        return exit_usage;
    }
    std::error_code error;
    std::filesystem::create_directories(config->state_dir, error);
    if (error) {
        std::cerr << "cannot make " << config->state_dir.string() << ": " << error.message()
                  << "; choose another appliance.state_dir\n";
        return exit_failed;
    }
    const int signals = signal_descriptor();
    std::vector<std::string> pci;
    for (const config::PortSpec& port : config->client_ports) {
        if (port.kind == config::PortSpec::Kind::pci) pci.push_back(port.what);
    }
    for (const config::Group& group : config->groups) {
        for (const config::Replica& replica : group.replicas) {
            for (const auto& place : {replica.place_a, replica.place_b}) {
                if (place && place->kind == config::PortSpec::Kind::pci) pci.push_back(place->what);
            }
        }
    }
    if (auto eal = proxy::start_eal(config->eal, config->name, config->state_dir, pci); !eal) {
        std::cerr << "quorate-proxy: " << eal.error() << "\n";
        return exit_failed;
    }
    int result = exit_failed;
    const auto control_path = config->control_socket();
    const unsigned control_mode = config->control_mode;
    if (auto appliance = proxy::Appliance::create(std::move(*config), options); !appliance) {
        std::cerr << "quorate-proxy: " << appliance.error() << "\n";
    } else {
        bool shutdown = false;
        auto control = proxy::ControlServer::listen(
            control_path, control_mode, [&](const nlohmann::json& request) -> nlohmann::json {
                if (request.is_object() && request.value("command", "") == "shutdown") {
                    shutdown = true;
                    return {{"ok", true}};
                }
                return (*appliance)->command(request);
            });
        if (!control) {
            std::cerr << "quorate-proxy: " << control.error() << "\n";
        } else {
            (*appliance)->announce();
            serve(**appliance, *control, shutdown, signals);
            proxy::say("stopping");
            result = exit_ok;
        }
    }
    proxy::stop_eal();
    return result;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{
        "Stands in front of a service, gives each request to all replicas, votes on their replies "
        "and "
        "releases what a quorum agrees on.\n"
        "Runs in the foreground; SIGTERM ends it, SIGHUP reloads the configuration. It may be "
        "killed at "
        "any instant and started again.\n"
        "Exit status: 0 ended as asked, 1 could not start (the reason is on standard error), 2 "
        "usage or "
        "configuration error."};
    std::string file;
    proxy::ApplianceOptions options;
    app.set_version_flag("--version", "quorate-proxy " QUORATE_VERSION);
    app.add_option("-c,--config", file, "the configuration (TOML); `quorate check FILE` checks it")
        ->required();
    app.add_flag("--measure-without-voting", options.measure_without_voting,
                 "benchmarks only: release the FIRST reply, unvoted. Protects nobody");
    // For `quorate replay`, which says more about them.
    app.add_option("--replay-from", options.replay_descriptor)->group("");
    app.add_option("--replay-window", options.replay_window)->group("");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? exit_ok : exit_usage;
    }
    return run(file, options);
}
