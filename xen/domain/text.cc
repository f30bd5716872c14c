#include "xen/domain/text.hh"

#include <algorithm>
#include <array>
#include <ctime>

namespace xen::domain {

std::string plain(std::string_view text, std::size_t bytes_max) {
    std::string out;
    for (const char c : text.substr(0, bytes_max)) {
        if (c == '\r') continue;  // before each line end of a console
        const bool shown = (c >= 0x20 && c < 0x7f) || c == '\n' || c == '\t';
        out += shown ? c : '?';
    }
    return out;
}

std::string last_lines(std::string_view text, unsigned count) {
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
    std::size_t at = text.size();
    while (count > 0 && at != 0) {
        at = text.rfind('\n', at - 1);
        if (at == std::string_view::npos) break;
        --count;
    }
    return plain(at == 0 || at == std::string_view::npos ? text : text.substr(at + 1));
}

std::string time_text() {
    std::array<char, 32> stamp{};
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::localtime_r(&now, &parts);
    std::strftime(stamp.data(), stamp.size(), "%Y-%m-%d %H:%M:%S", &parts);
    return stamp.data();
}

}  // namespace xen::domain
