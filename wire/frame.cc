// The parser of frames: one forward walk, each load behind its bound. The order of the checks is
// the order of the headers, so a frame with two faults is counted for the outer one.
#include "wire/frame.hh"

#include <algorithm>
#include <cstring>

namespace wire {
namespace {

constexpr std::uint16_t ipv4_more_fragments = 0x2000;
constexpr std::uint16_t ipv4_fragment_offset_mask = 0x1fff;
constexpr std::uint16_t ipv6_more_fragments = 0x0001;
constexpr std::uint16_t ipv6_fragment_offset_mask = 0xfff8;
constexpr std::size_t ip_payload_len_max = 65535;

void load_ipv6(const std::byte* at, IpAddress& address) {
    std::memcpy(address.octets.data(), at, address.octets.size());
}

// Right when the words' sum is the one's complement zero, which does not depend on byte order. A
// sum of plain 0 cannot be: the version is not 0.
bool ipv4_header_checksum_right(const std::byte* header) {
    std::uint64_t first;
    std::uint64_t second;
    std::uint32_t third;
    std::memcpy(&first, header, sizeof first);
    std::memcpy(&second, header + 8, sizeof second);
    std::memcpy(&third, header + 16, sizeof third);
    const std::uint64_t sum =
        (first & 0xffffffffu) + (first >> 32) + (second & 0xffffffffu) + (second >> 32) + third;
    return sum % 0xffff == 0;
}

// Unspecified, loopback, multicast, limited broadcast: nobody may send from these (RFC 1122
// 3.2.1.3). The rest of class E is taken, as Linux takes it.
bool ipv4_source_allowed(std::uint32_t address) {
    const std::uint32_t top = address >> 24;
    return address != 0 && top != 127 && (top & 0xf0u) != 0xe0 && address != 0xffffffffu;
}

enum class Ipv6Source : std::uint8_t { allowed, unspecified, refused };

// Multicast, loopback, and mapped addresses, which on the wire would pass for the IPv4 one in every
// key, are refused. `at`: 16 bytes.
Ipv6Source ipv6_source(const std::byte* at) {
    if (load_u8(at) == 0xff) return Ipv6Source::refused;
    std::uint64_t high;
    std::memcpy(&high, at, sizeof high);
    if (high != 0) return Ipv6Source::allowed;
    const std::uint32_t third = load_be32(at + 8);
    const std::uint32_t last = load_be32(at + 12);
    if (third == 0xffff || (third == 0 && last == 1)) return Ipv6Source::refused;
    return third == 0 && last == 0 ? Ipv6Source::unspecified : Ipv6Source::allowed;
}

bool is_extension_header(std::uint8_t next_header) {
    switch (next_header) {
        case 0:    // hop-by-hop options
        case 43:   // routing
        case 44:   // fragment (a second one, too)
        case 51:   // authentication
        case 60:   // destination options
        case 135:  // mobility
        case 139:  // HIP
        case 140:  // shim6
            return true;
        default:
            return false;
    }
}

// What a fragment says of itself, in either version. Pieces that cannot be put together are
// refused here, where it is cheap: empty ones, middle ones that are no multiple of 8 bytes, those
// that would end behind the largest packet.
[[gnu::noinline]] DropReason note_fragment(std::size_t offset, bool more, Frame& out) {
    if (offset == 0 && !more) return DropReason::none;
    out.fragment = true;
    if (out.l4_length == 0 || (more && out.l4_length % 8 != 0) ||
        offset + out.l4_length > ip_payload_len_max) {
        return DropReason::fragment_refused;
    }
    return DropReason::none;
}

// `frame` has l4_length bytes from l4_offset on.
inline DropReason parse_udp(Bytes frame, Frame& out) {
    out.layer4 = Layer4::udp;
    if (out.l4_length < udp_header_len) return DropReason::bad_l4_header;
    const std::byte* const header = frame.data() + out.l4_offset;
    out.source_port = load_be16(header);
    out.destination_port = load_be16(header + 2);
    const std::uint16_t length = load_be16(header + 4);
    if (length < udp_header_len || length > out.l4_length || out.source_port == 0 ||
        out.destination_port == 0) {
        return DropReason::bad_l4_header;
    }
    out.payload_offset = static_cast<std::uint16_t>(out.l4_offset + udp_header_len);
    out.payload_length = static_cast<std::uint16_t>(length - udp_header_len);
    return DropReason::none;
}

DropReason parse_tcp(Bytes frame, Frame& out) {
    out.layer4 = Layer4::tcp;
    if (out.l4_length < tcp_header_len_min) return DropReason::bad_l4_header;
    const std::byte* const header = frame.data() + out.l4_offset;
    out.source_port = load_be16(header);
    out.destination_port = load_be16(header + 2);
    const std::size_t header_len = (load_u8(header + 12) >> 4) * 4u;
    if (header_len < tcp_header_len_min || header_len > out.l4_length || out.source_port == 0 ||
        out.destination_port == 0) {
        return DropReason::bad_l4_header;
    }
    out.payload_offset = static_cast<std::uint16_t>(out.l4_offset + header_len);
    out.payload_length = static_cast<std::uint16_t>(out.l4_length - header_len);
    return DropReason::none;
}

DropReason parse_icmp(Bytes frame, Frame& out) {
    out.layer4 = out.layer3 == Layer3::ipv4 ? Layer4::icmp : Layer4::icmpv6;
    if (out.l4_length < icmp_header_len) return DropReason::bad_l4_header;
    const std::byte* const header = frame.data() + out.l4_offset;
    out.icmp_type = load_u8(header);
    out.icmp_code = load_u8(header + 1);
    out.payload_offset = static_cast<std::uint16_t>(out.l4_offset + icmp_header_len);
    out.payload_length = static_cast<std::uint16_t>(out.l4_length - icmp_header_len);
    return DropReason::none;
}

[[gnu::noinline]] DropReason parse_not_udp(Bytes frame, Frame& out) {
    switch (out.protocol) {
        case protocol_tcp:
            return parse_tcp(frame, out);
        case protocol_icmp:
            if (out.layer3 == Layer3::ipv4) return parse_icmp(frame, out);
            break;
        case protocol_icmpv6:
            if (out.layer3 == Layer3::ipv6) return parse_icmp(frame, out);
            break;
        default:
            break;
    }
    out.layer4 = Layer4::other;
    return DropReason::unknown_protocol;
}

inline DropReason parse_layer4(Bytes frame, Frame& out) {
    if (out.protocol == protocol_udp) [[likely]]
        return parse_udp(frame, out);
    return parse_not_udp(frame, out);
}

[[gnu::always_inline]] inline DropReason parse_ipv4(Bytes frame, Frame& out) {
    out.layer3 = Layer3::ipv4;
    const Bytes packet = frame.subspan(out.l3_offset);
    if (packet.size() < ipv4_header_len) return DropReason::truncated;
    const std::byte* const header = packet.data();
    const std::uint32_t source = load_be32(header + 12);
    out.ip_source = IpAddress::v4(source);
    out.ip_destination = IpAddress::v4(load_be32(header + 16));
    out.protocol = load_u8(header + 9);

    const std::uint8_t version_and_length = load_u8(header);
    if (version_and_length != 0x45) {
        const bool options = (version_and_length >> 4) == 4 && (version_and_length & 0xfu) > 5;
        return options ? DropReason::ip_options : DropReason::bad_ip_header;
    }
    const std::size_t total_length = load_be16(header + 2);
    if (total_length < ipv4_header_len) return DropReason::bad_ip_header;
    if (total_length > packet.size()) return DropReason::truncated;
    if (!ipv4_header_checksum_right(header)) return DropReason::bad_ip_checksum;
    if (!ipv4_source_allowed(source)) return DropReason::bad_ip_source;

    out.l4_offset = static_cast<std::uint16_t>(out.l3_offset + ipv4_header_len);
    out.l4_length = static_cast<std::uint16_t>(total_length - ipv4_header_len);
    const std::uint16_t fragment = load_be16(header + 6);
    if ((fragment & (ipv4_more_fragments | ipv4_fragment_offset_mask)) != 0) [[unlikely]] {
        return note_fragment((fragment & ipv4_fragment_offset_mask) * std::size_t{8},
                             (fragment & ipv4_more_fragments) != 0, out);
    }
    return parse_layer4(frame, out);
}

// Behind the fixed header: l4_offset, l4_length and protocol are those of its payload, and move
// behind the fragment header.
DropReason parse_ipv6_fragment_header(Bytes frame, Frame& out, std::size_t& offset) {
    if (out.l4_length < ipv6_fragment_header_len) return DropReason::bad_ip_header;
    const std::byte* const header = frame.data() + out.l4_offset;
    const std::uint16_t field = load_be16(header + 2);
    out.protocol = load_u8(header);
    out.l4_offset = static_cast<std::uint16_t>(out.l4_offset + ipv6_fragment_header_len);
    out.l4_length = static_cast<std::uint16_t>(out.l4_length - ipv6_fragment_header_len);
    offset = field & ipv6_fragment_offset_mask;
    return note_fragment(offset, (field & ipv6_more_fragments) != 0, out);
}

// From ::, only whoever looks for duplicates of its address-to-be (RFC 4862 5.4.2).
[[gnu::noinline]] DropReason parse_without_source(Bytes frame, Frame& out) {
    const DropReason reason = out.fragment ? DropReason::none : parse_layer4(frame, out);
    const bool solicitation =
        out.layer4 == Layer4::icmpv6 && out.icmp_type == icmpv6_neighbour_solicitation;
    return solicitation ? reason : DropReason::bad_ip_source;
}

[[gnu::noinline]] DropReason parse_ipv6(Bytes frame, Frame& out) {
    out.layer3 = Layer3::ipv6;
    const Bytes packet = frame.subspan(out.l3_offset);
    if (packet.size() < ipv6_header_len) return DropReason::truncated;
    const std::byte* const header = packet.data();
    load_ipv6(header + 8, out.ip_source);
    load_ipv6(header + 24, out.ip_destination);
    out.protocol = load_u8(header + 6);

    if (load_u8(header) >> 4 != 6) return DropReason::bad_ip_header;
    const std::size_t payload_length = load_be16(header + 4);
    if (payload_length > packet.size() - ipv6_header_len) return DropReason::truncated;
    const Ipv6Source source = ipv6_source(header + 8);
    if (source == Ipv6Source::refused) return DropReason::bad_ip_source;
    if (out.ip_destination.is_v4()) return DropReason::bad_ip_header;

    out.l4_offset = static_cast<std::uint16_t>(out.l3_offset + ipv6_header_len);
    out.l4_length = static_cast<std::uint16_t>(payload_length);
    if (out.protocol == protocol_fragment) {
        std::size_t offset = 0;
        const DropReason reason = parse_ipv6_fragment_header(frame, out, offset);
        if (reason != DropReason::none) return reason;
    }
    if (is_extension_header(out.protocol)) return DropReason::ip_options;
    if (source == Ipv6Source::unspecified) [[unlikely]]
        return parse_without_source(frame, out);
    return out.fragment ? DropReason::none : parse_layer4(frame, out);
}

[[gnu::noinline]] DropReason parse_arp(Bytes frame, Frame& out) {
    out.layer3 = Layer3::arp;
    const Bytes packet = frame.subspan(out.l3_offset);
    if (packet.size() < arp_len) return DropReason::truncated;
    const std::byte* const header = packet.data();
    // Hardware Ethernet, protocol IPv4, their lengths.
    if (load_be16(header) != 1 || load_be16(header + 2) != ether_type_ipv4 ||
        load_be16(header + 4) != 0x0604) {
        return DropReason::bad_arp;
    }
    out.ip_source = IpAddress::v4(load_be32(header + 14));
    out.ip_destination = IpAddress::v4(load_be32(header + 24));
    return DropReason::none;
}

bool is_vlan_ether_type(std::uint16_t ether_type) {
    return ether_type == ether_type_vlan || ether_type == 0x88a8 || ether_type == 0x9100;
}

}  // namespace

DropReason parse_frame(Bytes frame, Frame& out) {
    out = Frame{};
    if (frame.size() < ethernet_header_len) return DropReason::truncated;
    if (frame.size() > frame_len_max) return DropReason::oversized;
    std::memcpy(out.destination.octets.data(), frame.data(), 6);
    std::memcpy(out.source.octets.data(), frame.data() + 6, 6);
    out.ether_type = load_be16(frame.data() + 12);
    out.l3_offset = ethernet_header_len;
    // Nearly every frame, past all the questions below.
    if (out.ether_type == ether_type_ipv4 && !out.source.is_multicast()) [[likely]] {
        return parse_ipv4(frame, out);
    }
    if (out.ether_type == ether_type_vlan) {
        if (frame.size() < ethernet_header_len + vlan_tag_len) return DropReason::truncated;
        out.tagged = true;
        out.vlan = load_be16(frame.data() + 14) & 0xfffu;
        out.ether_type = load_be16(frame.data() + 16);
        out.l3_offset = ethernet_header_len + vlan_tag_len;
        if (is_vlan_ether_type(out.ether_type)) return DropReason::bad_ethernet;
    }
    if (out.source.is_multicast()) return DropReason::bad_ethernet;
    switch (out.ether_type) {
        case ether_type_ipv4:
            return parse_ipv4(frame, out);
        case ether_type_ipv6:
            return parse_ipv6(frame, out);
        case ether_type_arp:
            return parse_arp(frame, out);
        default:
            return DropReason::unknown_ethertype;
    }
}

namespace {

// Behind the IP header of a quoted packet: l4_length is what is there of it.
DropReason parse_quoted_layer4(Bytes quoted, Frame& out) {
    if (out.l4_length < 8) return DropReason::truncated;
    const std::byte* const header = quoted.data() + out.l4_offset;
    const std::uint16_t end = out.end();
    out.payload_offset = static_cast<std::uint16_t>(out.l4_offset + 8);
    out.payload_length = static_cast<std::uint16_t>(out.l4_length - 8);
    switch (out.protocol) {
        case protocol_udp: {
            out.layer4 = Layer4::udp;
            const std::uint16_t length = load_be16(header + 4);
            if (length < udp_header_len) return DropReason::bad_l4_header;
            out.payload_length =
                std::min(out.payload_length, static_cast<std::uint16_t>(length - udp_header_len));
            break;
        }
        case protocol_tcp:
            out.layer4 = Layer4::tcp;
            out.payload_offset = end;
            out.payload_length = 0;
            break;
        case protocol_icmp:
        case protocol_icmpv6:
            if ((out.protocol == protocol_icmp) != (out.layer3 == Layer3::ipv4)) {
                return DropReason::unknown_protocol;
            }
            out.layer4 = out.layer3 == Layer3::ipv4 ? Layer4::icmp : Layer4::icmpv6;
            out.icmp_type = load_u8(header);
            out.icmp_code = load_u8(header + 1);
            return DropReason::none;
        default:
            out.layer4 = Layer4::other;
            return DropReason::unknown_protocol;
    }
    out.source_port = load_be16(header);
    out.destination_port = load_be16(header + 2);
    const bool ports = out.source_port != 0 && out.destination_port != 0;
    return ports ? DropReason::none : DropReason::bad_l4_header;
}

DropReason parse_quoted_ipv4(Bytes quoted, Frame& out) {
    out.layer3 = Layer3::ipv4;
    out.ether_type = ether_type_ipv4;
    if (quoted.size() < ipv4_header_len) return DropReason::truncated;
    const std::byte* const header = quoted.data();
    out.ip_source = IpAddress::v4(load_be32(header + 12));
    out.ip_destination = IpAddress::v4(load_be32(header + 16));
    out.protocol = load_u8(header + 9);
    const std::size_t header_words = load_u8(header) & 0xfu;
    if (header_words > 5) return DropReason::ip_options;
    const std::size_t total_length = load_be16(header + 2);
    if (header_words < 5 || total_length < ipv4_header_len) return DropReason::bad_ip_header;
    out.l4_offset = ipv4_header_len;
    out.l4_length =
        static_cast<std::uint16_t>(std::min(total_length, quoted.size()) - ipv4_header_len);
    const std::uint16_t fragment = load_be16(header + 6);
    out.fragment = (fragment & (ipv4_more_fragments | ipv4_fragment_offset_mask)) != 0;
    if ((fragment & ipv4_fragment_offset_mask) != 0) return DropReason::none;
    return parse_quoted_layer4(quoted, out);
}

DropReason parse_quoted_ipv6(Bytes quoted, Frame& out) {
    out.layer3 = Layer3::ipv6;
    out.ether_type = ether_type_ipv6;
    if (quoted.size() < ipv6_header_len) return DropReason::truncated;
    const std::byte* const header = quoted.data();
    load_ipv6(header + 8, out.ip_source);
    load_ipv6(header + 24, out.ip_destination);
    out.protocol = load_u8(header + 6);
    if (out.ip_source.is_v4() || out.ip_destination.is_v4()) return DropReason::bad_ip_header;
    out.l4_offset = ipv6_header_len;
    out.l4_length = static_cast<std::uint16_t>(
        std::min<std::size_t>(load_be16(header + 4), quoted.size() - ipv6_header_len));
    if (out.protocol == protocol_fragment) {
        if (out.l4_length < ipv6_fragment_header_len) return DropReason::truncated;
        const std::byte* const fragment_header = header + ipv6_header_len;
        const std::uint16_t field = load_be16(fragment_header + 2);
        out.protocol = load_u8(fragment_header);
        out.l4_offset = static_cast<std::uint16_t>(out.l4_offset + ipv6_fragment_header_len);
        out.l4_length = static_cast<std::uint16_t>(out.l4_length - ipv6_fragment_header_len);
        out.fragment = (field & (ipv6_more_fragments | ipv6_fragment_offset_mask)) != 0;
        if ((field & ipv6_fragment_offset_mask) != 0) return DropReason::none;
    }
    if (is_extension_header(out.protocol)) return DropReason::ip_options;
    return parse_quoted_layer4(quoted, out);
}

}  // namespace

DropReason parse_quoted(Bytes quoted, Frame& out) {
    out = Frame{};
    if (quoted.empty()) return DropReason::truncated;
    quoted = quoted.first(std::min(quoted.size(), frame_len_max));
    switch (load_u8(quoted.data()) >> 4) {
        case 4:
            return parse_quoted_ipv4(quoted, out);
        case 6:
            return parse_quoted_ipv6(quoted, out);
        default:
            return DropReason::bad_ip_header;
    }
}

}  // namespace wire
