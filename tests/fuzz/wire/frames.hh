// Shared by the fuzzers of wire: an input as a frame that gets past the IPv4 header checksum, which
// no mutation would guess.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "wire/checksum.hh"
#include "wire/frame.hh"

namespace fuzz {

#define FUZZ_CHECK(condition)               \
    do {                                    \
        if (!(condition)) __builtin_trap(); \
    } while (false)

inline wire::Bytes bytes(const std::uint8_t* data, std::size_t size) {
    return std::as_bytes(std::span(data, size));
}

inline std::vector<std::byte> with_right_header_checksum(wire::Bytes input) {
    std::vector<std::byte> frame(input.begin(), input.end());
    if (frame.size() < wire::ethernet_header_len) return frame;
    std::size_t at = wire::ethernet_header_len;
    if (wire::load_be16(frame.data() + 12) == wire::ether_type_vlan) at += wire::vlan_tag_len;
    if (frame.size() < at + wire::ipv4_header_len) return frame;
    if (wire::load_be16(frame.data() + at - 2) == wire::ether_type_ipv4) {
        wire::write_ipv4_header_checksum(frame.data() + at);
    }
    return frame;
}

}  // namespace fuzz
