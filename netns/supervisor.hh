// One small process for each replica, outside its namespaces: it makes them and the link, keeps the
// record and the log, and ends everything when it is told to or when the service ends. It never
// starts anything again: that is recovery's decision.
//
// Killed at any instant it leaves nothing that runs: process 1 of the namespaces dies with it, all
// others die with that one, and the link with its namespace. Files and the record stay for
// remove_remains().
#pragma once

namespace netns {

// The hidden subcommand that a host re-executes its program with.
inline constexpr const char* supervisor_subcommand = "replica-supervisor";
// Where the supervisor says how the start went: nothing when it succeeded, else why not; after
// either it is closed.
inline constexpr int status_descriptor = 3;

// Reads a Spec from standard input, goes to the background and supervises. The exit status of the
// program: 0 once it is in the background.
int run_supervisor();

}  // namespace netns
