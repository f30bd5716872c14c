#include "xen/domain/uuid.hh"

#include <cerrno>
#include <cstdlib>

#include <sys/random.h>

namespace xen::domain {
namespace {

constexpr std::string_view digits = "0123456789abcdef";

bool has_dash_before(std::size_t byte) { return byte == 4 || byte == 6 || byte == 8 || byte == 10; }

}  // namespace

Uuid Uuid::random() {
    Uuid made;
    // 16 bytes come whole or, before the kernel has any randomness, are waited for.
    while (::getrandom(made.bytes.data(), made.bytes.size(), 0) !=
           static_cast<ssize_t>(made.bytes.size())) {
        if (errno != EINTR) std::abort();
    }
    made.bytes[6] = static_cast<std::uint8_t>((made.bytes[6] & 0x0fu) | 0x40u);  // RFC 4122, 4.4
    made.bytes[8] = static_cast<std::uint8_t>((made.bytes[8] & 0x3fu) | 0x80u);
    return made;
}

std::string Uuid::text() const {
    std::string out;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (has_dash_before(i)) out += '-';
        out += digits[bytes[i] >> 4];
        out += digits[bytes[i] & 0xf];
    }
    return out;
}

std::optional<Uuid> parse_uuid(std::string_view text) {
    Uuid found;
    for (std::size_t i = 0; i < found.bytes.size(); ++i) {
        if (has_dash_before(i)) {
            if (!text.starts_with('-')) return std::nullopt;
            text.remove_prefix(1);
        }
        if (text.size() < 2) return std::nullopt;
        const std::size_t high = digits.find(text[0]);
        const std::size_t low = digits.find(text[1]);
        if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
        found.bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
        text.remove_prefix(2);
    }
    if (!text.empty()) return std::nullopt;
    return found;
}

}  // namespace xen::domain
