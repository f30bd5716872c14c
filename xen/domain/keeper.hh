// The process that stays with a domain: `quorate replica-console`, hidden. It keeps the console in
// the bounded log and notes the domain's death in record and log. It decides nothing and ends with
// the domain; without it the domain goes on, and nobody reads its console.
//
// Known limit: what the domain says while nobody keeps its console is lost.
#pragma once

#include <string>

#include <tl/expected.hpp>

#include "xen/domain/machine.hh"

namespace xen::domain {

constexpr const char* keeper_subcommand = "replica-console";

// main(); the exit code. Reads its order from standard input, and returns once the keeper stands,
// in the background, and is in the record.
int run_keeper(Machine& machine);

std::string to_text(const KeeperOrder& order);
tl::expected<KeeperOrder, std::string> parse_order(const std::string& text);

}  // namespace xen::domain
