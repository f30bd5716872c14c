// Questions are judged by the rules a host would apply (RFC 826, RFC 5227; RFC 4861 7.1.1, RFC 4862
// 5.4.3), so that nobody gets an answer here that a real host would not give.
#include "wire/neighbour.hh"

#include <cstring>

#include "wire/checksum.hh"
#include "wire/write.hh"

namespace wire {
namespace {

constexpr std::uint16_t arp_request = 1;
constexpr std::uint16_t arp_reply = 2;
constexpr std::uint8_t neighbour_advertisement = 136;
constexpr std::uint8_t option_source_link_address = 1;
constexpr std::uint8_t option_target_link_address = 2;
constexpr std::uint8_t neighbour_hop_limit = 255;
constexpr std::size_t solicitation_len_min = 24;  // ICMPv6 header and target
constexpr std::size_t advertisement_len = solicitation_len_min + 8;
constexpr std::uint32_t flag_solicited = 0x40000000;
constexpr std::uint32_t flag_override = 0x20000000;

MacAddress load_mac(const std::byte* at) {
    MacAddress mac;
    std::memcpy(mac.octets.data(), at, mac.octets.size());
    return mac;
}

IpAddress load_ipv6(const std::byte* at) {
    IpAddress address;
    std::memcpy(address.octets.data(), at, address.octets.size());
    return address;
}

bool is_host_v4(const IpAddress& address) {
    const std::uint32_t value = address.v4_host_order();
    return value >> 24 != 127 && (value >> 28) != 0xe && value != 0xffffffffu;
}

// RFC 4291 2.7.1: ff02::1:ffXX:XXXX, with the target's last three bytes.
bool is_solicited_node(const IpAddress& group, const IpAddress& target) {
    IpAddress expected;
    expected.octets = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
    std::memcpy(expected.octets.data() + 13, target.octets.data() + 13, 3);
    return group == expected;
}

DropReason read_arp(Bytes frame, const Frame& parsed, NeighbourQuestion& out) {
    const std::byte* const arp = frame.data() + parsed.l3_offset;
    if (load_be16(arp + 6) != arp_request) return DropReason::neighbour_ignored;
    out.target = parsed.ip_destination;
    out.asker = parsed.ip_source;
    out.asker_mac = load_mac(arp + 8);
    out.probe = out.asker.v4_host_order() == 0;
    if (out.asker_mac.is_multicast() || !is_host_v4(out.asker)) return DropReason::bad_arp;
    if (out.asker == out.target) return DropReason::neighbour_ignored;  // an announcement
    if (out.probe) out.asker_mac = parsed.source;
    return DropReason::none;
}

// The source link address, if there is one; false: the options do not parse. Each step takes at
// least 8 bytes.
bool read_options(Bytes options, std::optional<MacAddress>& source) {
    while (!options.empty()) {
        if (options.size() < 8) return false;
        const std::size_t length = load_u8(options.data() + 1) * std::size_t{8};
        if (length == 0 || length > options.size()) return false;
        if (load_u8(options.data()) == option_source_link_address && !source) {
            if (length != 8) return false;
            source = load_mac(options.data() + 2);
        }
        options = options.subspan(length);
    }
    return true;
}

DropReason read_solicitation(Bytes frame, const Frame& parsed, NeighbourQuestion& out) {
    if (parsed.icmp_type != icmpv6_neighbour_solicitation) return DropReason::neighbour_ignored;
    const std::byte* const message = frame.data() + parsed.l4_offset;
    // RFC 6980: never behind a fragment header, not even a whole one.
    const bool behind_fixed_header = parsed.l4_offset == parsed.l3_offset + ipv6_header_len;
    if (!behind_fixed_header ||
        load_u8(frame.data() + parsed.l3_offset + 7) != neighbour_hop_limit ||
        parsed.icmp_code != 0 || parsed.l4_length < solicitation_len_min ||
        !l4_checksum_right(frame, parsed)) {
        return DropReason::bad_arp;
    }
    out.target = load_ipv6(message + 8);
    out.asker = parsed.ip_source;
    out.probe = out.asker == IpAddress{};
    // A mapped target would be looked up as the IPv4 address.
    if (out.target.octets[0] == 0xff || out.target.is_v4()) return DropReason::bad_arp;
    std::optional<MacAddress> source;
    if (!read_options(Bytes(message, parsed.l4_length).subspan(solicitation_len_min), source)) {
        return DropReason::bad_arp;
    }
    if (out.probe && (source || !is_solicited_node(parsed.ip_destination, out.target))) {
        return DropReason::bad_arp;
    }
    out.asker_mac = source.value_or(parsed.source);
    return out.asker_mac.is_multicast() ? DropReason::bad_arp : DropReason::none;
}

std::size_t write_arp_reply(const LinkHeader& link, const NeighbourQuestion& question,
                            MutableBytes out) {
    const std::size_t length = link.length() + arp_len;
    if (out.size() < length) return 0;
    std::byte* const arp = out.data() + write_link_header(out, link, ether_type_arp);
    store_be16(arp, 1);
    store_be16(arp + 2, ether_type_ipv4);
    store_be16(arp + 4, 0x0604);
    store_be16(arp + 6, arp_reply);
    std::memcpy(arp + 8, link.source.octets.data(), 6);
    std::memcpy(arp + 14, question.target.octets.data() + 12, 4);
    std::memcpy(arp + 18, link.destination.octets.data(), 6);
    std::memcpy(arp + 24, question.asker.octets.data() + 12, 4);
    return length;
}

std::size_t write_advertisement(const LinkHeader& link, const NeighbourQuestion& question,
                                MutableBytes out) {
    const std::size_t length = link.length() + ipv6_header_len + advertisement_len;
    if (out.size() < length) return 0;
    IpAddress destination = question.asker;
    if (question.probe) destination.octets = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    const std::size_t ip_offset = write_link_header(out, link, ether_type_ipv6);
    write_ipv6_header(out.subspan(ip_offset), question.target, destination, protocol_icmpv6,
                      advertisement_len);
    store_u8(out.data() + ip_offset + 7, neighbour_hop_limit);
    const MutableBytes message = out.subspan(ip_offset + ipv6_header_len, advertisement_len);
    store_be32(message.data(), std::uint32_t{neighbour_advertisement} << 24);
    store_be32(message.data() + 4, question.probe ? flag_override : flag_solicited | flag_override);
    std::memcpy(message.data() + 8, question.target.octets.data(), 16);
    store_u8(message.data() + 24, option_target_link_address);
    store_u8(message.data() + 25, 1);
    std::memcpy(message.data() + 26, link.source.octets.data(), 6);
    store_be16(
        message.data() + 2,
        fold_checksum(sum_bytes(message) + sum_pseudo_header(question.target, destination,
                                                             protocol_icmpv6, advertisement_len)));
    return length;
}

}  // namespace

std::optional<NeighbourQuestion> neighbour_question(Bytes frame, const Frame& parsed,
                                                    DropReason& why) {
    NeighbourQuestion question;
    why = DropReason::neighbour_ignored;
    if (parsed.layer3 == Layer3::arp) why = read_arp(frame, parsed, question);
    if (parsed.layer4 == Layer4::icmpv6) why = read_solicitation(frame, parsed, question);
    if (why != DropReason::none) return std::nullopt;
    return question;
}

std::size_t write_neighbour_answer(const Frame& parsed, const NeighbourQuestion& question,
                                   const MacAddress& mac, MutableBytes out) {
    LinkHeader link{question.asker_mac, mac, parsed.vlan, parsed.tagged};
    if (parsed.layer3 == Layer3::arp) return write_arp_reply(link, question, out);
    // RFC 4861 7.2.4: to a probe everybody is told.
    if (question.probe) link.destination.octets = {0x33, 0x33, 0, 0, 0, 1};
    return write_advertisement(link, question, out);
}

}  // namespace wire
