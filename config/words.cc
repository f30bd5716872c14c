#include "config/words.hh"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <limits>
#include <numeric>

namespace config {

namespace {

constexpr std::size_t quoted_length_max = 60;

bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// Insertions, deletions, replacements and swaps of neighbours from one word to the other.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> before(b.size() + 1);  // the row before the last one
    std::vector<std::size_t> last(b.size() + 1);
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(last.begin(), last.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        row[0] = i + 1;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t replaced = last[j] + (a[i] == b[j] ? 0 : 1);
            row[j + 1] = std::min({replaced, row[j] + 1, last[j + 1] + 1});
            if (i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j]) {
                row[j + 1] = std::min(row[j + 1], before[j - 1] + 1);
            }
        }
        std::swap(before, last);
        std::swap(last, row);
    }
    return last.back();
}

struct Unit {
    std::string_view name;
    std::uint64_t bytes;
};
constexpr Unit units[] = {
    {"", 1},           {"B", 1},      {"KiB", 1u << 10}, {"MiB", 1u << 20},
    {"GiB", 1u << 30}, {"kB", 1'000}, {"MB", 1'000'000}, {"GB", 1'000'000'000},
};

}  // namespace

std::string in_quotes(std::string_view text) {
    std::size_t length = std::min(text.size(), quoted_length_max);
    if (length < text.size()) {
        // Not in the middle of a UTF-8 character.
        while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xc0u) == 0x80u) --length;
    }
    std::string out = "\"";
    for (const char character : text.substr(0, length)) {
        const auto c = static_cast<unsigned char>(character);
        if (c == '\n') {
            out += "\\n";
        } else if (c < 0x20 || c == 0x7f) {
            char escaped[8];
            std::snprintf(escaped, sizeof escaped, "\\x%02x", c);
            out += escaped;
        } else {
            out += character;
        }
    }
    if (length < text.size()) out += "...";
    return out + "\"";
}

std::string one_of(const std::vector<std::string_view>& names) {
    std::string out;
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (i != 0) out += i + 1 == names.size() ? " or " : ", ";
        out += in_quotes(names[i]);
    }
    return out;
}

std::string counted(std::size_t count, std::string_view singular) {
    std::string out = std::to_string(count) + " " + std::string(singular);
    return count == 1 ? out : out + "s";
}

std::optional<std::string_view> nearest(std::string_view word,
                                        const std::vector<std::string_view>& candidates) {
    if (word.size() > 64) return std::nullopt;
    std::optional<std::string_view> best;
    // A third of the word may be wrong.
    std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
    for (const std::string_view candidate : candidates) {
        std::size_t apart = distance(word, candidate);
        // "window" for "window_ms", "replicas" for "replica".
        if (word.size() >= 4 && candidate.size() >= 4 &&
            (candidate.starts_with(word) || word.starts_with(candidate))) {
            apart = 1;
        }
        if (apart < best_distance) {
            best_distance = apart;
            best = candidate;
        }
    }
    return best;
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
    std::uint64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{}) return std::nullopt;
    std::string_view unit(rest, static_cast<std::size_t>(end - rest));
    if (unit.size() > 1 && unit.starts_with(' ')) unit.remove_prefix(1);
    for (const Unit& known : units) {
        if (unit != known.name) continue;
        constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
        if (value > most / known.bytes) return std::nullopt;
        return value * known.bytes;
    }
    return std::nullopt;
}

std::string size_text(std::uint64_t bytes) {
    static constexpr const char* names[] = {"bytes", "KiB", "MiB", "GiB"};
    std::size_t unit = 0;
    while (unit < 3 && bytes >= 1024 && bytes % 1024 == 0) {
        bytes /= 1024;
        ++unit;
    }
    return std::to_string(bytes) + " " + names[unit];
}

bool is_name(std::string_view text) {
    if (text.empty() || text.size() > name_length_max || !is_letter_or_digit(text[0])) return false;
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return is_letter_or_digit(c) || c == '-' || c == '_'; });
}

bool is_interface_name(std::string_view text) {
    if (text.empty() || text.size() > 15 || text == "." || text == "..") return false;
    return std::all_of(text.begin(), text.end(), [](char c) {
        return c > ' ' && c < 0x7f && c != '/' && c != ':' && c != ',';
    });
}

}  // namespace config
