// Text that a guest may have written, made fit to be shown to people.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace xen::domain {

// Printable ASCII, tabs and line ends; everything else becomes '?' (no terminal can be led astray
// by it), at most `bytes_max` of it.
std::string plain(std::string_view text, std::size_t bytes_max = 65'536);
// The last lines, plain, without the final line end.
std::string last_lines(std::string_view text, unsigned count);
// "2026-11-22 21:50:00", local
std::string time_text();

}  // namespace xen::domain
