// `quorate`, the operator's command line. It decides nothing: it checks files, asks the proxy over
// its control socket, and prints.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "config/words.hh"
#include "tools/quorate/commands.hh"

namespace quorate {

namespace {

constexpr const char* exit_codes =
    "Exit codes:\n"
    "  0  ok\n"
    "  1  what was asked about is bad, or what was asked for failed\n"
    "  2  wrong arguments, or a wrong configuration\n"
    "  3  the proxy cannot be reached\n";

// What CLI11 would call a missing or unexpected argument: a word where a subcommand belongs.
bool complain_of_command(const CLI::App& app, int argc, char** argv) {
    if (argc < 2 || argv[1][0] == '-') return false;
    std::vector<std::string> names;
    for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
    if (std::find(names.begin(), names.end(), argv[1]) != names.end()) return false;
    const auto meant =
        config::nearest(argv[1], std::vector<std::string_view>(names.begin(), names.end()));
    std::fprintf(stderr, "quorate: there is no command %s", config::in_quotes(argv[1]).c_str());
    if (meant) std::fprintf(stderr, "; did you mean %s?", std::string(*meant).c_str());
    std::fprintf(stderr, "\nRun with --help for more information.\n");
    return true;
}

int run(int argc, char** argv) {
    CLI::App app{
        "Quorate runs a service as several replicas and lets out only what a quorum of "
        "them agrees on.\nThis is its operator's tool."};
    app.name("quorate");
    app.set_version_flag("--version", "quorate " QUORATE_VERSION);
    app.require_subcommand(1);
    app.footer(exit_codes);

    add_check(app);
    add_compare(app);
    add_replay(app);
    add_replica(app);
    add_status(app);
    add_top(app);
    add_reload(app);

    if (complain_of_command(app, argc, argv)) return static_cast<int>(Exit::usage);
    try {
        app.parse(argc, argv);
        return static_cast<int>(Exit::ok);
    } catch (const Leave& left) {
        return static_cast<int>(left.code);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : static_cast<int>(Exit::usage);
    }
}

}  // namespace

}  // namespace quorate

int main(int argc, char** argv) {
    try {
        const int code = quorate::run(argc, argv);
        if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
        std::fprintf(stderr, "quorate: the output could not be written\n");
    } catch (const std::exception& error) {
        std::fprintf(stderr, "quorate: %s\n", error.what());
    }
    return static_cast<int>(quorate::Exit::failed);
}
