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
    // In line: comparing arrays is a call.
    bool operator==(const IpAddress& other) const {
        return std::memcmp(octets.data(), other.octets.data(), sizeof octets) == 0;
    }

    static IpAddress v4(std::uint32_t host_order) {
        IpAddress address;
        // One store of 16 bytes: addresses are copied as such a moment later, and a processor does
        // not forward several small stores to one wide load.
        using Pair = std::uint64_t __attribute__((vector_size(16)));
        const std::uint64_t prefix = 0xffff0000u;  // as bytes: 0 0 ff ff
        const Pair pair{0, prefix | std::uint64_t{__builtin_bswap32(host_order)} << 32};
        std::memcpy(address.octets.data(), &pair, sizeof pair);
        return address;
    }
    bool is_v4() const {
        std::uint64_t zero;
        std::uint32_t prefix;
        std::memcpy(&zero, octets.data(), sizeof zero);
        std::memcpy(&prefix, octets.data() + 8, sizeof prefix);
        return zero == 0 && prefix == 0xffff0000u;
    }
    std::uint32_t v4_host_order() const {  // only when is_v4()
        std::uint32_t raw;
        std::memcpy(&raw, octets.data() + 12, sizeof raw);
        return __builtin_bswap32(raw);
    }
    std::string text() const;
    static std::optional<IpAddress> parse(std::string_view text);
};

}  // namespace wire
