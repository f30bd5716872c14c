// quorate check FILE: is this configuration right?
#include <cstdio>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "config/config.hh"
#include "config/words.hh"
#include "tools/quorate/commands.hh"
#include "tools/quorate/output.hh"

namespace quorate {

namespace {

using Json = nlohmann::ordered_json;

struct Options {
    std::string file;
    bool json = false;
};

void check(const Options& options) {
    const auto loaded = config::load(options.file);
    if (!loaded) {
        const config::Error& error = loaded.error();
        if (options.json) {
            print_json(Json{{"ok", false},
                            {"file", options.file},
                            {"line", error.line},
                            {"key", error.key},
                            {"what", error.what},
                            {"fix", error.fix}});
        } else {
            std::fprintf(stderr, "%s\n", error.text().c_str());
        }
        leave(Exit::failed);
    }
    std::size_t replicas = 0;
    for (const config::Group& group : loaded->groups) replicas += group.replicas.size();
    if (options.json) {
        print_json(Json{{"ok", true},
                        {"file", options.file},
                        {"name", loaded->name},
                        {"groups", loaded->groups.size()},
                        {"replicas", replicas},
                        {"services", loaded->services.size()}});
        return;
    }
    std::printf("%s: ok: %s, %s, %s\n", options.file.c_str(),
                config::counted(loaded->groups.size(), "group").c_str(),
                config::counted(replicas, "replica").c_str(),
                config::counted(loaded->services.size(), "service").c_str());
}

}  // namespace

void add_check(CLI::App& app) {
    auto options = std::make_shared<Options>();
    CLI::App* command = app.add_subcommand(
        "check",
        "Check a configuration completely, as the proxy does before it starts.\n"
        "Prints one line: what is there, or the first error with its line, key and a fix.");
    command->add_option("FILE", options->file, "the configuration (TOML)")->required();
    command->add_flag("--json", options->json, "print one JSON object instead");
    command->callback([options] { check(*options); });
}

}  // namespace quorate
