#include "tests/appliance/frames.hh"

#include <algorithm>
#include <cassert>
#include <cstdio>
#include <cstring>

#include "wire/checksum.hh"
#include "wire/write.hh"

namespace appliance_test {

namespace {

constexpr std::size_t room = 20'000;

void append(Octets& to, const Octets& more) { to.insert(to.end(), more.begin(), more.end()); }

Octets raw(const wire::IpAddress& ip) {
    Octets out;
    for (std::size_t i = ip.is_v4() ? 12 : 0; i < 16; ++i) {
        out.push_back(std::byte{ip.octets[i]});
    }
    return out;
}

Octets bytes(std::initializer_list<unsigned> values) {
    Octets out;
    for (const unsigned value : values) out.push_back(static_cast<std::byte>(value));
    return out;
}

wire::LinkHeader link(const Endpoint& from, const Endpoint& to) {
    return {to.mac, from.mac, 0, false};
}

// An IP packet of this protocol around `payload`, in a frame.
Octets ip_frame(const Endpoint& from, const Endpoint& to, std::uint8_t protocol,
                const Octets& payload) {
    Octets out(room);
    const bool v4 = from.ip.is_v4();
    std::size_t at = wire::write_link_header(out, link(from, to),
                                             v4 ? wire::ether_type_ipv4 : wire::ether_type_ipv6);
    const wire::MutableBytes rest = wire::MutableBytes(out).subspan(at);
    const auto length = static_cast<std::uint16_t>(payload.size());
    at += v4 ? wire::write_ipv4_header(rest, from.ip, to.ip, protocol, length, 77)
             : wire::write_ipv6_header(rest, from.ip, to.ip, protocol, length);
    out.resize(at);
    append(out, payload);
    return out;
}

// Text in quotes, anything else in hex; long ones cut.
std::string readable(wire::Bytes octets) {
    constexpr std::size_t shown = 24;
    const bool plain = std::all_of(octets.begin(), octets.end(), [](std::byte octet) {
        return octet >= std::byte{0x20} && octet < std::byte{0x7f};
    });
    if (!plain) return hex(octets);
    std::string out(1, '"');
    for (const std::byte octet : octets.first(std::min(octets.size(), shown))) {
        out += static_cast<char>(octet);
    }
    if (octets.size() > shown) out.append("... ").append(std::to_string(octets.size()));
    return out + '"';
}

}  // namespace

Octets text(std::string_view characters) {
    Octets out;
    for (const char c : characters) out.push_back(static_cast<std::byte>(c));
    return out;
}

Octets from_hex(std::string_view digits) {
    Octets out;
    unsigned value = 0;
    bool half = false;
    for (const char c : digits) {
        unsigned digit = 0;
        if (c >= '0' && c <= '9') {
            digit = static_cast<unsigned>(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            digit = static_cast<unsigned>(c - 'a') + 10;
        } else {
            continue;
        }
        value = value * 16 + digit;
        if (half) {
            out.push_back(static_cast<std::byte>(value));
            value = 0;
        }
        half = !half;
    }
    return out;
}

std::string hex(wire::Bytes octets) {
    std::string out;
    char two[3];
    for (const std::byte octet : octets) {
        std::snprintf(two, sizeof two, "%02x", std::to_integer<unsigned>(octet));
        out += two;
    }
    return out;
}

wire::IpAddress address(std::string_view dotted) { return wire::IpAddress::parse(dotted).value(); }
wire::MacAddress mac(std::string_view address) { return wire::MacAddress::parse(address).value(); }

Octets udp_frame(const Endpoint& from, const Endpoint& to, const Octets& payload) {
    Octets out(room);
    out.resize(
        wire::write_udp(out, link(from, to), from.ip, from.port, to.ip, to.port, 99, payload));
    return out;
}

Octets tagged(Octets frame, std::uint16_t vlan) {
    const Octets tag = bytes({0x81, 0, vlan >> 8u & 0xffu, vlan & 0xffu});
    frame.insert(frame.begin() + 12, tag.begin(), tag.end());
    return frame;
}

Octets tcp_syn(const Endpoint& from, const Endpoint& to) {
    Octets segment = bytes({from.port / 256u,
                            from.port % 256u,
                            to.port / 256u,
                            to.port % 256u,
                            0,
                            0,
                            1,
                            0,
                            0,
                            0,
                            0,
                            0,
                            0x50,
                            0x02,
                            0x20,
                            0,
                            0,
                            0,
                            0,
                            0});
    Octets frame = ip_frame(from, to, wire::protocol_tcp, segment);
    fix_l4_checksum(frame);
    return frame;
}

Octets echo_request(const Endpoint& from, const Endpoint& to, const Octets& payload) {
    const bool v4 = from.ip.is_v4();
    Octets message = bytes({v4 ? 8u : 128u, 0, 0, 0, 0, 5, 0, 6});
    append(message, payload);
    Octets frame = ip_frame(from, to, v4 ? wire::protocol_icmp : wire::protocol_icmpv6, message);
    fix_l4_checksum(frame);
    return frame;
}

Octets icmp_error(const Endpoint& from, const Endpoint& to, std::uint8_t type, std::uint8_t code,
                  wire::Bytes packet) {
    Octets out(room);
    out.resize(
        wire::write_icmp_error(out, link(from, to), from.ip, to.ip, type, code, 0, packet, 55));
    return out;
}

Octets arp_request(const wire::MacAddress& from, const wire::IpAddress& asker,
                   const wire::IpAddress& target) {
    Octets frame = bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff});
    for (const auto octet : from.octets) frame.push_back(std::byte{octet});
    append(frame, bytes({0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1}));
    for (const auto octet : from.octets) frame.push_back(std::byte{octet});
    append(frame, raw(asker));
    append(frame, bytes({0, 0, 0, 0, 0, 0}));
    append(frame, raw(target));
    return frame;
}

