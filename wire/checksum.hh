// The Internet checksum (RFC 1071), the widest way the CPU has (chosen once, at start).
#pragma once

#include <cstdint>

#include "wire/address.hh"
#include "wire/bytes.hh"
#include "wire/frame.hh"

namespace wire {

// One's complement sum of 16-bit big-endian words, not yet folded; an odd last byte counts as the
// high half. Sums of even-length parts may be added.
std::uint64_t sum_bytes(Bytes bytes);
std::uint16_t fold_checksum(std::uint64_t sum);  // folded and complemented, host order

// RFC 768, RFC 8200 8.1: the pseudo-header's sum.
std::uint64_t sum_pseudo_header(const IpAddress& source, const IpAddress& destination,
                                std::uint8_t protocol, std::uint32_t length);

// Of a UDP, TCP, ICMP or ICMPv6 packet that parse_frame() accepted. UDP over IPv4 with checksum 0
// is right; over IPv6 it is wrong.
bool l4_checksum_right(Bytes frame, const Frame& parsed);

// Fills in the checksum of what parse_frame() accepted (UDP: 0 becomes 0xffff).
void write_l4_checksum(MutableBytes frame, const Frame& parsed);
void write_ipv4_header_checksum(std::byte* ipv4_header);

}  // namespace wire
