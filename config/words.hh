// Small texts of error messages, and small values written as text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace config {

// In double quotes, control characters escaped, long ones cut: safe to print on one line.
std::string in_quotes(std::string_view text);
// "a", "b" or "c"
std::string one_of(const std::vector<std::string_view>& names);
// "1 group", "3 groups"
std::string counted(std::size_t count, std::string_view singular);
// The candidate that is nearest to a word, where one is near enough to be meant.
std::optional<std::string_view> nearest(std::string_view word,
                                        const std::vector<std::string_view>& candidates);

// "512", "16 MiB", "16MiB", "1 GB". nullopt: not a size, or more than 2^63 bytes.
std::optional<std::uint64_t> parse_size(std::string_view text);
// 1536 -> "1536 bytes", 16777216 -> "16 MiB"
std::string size_text(std::uint64_t bytes);

// What groups, replicas and services may be called: letters, digits, '-', '_'; a letter or digit
// first; at most 32. Names become parts of paths.
constexpr std::size_t name_length_max = 32;
bool is_name(std::string_view text);
// What the kernel takes as an interface name: 1 .. 15 characters, no space, '/' or ':'.
bool is_interface_name(std::string_view text);

}  // namespace config