Octets neighbour_solicitation(const wire::MacAddress& from, const wire::IpAddress& asker,
                              const wire::IpAddress& target) {
    wire::IpAddress group = address("ff02::1:ff00:0");
    std::copy_n(target.octets.begin() + 13, 3, group.octets.begin() + 13);
    Endpoint to{mac("33:33:ff:00:00:00"), group, 0};
    std::copy_n(target.octets.begin() + 13, 3, to.mac.octets.begin() + 3);
    Octets message = bytes({135, 0, 0, 0, 0, 0, 0, 0});
    append(message, raw(target));
    if (asker != wire::IpAddress{}) {
        append(message, bytes({1, 1}));
        for (const auto octet : from.octets) message.push_back(std::byte{octet});
    }
    Octets frame = ip_frame({from, asker, 0}, to, wire::protocol_icmpv6, message);
    frame[14 + 7] = std::byte{255};
    // The sum by hand: parse_frame() takes the source :: of probes only when all else is right.
    Octets pseudo = raw(asker);
    if (asker == wire::IpAddress{}) pseudo.assign(16, std::byte{0});
    append(pseudo, raw(group));
    append(pseudo, bytes({0, 0, 0, static_cast<unsigned>(message.size()), 0, 0, 0, 58}));
    append(pseudo, message);
    put16(frame, 14 + 40 + 2, obvious_checksum(pseudo));
    return frame;
}

std::vector<Octets> fragments(const Octets& frame, std::size_t piece, std::uint32_t id) {
    assert(piece % 8 == 0);
    const bool v4 = wire::load_be16(frame.data() + 12) == wire::ether_type_ipv4;
    const std::size_t header = 14 + (v4 ? 20u : 40u);
    std::vector<Octets> out;
    for (std::size_t at = header; at < frame.size(); at += piece) {
        const std::size_t length = std::min(piece, frame.size() - at);
        const bool more = at + length < frame.size();
        const std::size_t offset = (at - header) / 8;
        Octets fragment(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(header));
        if (v4) {
            put16(fragment, 14 + 2, static_cast<unsigned>(20 + length));
            put16(fragment, 14 + 4, id & 0xffffu);
            put16(fragment, 14 + 6, static_cast<unsigned>(offset | (more ? 0x2000u : 0u)));
            fix_ipv4_checksum(fragment);
        } else {
            const unsigned next = std::to_integer<unsigned>(fragment[14 + 6]);
            fragment[14 + 6] = std::byte{44};
            put16(fragment, 14 + 4, static_cast<unsigned>(8 + length));
            const auto field = static_cast<unsigned>(offset << 3 | (more ? 1u : 0u));
            append(fragment, bytes({next, 0, field >> 8, field & 0xff, id >> 24, id >> 16 & 0xff,
                                    id >> 8 & 0xff, id & 0xff}));
        }
        fragment.insert(fragment.end(), frame.begin() + static_cast<std::ptrdiff_t>(at),
                        frame.begin() + static_cast<std::ptrdiff_t>(at + length));
        out.push_back(std::move(fragment));
    }
    return out;
}

wire::Bytes packet_of(const Octets& frame) { return wire::Bytes(frame).subspan(14); }

void put16(Octets& frame, std::size_t at, unsigned value) {
    frame.at(at) = static_cast<std::byte>(value >> 8 & 0xff);
    frame.at(at + 1) = static_cast<std::byte>(value & 0xff);
}

void fix_ipv4_checksum(Octets& frame) {
    put16(frame, 14 + 10, 0);
    put16(frame, 14 + 10, obvious_checksum(wire::Bytes(frame).subspan(14, 20)));
}

void fix_l4_checksum(Octets& frame) {
    wire::Frame parsed;
    if (wire::parse_frame(frame, parsed) == wire::DropReason::none) {
        wire::write_l4_checksum(frame, parsed);
    }
}

