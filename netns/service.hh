// Starting a program of the replica: as whom, where, with what, and without the rights of the one
// who starts it.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>
#include <tl/expected.hpp>

#include "netns/record.hh"

namespace netns {

// In a session and process group of its own, in the replica's directory, with the descriptors
// `output` for both streams and nothing else open. Returns once the program itself runs; the error
// says why it does not.
tl::expected<pid_t, std::string> start_program(const Spec& spec,
                                               const std::vector<std::string>& command, int output);

}  // namespace netns
