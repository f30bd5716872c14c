#include "tools/quorate/styled_text.hh"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include <unistd.h>

namespace quorate {

namespace {

// Columns it takes: characters, not bytes. (Wide ones are counted as one.)
std::size_t width_of(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u;
    }));
}

const char* escape_of(Tone tone) {
    switch (tone) {
        case Tone::plain:
            return "";
        case Tone::strong:
            return "\x1b[1m";
        case Tone::dim:
            return "\x1b[2m";
        case Tone::good:
            return "\x1b[32m";
        case Tone::warning:
            return "\x1b[33m";
        case Tone::bad:
            return "\x1b[1;31m";
    }
    return "";
}

template <class... Arguments>
std::string formatted(const char* format, Arguments... arguments) {
    std::array<char, 64> buffer{};
    std::snprintf(buffer.data(), buffer.size(), format, arguments...);
    return buffer.data();
}

}  // namespace

Lines Table::lines() const {
    std::vector<std::size_t> widths(columns_.size());
    for (const Line& row : rows_) {
        for (std::size_t i = 0; i < row.size() && i < widths.size(); ++i) {
            widths[i] = std::max(widths[i], width_of(row[i].text));
        }
    }
    Lines out;
    for (const Line& row : rows_) {
        Line line{{indent_, Tone::plain}};
        std::size_t last = row.size();
        while (last > 0 && row[last - 1].text.empty()) --last;
        for (std::size_t i = 0; i < last && i < widths.size(); ++i) {
            const std::string blanks(widths[i] - width_of(row[i].text), ' ');
            const bool right = columns_[i] == Align::right;
            if (i != 0) line.push_back({"  ", Tone::plain});
            if (right) line.push_back({blanks, Tone::plain});
            line.push_back(row[i]);
            if (!right && i + 1 < last) line.push_back({blanks, Tone::plain});
        }
        out.push_back(std::move(line));
    }
    return out;
}

std::string text_of(const Lines& lines, bool colour) {
    std::string out;
    for (const Line& line : lines) {
        for (const Span& span : line) {
            const bool toned = colour && span.tone != Tone::plain && !span.text.empty();
            if (toned) out += escape_of(span.tone);
            out += span.text;
            if (toned) out += "\x1b[0m";
        }
        out += '\n';
    }
    return out;
}

bool wants_colour(int fd) {
    const char* const no_colour = std::getenv("NO_COLOR");
    if (no_colour != nullptr && no_colour[0] != '\0') return false;
    const char* const terminal = std::getenv("TERM");
    if (terminal == nullptr || std::string_view(terminal) == "dumb") return false;
    return ::isatty(fd) == 1;
}

std::string printable(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    }
    return out;
}

std::string grouped(std::uint64_t number) {
    std::string out = std::to_string(number);
    for (std::size_t at = out.size(); at > 3;) {
        at -= 3;
        out.insert(at, 1, ',');
    }
    return out;
}

std::string hexadecimal(std::uint64_t number) {
    return formatted("0x%llx", static_cast<unsigned long long>(number));
}

std::string rate_text(double per_second) {
    if (!(per_second > 0)) return "0/s";
    if (per_second < 9.95) return formatted("%.1f/s", per_second);
    return grouped(static_cast<std::uint64_t>(std::llround(std::min(per_second, 1e18)))) + "/s";
}

std::string latency_text(double microseconds) {
    const bool seconds = microseconds >= 999'500;
    if (microseconds < 999.5) return formatted("%.0f us", microseconds);
    const double value = microseconds / (seconds ? 1e6 : 1e3);
    const int digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    return formatted("%.*f %s", digits, value, seconds ? "s" : "ms");
}

std::string age_text(std::uint64_t seconds) {
    const auto whole = [](std::uint64_t part) { return static_cast<unsigned long long>(part); };
    if (seconds < 60) return formatted("%llu s", whole(seconds));
    if (seconds < 3600)
        return formatted("%llu min %02llu s", whole(seconds / 60), whole(seconds % 60));
    if (seconds < 86'400) {
        return formatted("%llu h %02llu min", whole(seconds / 3600), whole(seconds % 3600 / 60));
    }
    return formatted("%llu d %02llu h", whole(seconds / 86'400), whole(seconds % 86'400 / 3600));
}

std::string counted(std::uint64_t count, std::string_view singular) {
    std::string out = grouped(count) + " " + std::string(singular);
    if (count != 1) out += 's';
    return out;
}

}  // namespace quorate