std::uint16_t obvious_checksum(wire::Bytes octets) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < octets.size(); ++i) {
        const auto octet = std::to_integer<std::uint64_t>(octets[i]);
        sum += i % 2 == 0 ? octet * 256 : octet;
    }
    while (sum > 0xffff) sum = sum % 0x10000 + sum / 0x10000;
    return static_cast<std::uint16_t>(0xffff - sum);
}

bool sums_are_right(const Octets& frame) {
    std::size_t l3 = 14;
    if (frame.size() > 18 && wire::load_be16(frame.data() + 12) == wire::ether_type_vlan) l3 = 18;
    if (frame.size() < l3 + 28) return false;
    const bool v4 = wire::load_be16(frame.data() + l3 - 2) == wire::ether_type_ipv4;
    if (!v4 && frame.size() < l3 + 48) return false;
    const std::size_t l4 = l3 + (v4 ? 20u : 40u);
    const std::size_t length =
        v4 ? wire::load_be16(frame.data() + l3 + 2) - 20u : wire::load_be16(frame.data() + l3 + 4);
    if (l4 + length > frame.size()) return false;
    const auto protocol = std::to_integer<unsigned>(frame[l3 + (v4 ? 9 : 6)]);
    if (v4 && obvious_checksum(wire::Bytes(frame).subspan(l3, 20)) != 0) return false;
    Octets covered;
    if (!(v4 && protocol == 1)) {
        const std::size_t addresses = v4 ? 12 : 8;
        const auto from = frame.begin() + static_cast<std::ptrdiff_t>(l3 + addresses);
        covered.assign(from, from + (v4 ? 8 : 32));
        append(covered, bytes({0, 0, static_cast<unsigned>(length >> 8),
                               static_cast<unsigned>(length & 0xff), 0, 0, 0, protocol}));
    }
    const auto begin = frame.begin() + static_cast<std::ptrdiff_t>(l4);
    covered.insert(covered.end(), begin, begin + static_cast<std::ptrdiff_t>(length));
    if (protocol == 17 && wire::load_be16(frame.data() + l4 + 6) == 0) return false;
    return obvious_checksum(covered) == 0;
}

std::string describe(const Octets& frame) {
    wire::Frame parsed;
    const wire::DropReason reason = wire::parse_frame(frame, parsed);
    std::string line = parsed.source.text();
    line.append(" > ").append(parsed.destination.text());
    if (parsed.tagged) line.append(" vlan ").append(std::to_string(parsed.vlan));
    if (reason != wire::DropReason::none) {
        return line + " unparsable: " +
               std::string(wire::drop_reason_texts[static_cast<std::size_t>(reason)].name);
    }
    if (parsed.layer3 == wire::Layer3::arp) {
        return line + " arp " + hex(wire::Bytes(frame).subspan(parsed.l3_offset + 6u, 2)) + " " +
               parsed.ip_source.text() + " > " + parsed.ip_destination.text();
    }
    const bool v4 = parsed.layer3 == wire::Layer3::ipv4;
    const auto octet = [&](std::size_t at) { return std::to_integer<unsigned>(frame.at(at)); };
    const unsigned ttl = octet(parsed.l3_offset + (v4 ? 8u : 7u));
    const unsigned dscp = v4 ? octet(parsed.l3_offset + 1u)
                             : wire::load_be16(frame.data() + parsed.l3_offset) >> 4 & 0xffu;
    line.append(" ").append(parsed.ip_source.text());
    if (parsed.source_port != 0) line.append(" port ").append(std::to_string(parsed.source_port));
    line.append(" > ").append(parsed.ip_destination.text());
    if (parsed.destination_port != 0)
        line.append(" port ").append(std::to_string(parsed.destination_port));
    line.append(" ttl ").append(std::to_string(ttl) + " dscp " + std::to_string(dscp));
    if (parsed.fragment) {
        const unsigned field = v4 ? wire::load_be16(frame.data() + parsed.l3_offset + 6) & 0x1fffu
                                  : wire::load_be16(frame.data() + parsed.l4_offset - 6) >> 3;
        return line + " fragment at " + std::to_string(field * 8) + " length " +
               std::to_string(parsed.l4_length);
    }
    line += sums_are_right(frame) ? "" : " BAD SUM";
    if (frame.size() != parsed.end()) line += " PADDED";
    switch (parsed.layer4) {
        case wire::Layer4::udp:
            return line + " udp " + readable(parsed.payload(frame));
        case wire::Layer4::tcp:
            return line + " tcp flags " +
                   hex(wire::Bytes(frame).subspan(parsed.l4_offset + 13u, 1));
        case wire::Layer4::icmp:
        case wire::Layer4::icmpv6:
            return line + " icmp " + std::to_string(parsed.icmp_type) + "/" +
                   std::to_string(parsed.icmp_code);
        default:
            return line + " other";
    }
}

}  // namespace appliance_test
