// What names a domain for good: chosen by us before it is built, given to Xen with its creation,
// and never used again, which cannot be said of domain numbers.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace xen::domain {

struct Uuid {
    std::array<std::uint8_t, 16> bytes{};

    static Uuid random();  // version 4, from the kernel
    std::string text() const;
    friend bool operator==(const Uuid&, const Uuid&) = default;
};

// Only what text() writes.
std::optional<Uuid> parse_uuid(std::string_view text);

}  // namespace xen::domain
