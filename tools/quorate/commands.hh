// The subcommands of `quorate`. Each lives in its own file and registers itself with one function;
// to add one, declare its function here and call it in main.cc.
//
// A subcommand's callback returns for success and calls leave() for everything else. What was asked
// for goes to stdout, complaints go to stderr.
#pragma once

namespace CLI {
class App;
}

namespace quorate {

// Exit codes, the same for all subcommands; printed by --help.
enum class Exit : int {
    ok = 0,
    failed = 1,       // what was asked about is bad, or what was asked for failed
    usage = 2,        // wrong arguments or wrong configuration
    unreachable = 3,  // the proxy does not answer
};

// Thrown through CLI11's parse() to end the program with a code.
struct Leave {
    Exit code;
};
[[noreturn]] inline void leave(Exit code) { throw Leave{code}; }

void add_check(CLI::App& app);
void add_compare(CLI::App& app);
void add_reload(CLI::App& app);
void add_replay(CLI::App& app);
void add_replica(CLI::App& app);
void add_status(CLI::App& app);
void add_top(CLI::App& app);

}  // namespace quorate
