// Packets for the tests of wire, put together byte by byte and checksummed the obvious way, apart
// from the code under test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "wire/address.hh"
#include "wire/bytes.hh"

namespace packets {

using Octets = std::vector<std::byte>;

inline Octets octets(std::initializer_list<unsigned> values) {
    Octets out;
    for (const unsigned value : values) out.push_back(static_cast<std::byte>(value));
    return out;
}

inline void append(Octets& out, const Octets& more) {
    for (const std::byte octet : more) out.push_back(octet);
}

inline Octets join(std::initializer_list<Octets> parts) {
    Octets out;
    for (const Octets& part : parts) append(out, part);
    return out;
}

inline Octets text(std::string_view characters) {
    Octets out;
    for (const char c : characters) out.push_back(static_cast<std::byte>(c));
    return out;
}

inline Octets filled(std::size_t count, unsigned seed = 1) {
    Octets out;
    for (std::size_t i = 0; i < count; ++i) {
        seed = seed * 1103515245u + 12345u;
        out.push_back(static_cast<std::byte>(seed >> 16));
    }
    return out;
}

inline Octets be16(std::size_t value) {
    return octets({static_cast<unsigned>(value >> 8 & 0xff), static_cast<unsigned>(value & 0xff)});
}

inline void put16(Octets& out, std::size_t at, std::size_t value) {
    out.at(at) = static_cast<std::byte>(value >> 8 & 0xff);
    out.at(at + 1) = static_cast<std::byte>(value & 0xff);
}

// RFC 1071 as one would write it first: the complement of the sum of 16-bit words.
inline std::uint16_t obvious_checksum(wire::Bytes bytes) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const auto octet = std::to_integer<std::uint64_t>(bytes[i]);
        sum += i % 2 == 0 ? octet * 256 : octet;
    }
    while (sum > 0xffff) sum = sum % 0x10000 + sum / 0x10000;
    return static_cast<std::uint16_t>(0xffff - sum);
}

inline wire::IpAddress ip(std::string_view address) {
    return wire::IpAddress::parse(address).value();
}
inline wire::MacAddress mac(std::string_view address) {
    return wire::MacAddress::parse(address).value();
}
inline Octets raw(const wire::MacAddress& address) {
    Octets out;
    for (const std::uint8_t octet : address.octets) out.push_back(std::byte{octet});
    return out;
}
inline Octets raw(const wire::IpAddress& address) {
    Octets out;
    for (std::size_t i = address.is_v4() ? 12 : 0; i < 16; ++i) {
        out.push_back(std::byte{address.octets[i]});
    }
    return out;
}

inline const wire::MacAddress mac_a = mac("02:00:00:00:00:0a");
inline const wire::MacAddress mac_b = mac("02:00:00:00:00:0b");

inline Octets ethernet(unsigned ether_type, const Octets& packet) {
    return join({raw(mac_b), raw(mac_a), be16(ether_type), packet});
}
inline Octets vlan(unsigned id, unsigned ether_type, const Octets& packet) {
    return join({raw(mac_b), raw(mac_a), be16(0x8100), be16(id), be16(ether_type), packet});
}

inline Octets ipv4(const wire::IpAddress& source, const wire::IpAddress& destination,
                   unsigned protocol, const Octets& payload, unsigned fragment = 0) {
    Octets out = join({octets({0x45, 0}), be16(20 + payload.size()), be16(0x1234), be16(fragment),
                       octets({64, protocol, 0, 0}), raw(source), raw(destination)});
    put16(out, 10, obvious_checksum(out));
    append(out, payload);
    return out;
}

inline Octets ipv6(const wire::IpAddress& source, const wire::IpAddress& destination,
                   unsigned next_header, const Octets& payload, unsigned hop_limit = 64) {
    return join({octets({0x60, 0, 0, 0}), be16(payload.size()), octets({next_header, hop_limit}),
                 raw(source), raw(destination), payload});
}

inline Octets fragment_header(unsigned next_header, unsigned offset_and_more) {
    return join(
        {octets({next_header, 0}), be16(offset_and_more), octets({0xde, 0xad, 0xbe, 0xef})});
}

// Fills in the checksum at `field` of the IP payload `segment`.
inline Octets checksummed(const wire::IpAddress& source, const wire::IpAddress& destination,
                          unsigned protocol, std::size_t field, Octets segment) {
    put16(segment, field, 0);
    const Octets whole = protocol == 1 ? segment
                                       : join({raw(source), raw(destination), octets({0, protocol}),
                                               be16(segment.size()), segment});
    std::size_t sum = obvious_checksum(whole);
    if (sum == 0 && protocol == 17) sum = 0xffff;
    put16(segment, field, sum);
    return segment;
}

inline Octets udp(const wire::IpAddress& source, unsigned source_port,
                  const wire::IpAddress& destination, unsigned destination_port,
                  const Octets& payload) {
    return checksummed(source, destination, 17, 6,
                       join({be16(source_port), be16(destination_port), be16(8 + payload.size()),
                             be16(0), payload}));
}

// Whole UDP frames of either version.
inline Octets udp_frame(std::string_view source, std::string_view destination,
                        const Octets& payload, unsigned source_port = 4711,
                        unsigned destination_port = 53) {
    const wire::IpAddress from = ip(source);
    const wire::IpAddress to = ip(destination);
    const Octets datagram = udp(from, source_port, to, destination_port, payload);
    return from.is_v4() ? ethernet(0x0800, ipv4(from, to, 17, datagram))
                        : ethernet(0x86dd, ipv6(from, to, 17, datagram));
}

}  // namespace packets
