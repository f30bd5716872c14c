// A first look through a capture, before anything is started: what of it is for which service, so
// that a capture that is of no use is one clear error, and progress knows how much there is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <tl/expected.hpp>

#include "tools/replay/selection.hh"

namespace replay {

struct Survey {
    Wanted wanted;              // with by_port, where only that finds requests
    Tally tally;                // under it
    bool complete = true;       // false: the capture can be read once only, so nobody looked
    std::string complaint;      // why the capture ends before its file does; empty: it does not
    std::uint64_t span_ns = 0;  // from the first request to the last
};

// Reads a regular file twice from here on; anything else (a pipe, "-") is not looked at, and taken
// by address unless a port was named. The error: it cannot be read, or there is nothing for a
// service, with what there is instead.
tl::expected<Survey, std::string> survey(const std::filesystem::path& capture,
                                         const config::Config& config, const Wanted& wanted);

// Whether a capture can be read more than once.
bool can_be_read_again(const std::filesystem::path& capture);

// "12 not for a service, 3 fragments"; empty: nothing was skipped.
std::string skips_text(const Tally& tally);

}  // namespace replay
