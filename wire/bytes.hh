// Loads and stores of big-endian fields in untrusted bytes. Callers check bounds first; nothing
// here casts packet bytes to structs.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace wire {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline std::uint8_t load_u8(const std::byte* at) { return std::to_integer<std::uint8_t>(*at); }
inline std::uint16_t load_be16(const std::byte* at) {
    std::uint16_t raw;
    std::memcpy(&raw, at, sizeof raw);
    return __builtin_bswap16(raw);
}
inline std::uint32_t load_be32(const std::byte* at) {
    std::uint32_t raw;
    std::memcpy(&raw, at, sizeof raw);
    return __builtin_bswap32(raw);
}
inline void store_u8(std::byte* at, std::uint8_t value) { *at = std::byte{value}; }
inline void store_be16(std::byte* at, std::uint16_t value) {
    const std::uint16_t raw = __builtin_bswap16(value);
    std::memcpy(at, &raw, sizeof raw);
}
inline void store_be32(std::byte* at, std::uint32_t value) {
    const std::uint32_t raw = __builtin_bswap32(value);
    std::memcpy(at, &raw, sizeof raw);
}
inline void store_be64(std::byte* at, std::uint64_t value) {
    const std::uint64_t raw = __builtin_bswap64(value);
    std::memcpy(at, &raw, sizeof raw);
}
static_assert(std::endian::native == std::endian::little);

}  // namespace wire
