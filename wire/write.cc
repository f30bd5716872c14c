// The writers. Every whole frame is sized before its first byte is stored, so that a buffer that is
// too small is left alone.
#include "wire/write.hh"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "wire/checksum.hh"

namespace wire {
namespace {

constexpr std::size_t ip_len_max = 65535;
// RFC 1812 4.3.2.3 (576 bytes in all) and RFC 4443 2.4 c (the least MTU, 1280): what is left of
// them for the quoted packet.
constexpr std::size_t icmp_quote_len_max = 576 - ipv4_header_len - icmp_header_len;
constexpr std::size_t icmpv6_quote_len_max = 1280 - ipv6_header_len - icmp_header_len;

constexpr std::uint8_t icmp_echo_reply = 0;
constexpr std::uint8_t icmpv6_echo_reply = 129;
constexpr std::uint8_t icmpv6_redirect = 137;

constexpr std::uint8_t tcp_fin = 0x01;
constexpr std::uint8_t tcp_syn = 0x02;
constexpr std::uint8_t tcp_rst = 0x04;
constexpr std::uint8_t tcp_ack = 0x10;

void copy(std::byte* to, Bytes from) {
    if (!from.empty()) std::memcpy(to, from.data(), from.size());
}

// Where a whole frame's parts come to lie.
struct Layout {
    bool four = true;
    std::size_t ip_offset = 0;
    std::size_t l4_offset = 0;
    std::size_t length = 0;  // of the frame; 0: does not fit
};

Layout layout(MutableBytes out, const LinkHeader& link, const IpAddress& source,
              const IpAddress& destination, std::size_t l4_length) {
    assert(source.is_v4() == destination.is_v4());
    Layout at;
    at.four = destination.is_v4();
    const std::size_t header_len = at.four ? ipv4_header_len : ipv6_header_len;
    at.ip_offset = link.length();
    at.l4_offset = at.ip_offset + header_len;
    const std::size_t length = at.l4_offset + l4_length;
    const std::size_t ip_len = at.four ? header_len + l4_length : l4_length;
    if (length <= out.size() && length <= frame_len_max && ip_len <= ip_len_max) {
        at.length = length;
    }
    return at;
}

// Link and IP header.
void write_outer(MutableBytes out, const Layout& at, const LinkHeader& link,
                 const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                 std::uint16_t identification) {
    const auto payload_length = static_cast<std::uint16_t>(at.length - at.l4_offset);
    write_link_header(out, link, at.four ? ether_type_ipv4 : ether_type_ipv6);
    if (at.four) {
        write_ipv4_header(out.subspan(at.ip_offset), source, destination, protocol, payload_length,
                          identification);
    } else {
        write_ipv6_header(out.subspan(at.ip_offset), source, destination, protocol, payload_length);
    }
}

// Over everything from l4_offset on; `field` counts from there.
std::uint16_t l4_checksum(MutableBytes out, const Layout& at, const IpAddress& source,
                          const IpAddress& destination, std::uint8_t protocol) {
    const Bytes segment = Bytes(out).subspan(at.l4_offset, at.length - at.l4_offset);
    std::uint64_t sum = sum_bytes(segment);
    if (protocol != protocol_icmp) {
        sum += sum_pseudo_header(source, destination, protocol,
                                 static_cast<std::uint32_t>(segment.size()));
    }
    return fold_checksum(sum);
}

// An ICMP or ICMPv6 message of which all but type, code and checksum is in place.
void finish_icmp(MutableBytes out, const Layout& at, const LinkHeader& link,
                 const IpAddress& source, const IpAddress& destination, std::uint8_t type,
                 std::uint8_t code, std::uint16_t identification) {
    const std::uint8_t protocol = at.four ? protocol_icmp : protocol_icmpv6;
    write_outer(out, at, link, source, destination, protocol, identification);
    std::byte* const header = out.data() + at.l4_offset;
    store_u8(header, type);
    store_u8(header + 1, code);
    store_be16(header + 2, 0);
    store_be16(header + 2, l4_checksum(out, at, source, destination, protocol));
}

bool is_icmp_error(const Frame& parsed) {
    if (parsed.layer4 == Layer4::icmpv6) {
        return parsed.icmp_type < 128 || parsed.icmp_type == icmpv6_redirect;
    }
    if (parsed.layer4 != Layer4::icmp) return false;
    switch (parsed.icmp_type) {
        case 3:   // destination unreachable
        case 4:   // source quench
        case 5:   // redirect
        case 11:  // time exceeded
        case 12:  // parameter problem
            return true;
        default:
            return false;
    }
}

bool is_multicast(const IpAddress& address) {
    if (!address.is_v4()) return address.octets[0] == 0xff;
    return (address.octets[12] & 0xf0u) == 0xe0 || address == IpAddress::v4(0xffffffffu);
}

// RFC 1122 3.2.2, RFC 4443 2.4 e. What does not parse is not reported either.
bool may_be_reported(Bytes packet) {
    Frame parsed;
    const DropReason reason = parse_quoted(packet, parsed);
    if (reason != DropReason::none && reason != DropReason::unknown_protocol) return false;
    const bool later_fragment = parsed.fragment && parsed.layer4 == Layer4::none;
    return !later_fragment && !is_icmp_error(parsed) && !is_multicast(parsed.ip_destination) &&
           !is_multicast(parsed.ip_source);
}

// Without padding that may have come with it.
Bytes without_padding(Bytes packet) {
    const bool four = load_u8(packet.data()) >> 4 == 4;
    const std::size_t length =
        four ? load_be16(packet.data() + 2) : ipv6_header_len + load_be16(packet.data() + 4);
    return packet.first(std::min(packet.size(), length));
}

}  // namespace

std::size_t write_link_header(MutableBytes out, const LinkHeader& link, std::uint16_t ether_type) {
    assert(out.size() >= link.length());
    std::byte* const at = out.data();
    std::memcpy(at, link.destination.octets.data(), 6);
    std::memcpy(at + 6, link.source.octets.data(), 6);
    if (!link.tagged) {
        store_be16(at + 12, ether_type);
        return ethernet_header_len;
    }
    store_be16(at + 12, ether_type_vlan);
    store_be16(at + 14, link.vlan & 0xfffu);
    store_be16(at + 16, ether_type);
    return ethernet_header_len + vlan_tag_len;
}

std::size_t write_ipv4_header(MutableBytes out, const IpAddress& source,
                              const IpAddress& destination, std::uint8_t protocol,
                              std::uint16_t payload_length, std::uint16_t identification) {
    assert(out.size() >= ipv4_header_len);
    assert(ipv4_header_len + payload_length <= ip_len_max);
    // Put together and summed in registers: a sum over bytes just stored would wait for them.
    const std::uint64_t total_length = ipv4_header_len + payload_length;
    const std::uint64_t first =
        0x4500'0000'0000'0000 | total_length << 32 | std::uint64_t{identification} << 16;
    const std::uint64_t second =
        std::uint64_t{own_ttl} << 56 | std::uint64_t{protocol} << 48 | source.v4_host_order();
    const std::uint32_t third = destination.v4_host_order();
    const std::uint64_t sum =
        (first >> 32) + (first & 0xffffffffu) + (second >> 32) + (second & 0xffffffffu) + third;
    store_be64(out.data(), first);
    store_be64(out.data() + 8, second | std::uint64_t{fold_checksum(sum)} << 32);
    store_be32(out.data() + 16, third);
    return ipv4_header_len;
}

std::size_t write_ipv6_header(MutableBytes out, const IpAddress& source,
                              const IpAddress& destination, std::uint8_t next_header,
                              std::uint16_t payload_length) {
    assert(out.size() >= ipv6_header_len);
    std::byte* const at = out.data();
    store_be32(at, 0x60000000);
    store_be16(at + 4, payload_length);
    store_u8(at + 6, next_header);
    store_u8(at + 7, own_ttl);
    std::memcpy(at + 8, source.octets.data(), 16);
    std::memcpy(at + 24, destination.octets.data(), 16);
    return ipv6_header_len;
}

std::size_t write_udp(MutableBytes out, const LinkHeader& link, const IpAddress& source,
                      std::uint16_t source_port, const IpAddress& destination,
                      std::uint16_t destination_port, std::uint16_t identification, Bytes payload) {
    const Layout at = layout(out, link, source, destination, udp_header_len + payload.size());
    if (at.length == 0) return 0;
    write_outer(out, at, link, source, destination, protocol_udp, identification);
    std::byte* const header = out.data() + at.l4_offset;
    store_be16(header, source_port);
    store_be16(header + 2, destination_port);
    store_be16(header + 4, static_cast<std::uint16_t>(at.length - at.l4_offset));
    store_be16(header + 6, 0);
    copy(header + udp_header_len, payload);
    const std::uint16_t checksum = l4_checksum(out, at, source, destination, protocol_udp);
    store_be16(header + 6, checksum == 0 ? 0xffff : checksum);
    return at.length;
}

std::size_t write_echo_reply(MutableBytes out, const LinkHeader& link, Bytes frame,
                             const Frame& parsed, std::uint16_t identification) {
    const bool four = parsed.layer4 == Layer4::icmp && parsed.icmp_type == icmp_echo_request;
    const bool six = parsed.layer4 == Layer4::icmpv6 && parsed.icmp_type == icmpv6_echo_request;
    if (!four && !six) return 0;
    const Layout at = layout(out, link, parsed.ip_destination, parsed.ip_source, parsed.l4_length);
    if (at.length == 0) return 0;
    // Identifier, sequence number and data.
    copy(out.data() + at.l4_offset + 4,
         frame.subspan(parsed.l4_offset + 4u, parsed.l4_length - 4u));
    finish_icmp(out, at, link, parsed.ip_destination, parsed.ip_source,
                four ? icmp_echo_reply : icmpv6_echo_reply, 0, identification);
    return at.length;
}

std::size_t write_tcp_reset(MutableBytes out, const LinkHeader& link, Bytes frame,
                            const Frame& parsed, std::uint16_t identification) {
    if (parsed.layer4 != Layer4::tcp) return 0;
    const std::byte* const segment = frame.data() + parsed.l4_offset;
    const std::uint8_t flags = load_u8(segment + 13);
    if ((flags & tcp_rst) != 0) return 0;
    const Layout at =
        layout(out, link, parsed.ip_destination, parsed.ip_source, tcp_header_len_min);
    if (at.length == 0) return 0;

    std::uint32_t sequence = 0;
    std::uint32_t acknowledgement = 0;
    std::uint8_t reply_flags = tcp_rst;
    if ((flags & tcp_ack) != 0) {
        sequence = load_be32(segment + 8);
    } else {
        const std::uint32_t controls = ((flags & tcp_syn) != 0) + ((flags & tcp_fin) != 0);
        acknowledgement = load_be32(segment + 4) + parsed.payload_length + controls;
        reply_flags |= tcp_ack;
    }
    write_outer(out, at, link, parsed.ip_destination, parsed.ip_source, protocol_tcp,
                identification);
    std::byte* const header = out.data() + at.l4_offset;
    store_be16(header, parsed.destination_port);
    store_be16(header + 2, parsed.source_port);
    store_be32(header + 4, sequence);
    store_be32(header + 8, acknowledgement);
    store_u8(header + 12, tcp_header_len_min / 4 << 4);
    store_u8(header + 13, reply_flags);
    store_be16(header + 14, 0);  // window
    store_be32(header + 16, 0);  // checksum, urgent pointer
    store_be16(header + 16,
               l4_checksum(out, at, parsed.ip_destination, parsed.ip_source, protocol_tcp));
    return at.length;
}

std::size_t write_icmp_error(MutableBytes out, const LinkHeader& link, const IpAddress& source,
                             const IpAddress& destination, std::uint8_t type, std::uint8_t code,
                             std::uint32_t rest_of_header, Bytes packet,
                             std::uint16_t identification) {
    if (!may_be_reported(packet)) return 0;
    const Bytes whole = without_padding(packet);
    const std::size_t quote_len_max =
        destination.is_v4() ? icmp_quote_len_max : icmpv6_quote_len_max;
    const Bytes quote = whole.first(std::min(whole.size(), quote_len_max));
    const Layout at = layout(out, link, source, destination, icmp_header_len + quote.size());
    if (at.length == 0) return 0;
    std::byte* const header = out.data() + at.l4_offset;
    store_be32(header + 4, rest_of_header);
    copy(header + icmp_header_len, quote);
    finish_icmp(out, at, link, source, destination, type, code, identification);
    return at.length;
}

}  // namespace wire
