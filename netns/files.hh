// The files of a replica, written before it starts: from its configuration, or copied.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include <tl/expected.hpp>

#include "config/config.hh"

namespace netns {

// "{dir}" replaced by the replica's directory, everywhere in the text.
std::string with_directory(std::string text, const std::filesystem::path& directory);

// Makes the directory (0700, or 0755 above it) with the replica's files and copies in it, owned by
// its user. Files are 0600, 0700 where the copied one is executable. On an error some may be there.
tl::expected<void, std::string> write_files(const config::NetnsReplica& replica,
                                            const std::filesystem::path& directory);

}  // namespace netns
