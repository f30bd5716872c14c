// Addresses as they are on the wire. An IPv4 address is kept IPv4-mapped (RFC 4291, 2.5.5.2), so
// that every key has one form.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace wire {

struct MacAddress {
    std::array<std::uint8_t, 6> octets{};
    auto operator<=>(const MacAddress&) const = default;
    bool is_multicast() const { return (octets[0] & 1u) != 0; }
    std::string text() const;
    static std::optional<MacAddress> parse(std::string_view text);
};

struct IpAddress {
    std::array<std::uint8_t, 16> octets{};
    auto operator<=>(const IpAddress&) const = default;

    static IpAddress v4(std::uint32_t host_order);
    bool is_v4() const;
    std::uint32_t v4_host_order() const;  // only when is_v4()
    std::string text() const;
    static std::optional<IpAddress> parse(std::string_view text);
};

}  // namespace wire
