// What a worker thread gives up before it sees its first packet: every capability, and every system
// call but those a worker makes. See README.md for what this is worth in one address space.
#pragma once

#include <cstdint>
#include <string>

#include <tl/expected.hpp>

namespace proxy {

// For the calling thread only, for good. After it, a forbidden call fails with EPERM and is
// counted. Installs a SIGSYS handler for the process, and unblocks that signal here.
// The error says what could not be given up; what could be, is. The caller decides.
tl::expected<void, std::string> drop_thread_privileges();

// By all threads that dropped theirs. Above zero, something is very wrong: a worker never makes
// such calls.
std::uint64_t denied_calls();
int last_denied_call();  // system call number, -1: none

}  // namespace proxy
