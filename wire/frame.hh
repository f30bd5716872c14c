// From bytes to headers: Ethernet II, one 802.1Q tag, ARP, IPv4, IPv6, ICMP, ICMPv6, UDP, TCP.
// Bounds first; a value or a drop reason. Checksums other than IPv4's header are left to
// wire/checksum.hh, because most packets need them verified only once for several copies.
//
// Limit: IPv4 options and IPv6 extension headers other than the fragment header are refused.
#pragma once

#include <cstdint>

#include "wire/address.hh"
#include "wire/bytes.hh"
#include "wire/drop_reason.hh"

namespace wire {

enum class Layer3 : std::uint8_t { other, arp, ipv4, ipv6 };
enum class Layer4 : std::uint8_t { none, udp, tcp, icmp, icmpv6, other };

constexpr std::uint16_t ether_type_ipv4 = 0x0800;
constexpr std::uint16_t ether_type_arp = 0x0806;
constexpr std::uint16_t ether_type_vlan = 0x8100;
constexpr std::uint16_t ether_type_ipv6 = 0x86dd;
constexpr std::uint8_t protocol_icmp = 1;
constexpr std::uint8_t protocol_tcp = 6;
constexpr std::uint8_t protocol_udp = 17;
constexpr std::uint8_t protocol_fragment = 44;
constexpr std::uint8_t protocol_icmpv6 = 58;
constexpr std::size_t frame_len_max = 65535;  // offsets are 16 bits wide
constexpr std::size_t ethernet_header_len = 14;
constexpr std::size_t vlan_tag_len = 4;
constexpr std::size_t ipv4_header_len = 20;
constexpr std::size_t ipv6_header_len = 40;
constexpr std::size_t ipv6_fragment_header_len = 8;
constexpr std::size_t arp_len = 28;
constexpr std::size_t udp_header_len = 8;
constexpr std::size_t tcp_header_len_min = 20;
constexpr std::size_t icmp_header_len = 8;

// RFC 792, RFC 4443, RFC 4861
constexpr std::uint8_t icmp_destination_unreachable = 3;
constexpr std::uint8_t icmp_code_host = 1;
constexpr std::uint8_t icmp_echo_request = 8;
constexpr std::uint8_t icmpv6_destination_unreachable = 1;
constexpr std::uint8_t icmpv6_code_address = 3;
constexpr std::uint8_t icmpv6_echo_request = 128;
constexpr std::uint8_t icmpv6_neighbour_solicitation = 135;

// Where the headers are; offsets from the first byte of the frame.
struct Frame {
    MacAddress destination;
    MacAddress source;
    std::uint16_t vlan = 0;  // the 12-bit id; only when tagged
    bool tagged = false;
    Layer3 layer3 = Layer3::other;
    Layer4 layer4 = Layer4::none;  // none also for fragments: reassemble first
    bool fragment = false;
    std::uint8_t protocol = 0;     // of the IP payload (behind a fragment header too)
    std::uint16_t ether_type = 0;  // behind the tag
    std::uint16_t l3_offset = 0;
    std::uint16_t l4_offset = 0;  // IP payload
    std::uint16_t l4_length = 0;  // as the IP header says; the frame has at least that
    IpAddress ip_source;          // also ARP: the sender's and target's protocol address
    IpAddress ip_destination;
    // UDP and TCP
    std::uint16_t source_port = 0;
    std::uint16_t destination_port = 0;
    // UDP: behind the header; ICMP: behind its 8 bytes; TCP: behind the header. A UDP length may be
    // less than the IP payload (RFC 768 does not forbid it, receivers cut): payload_length is what
    // a receiver sees; the bytes from there to end() nobody votes on, so they must not leave.
    std::uint16_t payload_offset = 0;
    std::uint16_t payload_length = 0;
    // ICMP and ICMPv6
    std::uint8_t icmp_type = 0;
    std::uint8_t icmp_code = 0;

    // First byte behind the IP packet: what is behind it in the frame is padding.
    std::uint16_t end() const { return static_cast<std::uint16_t>(l4_offset + l4_length); }
    Bytes payload(Bytes frame) const { return frame.subspan(payload_offset, payload_length); }
};

// DropReason::none, or why not. What was read before the failure is set, the rest has its default
// values: so with unknown_ethertype the link header, with unknown_protocol, ip_options and bad_ip_*
// whatever there was of the addresses too.
//
// ARP: layer3 is set and the addresses are the protocol addresses; wire/neighbour.hh reads the
// rest. Fragments: `fragment`, layer4 none; the fragment's own part of the payload is l4_offset and
// l4_length (behind the fragment header). An IPv6 fragment that is the whole packet (RFC 6946) is
// none. The source :: is taken in neighbour solicitations only.
DropReason parse_frame(Bytes frame, Frame& out);

// The packet inside an ICMP error: an IP header and at least 8 bytes of what it carries (lengths in
// the headers may exceed what is there: l4_length and payload_length are cut to it). Offsets are
// relative to `quoted`. The IPv4 header checksum is not checked (routers change the header), nor
// the source address. A first fragment has `fragment` and its ports; a later one layer4 none. TCP:
// ports only.
DropReason parse_quoted(Bytes quoted, Frame& out);

}  // namespace wire
