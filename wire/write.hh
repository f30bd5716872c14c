// Headers and small packets the appliance writes on its own account. All checksums are written. TTL
// and hop limit 64, DSCP and flow label 0.
#pragma once

#include <cstdint>

#include "wire/address.hh"
#include "wire/bytes.hh"
#include "wire/frame.hh"

namespace wire {

constexpr std::uint8_t own_ttl = 64;

// The outer headers of a reply.
struct LinkHeader {
    MacAddress destination;
    MacAddress source;
    std::uint16_t vlan = 0;
    bool tagged = false;
    std::size_t length() const { return ethernet_header_len + (tagged ? vlan_tag_len : 0); }
};

// Each returns the bytes written from out.data() on; `out` must be large enough (asserted).
std::size_t write_link_header(MutableBytes out, const LinkHeader& link, std::uint16_t ether_type);
std::size_t write_ipv4_header(MutableBytes out, const IpAddress& source,
                              const IpAddress& destination, std::uint8_t protocol,
                              std::uint16_t payload_length, std::uint16_t identification);
std::size_t write_ipv6_header(MutableBytes out, const IpAddress& source,
                              const IpAddress& destination, std::uint8_t next_header,
                              std::uint16_t payload_length);

// Whole frames; addresses are of one version. 0: `out` is too small (and untouched), the packet
// would be longer than IP allows, or, as said below, nothing may be written.
//
// A UDP datagram. `payload` does not overlap `out`.
std::size_t write_udp(MutableBytes out, const LinkHeader& link, const IpAddress& source,
                      std::uint16_t source_port, const IpAddress& destination,
                      std::uint16_t destination_port, std::uint16_t identification, Bytes payload);
// Answers an ICMP or ICMPv6 echo request `frame` (checksum already verified), with its own payload.
// 0 for anything else.
std::size_t write_echo_reply(MutableBytes out, const LinkHeader& link, Bytes frame,
                             const Frame& parsed, std::uint16_t identification);
// RFC 793 3.4: the RST that refuses the segment `frame`. 0 for anything else, and for a RST, which
// is never answered.
std::size_t write_tcp_reset(MutableBytes out, const LinkHeader& link, Bytes frame,
                            const Frame& parsed, std::uint16_t identification);
// An ICMP (RFC 792) or ICMPv6 (RFC 4443) error from `source` to the sender of `packet` (an IP
// packet as the client sent it; padding behind it is not quoted), quoting as much of it as the RFCs
// allow: 548 bytes (RFC 1812 4.3.2.3) or 1232. 0 where no error may be sent: about an ICMP error or
// redirect, a fragment other than the first, multicast or broadcast, what parse_quoted() refuses.
std::size_t write_icmp_error(MutableBytes out, const LinkHeader& link, const IpAddress& source,
                             const IpAddress& destination, std::uint8_t type, std::uint8_t code,
                             std::uint32_t rest_of_header, Bytes packet,
                             std::uint16_t identification);

}  // namespace wire
