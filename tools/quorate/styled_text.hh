// Text for people: lines of toned spans, so that a terminal, a curses screen and a test show the
// same thing, and figures with separators and units.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quorate {

enum class Tone : std::uint8_t { plain, strong, dim, good, warning, bad };

struct Span {
    std::string text;
    Tone tone = Tone::plain;
};
using Line = std::vector<Span>;
using Lines = std::vector<Line>;

// Columns two spaces apart; empty rows and columns are kept, trailing blanks are not.
class Table {
  public:
    enum class Align : std::uint8_t { left, right };
    Table(std::vector<Align> columns, std::string indent)
        : columns_(std::move(columns)), indent_(std::move(indent)) {}
    void add(Line row) { rows_.push_back(std::move(row)); }
    Lines lines() const;

  private:
    std::vector<Align> columns_;
    std::string indent_;
    Lines rows_;
};

std::string text_of(const Lines& lines, bool colour);
// Colour is for terminals, and for people who did not say NO_COLOR (https://no-color.org).
bool wants_colour(int fd);

// What others sent, fit for a terminal: control characters become '?'.
std::string printable(std::string_view text);

// 1,234,567
std::string grouped(std::uint64_t number);
// 0x1f
std::string hexadecimal(std::uint64_t number);
// "12,346/s", "3.4/s", "0/s"
std::string rate_text(double per_second);
// "950 us", "1.25 ms", "250 ms", "2.00 s"
std::string latency_text(double microseconds);
// "4 s", "2 min 05 s", "3 h 07 min", "12 d 04 h"
std::string age_text(std::uint64_t seconds);
// "1 fault", "2 faults"
std::string counted(std::uint64_t count, std::string_view singular);

// "-" for what is not known.
template <class T, class Format>
std::string or_dash(const std::optional<T>& value, Format&& format) {
    return value ? format(*value) : std::string("-");
}

}  // namespace quorate
