// Frames for tests of the pipeline: what clients and replicas send, and the pieces of what comes
// out. Well-formed ones are written with wire/write.hh; tests break them by hand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "wire/address.hh"
#include "wire/frame.hh"

namespace appliance_test {

using Octets = std::vector<std::byte>;

Octets text(std::string_view characters);
Octets from_hex(std::string_view digits);  // blanks are skipped
std::string hex(wire::Bytes bytes);
wire::IpAddress address(std::string_view dotted);
wire::MacAddress mac(std::string_view address);

// One end of a UDP conversation as a frame names it.
struct Endpoint {
    wire::MacAddress mac;
    wire::IpAddress ip;
    std::uint16_t port = 0;
};

// All lengths and checksums right.
Octets udp_frame(const Endpoint& from, const Endpoint& to, const Octets& payload);
Octets tagged(Octets frame, std::uint16_t vlan);
Octets tcp_syn(const Endpoint& from, const Endpoint& to);
Octets echo_request(const Endpoint& from, const Endpoint& to, const Octets& payload);
// An ICMP or ICMPv6 error about `packet` (an IP packet).
Octets icmp_error(const Endpoint& from, const Endpoint& to, std::uint8_t type, std::uint8_t code,
                  wire::Bytes packet);
Octets arp_request(const wire::MacAddress& from, const wire::IpAddress& asker,
                   const wire::IpAddress& target);
// `asker` ::  makes it a probe (duplicate address detection).
Octets neighbour_solicitation(const wire::MacAddress& from, const wire::IpAddress& asker,
                              const wire::IpAddress& target);
// Cuts the untagged UDP frame into IP fragments that carry `piece` bytes each (a multiple of 8).
std::vector<Octets> fragments(const Octets& frame, std::size_t piece, std::uint32_t id);

// Where the IP packet of an untagged frame begins, and rewriting its sums after a change.
wire::Bytes packet_of(const Octets& frame);
void put16(Octets& frame, std::size_t at, unsigned value);
void fix_ipv4_checksum(Octets& frame);
void fix_l4_checksum(Octets& frame);

// RFC 1071, the obvious way: apart from the code under test.
std::uint16_t obvious_checksum(wire::Bytes bytes);
// Of IPv4's header and of UDP, TCP, ICMP over either version; and, of a UDP packet, that its sum is
// there. Tagged or not; not for fragments.
bool sums_are_right(const Octets& frame);

// One line a person can read: "02:.. > 02:.. vlan 7 192.0.2.1:53 > 198.51.100.9:4000 ttl 64 udp
// 12".
std::string describe(const Octets& frame);

}  // namespace appliance_test
