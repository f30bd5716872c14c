// How sum_bytes() adds: the plain way, and a wide one where the build and the CPU have it
// (sum_avx2.cc or sum_plain_only.cc, chosen by meson). For checksum.cc and its tests.
//
// All sums here are of 16-bit words in memory order, as 64 bits that count modulo 65535: one's
// complement addition does not care for byte order (RFC 1071, 2 B), nor does it need folding before
// the end. A sum is 0 only where all bytes are.
#pragma once

#include <cstdint>
#include <cstring>

#include "wire/bytes.hh"

namespace wire {

using SumFunction = std::uint64_t (*)(Bytes bytes);

// nullptr: this CPU or build has nothing wider than sum_plain().
SumFunction wide_sum();

inline std::uint64_t load_raw64(const void* at) {
    std::uint64_t raw;
    std::memcpy(&raw, at, sizeof raw);
    return raw;
}

// Addition without its carry lost: 2^64 is 1 modulo 65535.
inline std::uint64_t add_carrying(std::uint64_t sum, std::uint64_t value) {
    sum += value;
    return sum + (sum < value ? 1u : 0u);
}

// 64 bits at a time. Two sums, so that the carries of one do not wait for the other's.
inline std::uint64_t sum_plain(Bytes bytes) {
    const std::byte* at = bytes.data();
    std::size_t left = bytes.size();
    std::uint64_t even = 0;
    std::uint64_t odd = 0;
    for (; left >= 16; at += 16, left -= 16) {
        even = add_carrying(even, load_raw64(at));
        odd = add_carrying(odd, load_raw64(at + 8));
    }
    if (left >= 8) {
        even = add_carrying(even, load_raw64(at));
        at += 8;
        left -= 8;
    }
    // A single byte at the end is the low half of a word in memory order: padded with a zero.
    std::uint64_t last = 0;
    if ((left & 4) != 0) {
        std::uint32_t raw;
        std::memcpy(&raw, at, sizeof raw);
        last += raw;
        at += 4;
    }
    if ((left & 2) != 0) {
        std::uint16_t raw;
        std::memcpy(&raw, at, sizeof raw);
        last += raw;
        at += 2;
    }
    if ((left & 1) != 0) last += load_u8(at);
    return add_carrying(add_carrying(even, odd), last);
}

}  // namespace wire
