// The parser, header by header: what it takes, and which reason it gives for what it does not.
#include <algorithm>
#include <memory>

#include <gtest/gtest.h>

#include "tests/unit/wire/packets.hh"
#include "wire/frame.hh"

namespace {

using namespace packets;
using wire::DropReason;
using wire::Frame;
using wire::Layer3;
using wire::Layer4;

const wire::IpAddress client4 = ip("192.0.2.7");
const wire::IpAddress service4 = ip("198.51.100.1");
const wire::IpAddress client6 = ip("2001:db8::7");
const wire::IpAddress service6 = ip("2001:db8:1::1");

// From memory of the frame's exact size, so that AddressSanitizer sees a step outside.
DropReason parse(const Octets& frame, Frame& out) {
    const std::unique_ptr<std::byte[]> memory(new std::byte[frame.size()]);
    std::copy(frame.begin(), frame.end(), memory.get());
    return wire::parse_frame(wire::Bytes(memory.get(), frame.size()), out);
}
DropReason reason(const Octets& frame) {
    Frame out;
    return parse(frame, out);
}

// ethernet(ipv4(udp)) with the IPv4 header changed and, unless told, its checksum put right.
Octets changed_ipv4(std::size_t at, unsigned value, bool right_checksum = true) {
    Octets frame = udp_frame("192.0.2.7", "198.51.100.1", text("0123456789"));
    frame.at(14 + at) = static_cast<std::byte>(value);
    if (right_checksum) {
        put16(frame, 14 + 10, 0);
        put16(frame, 14 + 10, obvious_checksum(wire::Bytes(frame).subspan(14, 20)));
    }
    return frame;
}

TEST(Frame, UdpOverIpv4) {
    const Octets payload = text("what is the time?");
    const Octets bytes = udp_frame("192.0.2.7", "198.51.100.1", payload);
    Frame out;
    ASSERT_EQ(parse(bytes, out), DropReason::none);
    EXPECT_EQ(out.source, mac_a);
    EXPECT_EQ(out.destination, mac_b);
    EXPECT_FALSE(out.tagged);
    EXPECT_FALSE(out.fragment);
    EXPECT_EQ(out.layer3, Layer3::ipv4);
    EXPECT_EQ(out.layer4, Layer4::udp);
    EXPECT_EQ(out.protocol, 17);
    EXPECT_EQ(out.ether_type, 0x0800);
    EXPECT_EQ(out.ip_source, client4);
    EXPECT_EQ(out.ip_destination, service4);
    EXPECT_EQ(out.source_port, 4711);
    EXPECT_EQ(out.destination_port, 53);
    EXPECT_EQ(out.l3_offset, 14);
    EXPECT_EQ(out.l4_offset, 34);
    EXPECT_EQ(out.l4_length, 8 + payload.size());
    EXPECT_EQ(out.payload_offset, 42);
    EXPECT_EQ(out.payload_length, payload.size());
    EXPECT_EQ(out.end(), bytes.size());
}

TEST(Frame, UdpOverIpv6WithTagAndPriority) {
    const Octets payload = text("hello");
    const Octets bytes =
        vlan(0xa00c, 0x86dd, ipv6(client6, service6, 17, udp(client6, 1, service6, 2, payload)));
    Frame out;
    ASSERT_EQ(parse(bytes, out), DropReason::none);
    EXPECT_TRUE(out.tagged);
    EXPECT_EQ(out.vlan, 12);
    EXPECT_EQ(out.ether_type, 0x86dd);
    EXPECT_EQ(out.layer3, Layer3::ipv6);
    EXPECT_EQ(out.layer4, Layer4::udp);
    EXPECT_EQ(out.ip_source, client6);
    EXPECT_EQ(out.ip_destination, service6);
    EXPECT_EQ(out.l4_offset, 58);
    EXPECT_EQ(out.payload_offset, 66);
    EXPECT_EQ(out.payload_length, 5);
}

TEST(Frame, PaddingBehindThePacketIsNotItsPayload) {
    Octets bytes = udp_frame("192.0.2.7", "198.51.100.1", text("x"));
    const std::size_t end = bytes.size();
    bytes.resize(60);
    Frame out;
    ASSERT_EQ(parse(bytes, out), DropReason::none);
    EXPECT_EQ(out.payload_length, 1);
    EXPECT_EQ(out.end(), end);
}

// Cutting a good frame anywhere gives a reason, never a value that reaches outside.
TEST(Frame, EveryCutIsTruncated) {
    for (const char* source : {"192.0.2.7", "2001:db8::7"}) {
        const bool four = source[3] == '.';
        const Octets bytes =
            udp_frame(source, four ? "198.51.100.1" : "2001:db8::1", text("payload"));
        ASSERT_EQ(reason(bytes), DropReason::none);
        for (std::size_t length = 0; length < bytes.size(); ++length) {
            const Octets cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length));
            EXPECT_EQ(reason(cut), DropReason::truncated) << source << " at " << length;
        }
    }
}

TEST(Frame, SizeAndEthernet) {
    Octets large = udp_frame("192.0.2.7", "198.51.100.1", text("x"));
    large.resize(65535);
    EXPECT_EQ(reason(large), DropReason::none);
    large.resize(65536);
    EXPECT_EQ(reason(large), DropReason::oversized);

    Octets multicast_source = udp_frame("192.0.2.7", "198.51.100.1", text("x"));
    multicast_source[6] = std::byte{3};
    EXPECT_EQ(reason(multicast_source), DropReason::bad_ethernet);
    EXPECT_EQ(reason(vlan(1, 0x8100, filled(40))), DropReason::bad_ethernet);
    EXPECT_EQ(reason(vlan(1, 0x88a8, filled(40))), DropReason::bad_ethernet);
    EXPECT_EQ(reason(ethernet(0x8100, octets({0, 1, 8}))), DropReason::truncated);

    Frame out;
    EXPECT_EQ(parse(ethernet(0x88cc, filled(40)), out), DropReason::unknown_ethertype);
    EXPECT_EQ(out.source, mac_a);
    EXPECT_EQ(out.ether_type, 0x88cc);
}

TEST(Frame, Ipv4Header) {
    EXPECT_EQ(reason(changed_ipv4(0, 0x55)), DropReason::bad_ip_header);
    EXPECT_EQ(reason(changed_ipv4(0, 0x44)), DropReason::bad_ip_header);
    EXPECT_EQ(reason(changed_ipv4(0, 0x46)), DropReason::ip_options);
    EXPECT_EQ(reason(changed_ipv4(3, 19)), DropReason::bad_ip_header);
    EXPECT_EQ(reason(changed_ipv4(3, 39)), DropReason::truncated);  // 38 are there
    EXPECT_EQ(reason(changed_ipv4(8, 1)), DropReason::none);        // TTL
    EXPECT_EQ(reason(changed_ipv4(1, 0xff)), DropReason::none);     // DSCP and ECN
    EXPECT_EQ(reason(changed_ipv4(6, 0x40)), DropReason::none);     // don't fragment
    for (std::size_t at = 1; at < 20; ++at) {
        if (at == 2 || at == 3) continue;  // the length
        EXPECT_EQ(reason(changed_ipv4(at, 0x77, false)), DropReason::bad_ip_checksum) << at;
    }
}

TEST(Frame, Ipv4ChecksumOverEveryWord) {
    // Headers whose sums need both end-around carries.
    for (unsigned low = 0; low < 65536; low += 97) {
        Octets frame = changed_ipv4(4, low >> 8);
        frame = changed_ipv4(5, low & 0xff);
        EXPECT_EQ(reason(frame), DropReason::none) << low;
    }
}

TEST(Frame, Ipv4Sources) {
    const auto from = [](std::string_view source) {
        return reason(udp_frame(source, "198.51.100.1", text("x")));
    };
    for (const char* bad :
         {"0.0.0.0", "127.0.0.1", "127.255.1.1", "224.0.0.1", "239.1.2.3", "255.255.255.255"}) {
        EXPECT_EQ(from(bad), DropReason::bad_ip_source) << bad;
    }
    for (const char* good :
         {"0.0.0.1", "1.1.1.1", "126.255.255.255", "128.0.0.1", "223.255.255.255", "240.0.0.1"}) {
        EXPECT_EQ(from(good), DropReason::none) << good;
    }
}

TEST(Frame, Ipv6SourcesAndMappedAddresses) {
    const auto between = [](std::string_view source, std::string_view destination) {
        const Octets datagram = udp(client6, 1, service6, 2, text("x"));
        Octets packet = ipv6(client6, service6, 17, datagram);
        const auto from = ip(source).octets;
        const auto to = ip(destination).octets;
        for (std::size_t i = 0; i < 16; ++i) {
            packet[8 + i] = std::byte{from[i]};
            packet[24 + i] = std::byte{to[i]};
        }
        return reason(ethernet(0x86dd, packet));
    };
    EXPECT_EQ(between("2001:db8::7", "ff02::1"), DropReason::none);
    EXPECT_EQ(between("fe80::1", "2001:db8::1"), DropReason::none);
    for (const char* bad : {"::", "::1", "ff02::1", "::ffff:192.0.2.1"}) {
        EXPECT_EQ(between(bad, "2001:db8::1"), DropReason::bad_ip_source) << bad;
    }
    EXPECT_EQ(between("2001:db8::7", "::ffff:192.0.2.1"), DropReason::bad_ip_header);
}

TEST(Frame, Ipv6Header) {
    Octets frame = udp_frame("2001:db8::7", "2001:db8::1", text("x"));
    Octets version = frame;
    version[14] = std::byte{0x40};
    EXPECT_EQ(reason(version), DropReason::bad_ip_header);
    Octets jumbo = frame;
    put16(jumbo, 14 + 4, 0);
    EXPECT_EQ(reason(jumbo), DropReason::bad_l4_header);
    Octets labelled = frame;
    put16(labelled, 14 + 2, 0xffff);  // flow label
    EXPECT_EQ(reason(labelled), DropReason::none);
    for (const unsigned next : {0u, 43u, 51u, 60u, 135u, 139u, 140u}) {
        EXPECT_EQ(reason(ethernet(0x86dd, ipv6(client6, service6, next, filled(64)))),
                  DropReason::ip_options)
            << next;
    }
    EXPECT_EQ(reason(ethernet(0x86dd, ipv6(client6, service6, 59, {}))),
              DropReason::unknown_protocol);
}

TEST(Frame, UdpLengths) {
    const auto with_length = [](std::size_t length) {
        Octets frame = udp_frame("192.0.2.7", "198.51.100.1", text("0123456789"));
        put16(frame, 34 + 4, length);
        return frame;
    };
    EXPECT_EQ(reason(with_length(0)), DropReason::bad_l4_header);
    EXPECT_EQ(reason(with_length(7)), DropReason::bad_l4_header);
    EXPECT_EQ(reason(with_length(19)), DropReason::bad_l4_header);
    // Less than the IP payload: a receiver cuts, and so do we.
    Frame out;
    ASSERT_EQ(parse(with_length(12), out), DropReason::none);
    EXPECT_EQ(out.payload_length, 4);
    EXPECT_EQ(out.l4_length, 18);
    ASSERT_EQ(parse(with_length(8), out), DropReason::none);
    EXPECT_EQ(out.payload_length, 0);
    EXPECT_EQ(reason(udp_frame("192.0.2.7", "198.51.100.1", text("x"), 0, 53)),
              DropReason::bad_l4_header);
    EXPECT_EQ(reason(udp_frame("192.0.2.7", "198.51.100.1", text("x"), 53, 0)),
              DropReason::bad_l4_header);
    EXPECT_EQ(reason(ethernet(0x0800, ipv4(client4, service4, 17, filled(7)))),
              DropReason::bad_l4_header);
}

Octets tcp(unsigned words, const Octets& behind) {
    return join({be16(1000), be16(80), filled(8), octets({words << 4, 2}), filled(6), behind});
}

TEST(Frame, Tcp) {
    Frame out;
    ASSERT_EQ(parse(ethernet(0x0800, ipv4(client4, service4, 6, tcp(6, text("....data")))), out),
              DropReason::none);
    EXPECT_EQ(out.layer4, Layer4::tcp);
    EXPECT_EQ(out.source_port, 1000);
    EXPECT_EQ(out.destination_port, 80);
    EXPECT_EQ(out.payload_offset, 34 + 24);
    EXPECT_EQ(out.payload_length, 4);
    for (const unsigned words : {0u, 4u, 8u, 15u}) {
        EXPECT_EQ(
            reason(ethernet(0x0800, ipv4(client4, service4, 6, tcp(words, text("....data"))))),
            DropReason::bad_l4_header)
            << words;
    }
    EXPECT_EQ(reason(ethernet(0x0800, ipv4(client4, service4, 6, filled(19)))),
              DropReason::bad_l4_header);
}

TEST(Frame, IcmpIsOfItsOwnVersionOnly) {
    const Octets echo = octets({8, 3, 0, 0, 1, 2, 3, 4, 5});
    Frame out;
    ASSERT_EQ(parse(ethernet(0x0800, ipv4(client4, service4, 1, echo)), out), DropReason::none);
    EXPECT_EQ(out.layer4, Layer4::icmp);
    EXPECT_EQ(out.icmp_type, 8);
    EXPECT_EQ(out.icmp_code, 3);
    EXPECT_EQ(out.payload_offset, 42);
    EXPECT_EQ(out.payload_length, 1);
    ASSERT_EQ(parse(ethernet(0x86dd, ipv6(client6, service6, 58, echo)), out), DropReason::none);
    EXPECT_EQ(out.layer4, Layer4::icmpv6);
    EXPECT_EQ(reason(ethernet(0x0800, ipv4(client4, service4, 58, echo))),
              DropReason::unknown_protocol);
    EXPECT_EQ(reason(ethernet(0x86dd, ipv6(client6, service6, 1, echo))),
              DropReason::unknown_protocol);
    EXPECT_EQ(reason(ethernet(0x0800, ipv4(client4, service4, 1, filled(7)))),
              DropReason::bad_l4_header);
    ASSERT_EQ(parse(ethernet(0x0800, ipv4(client4, service4, 47, echo)), out),
              DropReason::unknown_protocol);
    EXPECT_EQ(out.layer4, Layer4::other);
    EXPECT_EQ(out.ip_destination, service4);
}

TEST(Frame, UnspecifiedSourceInNeighbourSolicitationsOnly) {
    const wire::IpAddress nobody = ip("::");
    const auto icmp = [&](unsigned type) {
        const Octets message = join({octets({type, 0, 0, 0}), filled(20)});
        return reason(ethernet(0x86dd, ipv6(nobody, service6, 58, message)));
    };
    EXPECT_EQ(icmp(135), DropReason::none);
    EXPECT_EQ(icmp(128), DropReason::bad_ip_source);
    EXPECT_EQ(icmp(136), DropReason::bad_ip_source);
    const Octets piece = join({fragment_header(58, 1), octets({135, 0, 0, 0, 0, 0, 0, 0})});
    EXPECT_EQ(reason(ethernet(0x86dd, ipv6(nobody, service6, 44, piece))),
              DropReason::bad_ip_source);
}

TEST(Frame, Ipv4Fragments) {
    const auto piece = [](unsigned field, std::size_t length, Frame& out) {
        return parse(ethernet(0x0800, ipv4(client4, service4, 17, filled(length), field)), out);
    };
    Frame out;
    ASSERT_EQ(piece(0x2000, 16, out), DropReason::none);
    EXPECT_TRUE(out.fragment);
    EXPECT_EQ(out.layer4, Layer4::none);
    EXPECT_EQ(out.protocol, 17);
    EXPECT_EQ(out.l4_offset, 34);
    EXPECT_EQ(out.l4_length, 16);
    EXPECT_EQ(out.source_port, 0);
    ASSERT_EQ(piece(0x2002, 24, out), DropReason::none);
    EXPECT_TRUE(out.fragment);
    ASSERT_EQ(piece(5, 3, out), DropReason::none);
    EXPECT_TRUE(out.fragment);
    EXPECT_EQ(piece(0x2000, 15, out), DropReason::fragment_refused);  // no multiple of 8
    EXPECT_EQ(piece(0x2000, 0, out), DropReason::fragment_refused);
    EXPECT_EQ(piece(5, 0, out), DropReason::fragment_refused);
    EXPECT_EQ(piece(0x1fff, 7, out), DropReason::none);  // ends at 65,535
    EXPECT_EQ(piece(0x1fff, 8, out), DropReason::fragment_refused);
}

TEST(Frame, Ipv6Fragments) {
    const auto piece = [](unsigned field, const Octets& payload, Frame& out, unsigned next = 17) {
        return parse(ethernet(0x86dd, ipv6(client6, service6, 44,
                                           join({fragment_header(next, field), payload}))),
                     out);
    };
    Frame out;
    ASSERT_EQ(piece(1, filled(16), out), DropReason::none);
    EXPECT_TRUE(out.fragment);
    EXPECT_EQ(out.layer4, Layer4::none);
    EXPECT_EQ(out.protocol, 17);
    EXPECT_EQ(out.l4_offset, 14 + 40 + 8);
    EXPECT_EQ(out.l4_length, 16);
    ASSERT_EQ(piece(16, filled(3), out), DropReason::none);
    EXPECT_TRUE(out.fragment);
    EXPECT_EQ(piece(1, filled(15), out), DropReason::fragment_refused);
    EXPECT_EQ(piece(16, {}, out), DropReason::fragment_refused);
    EXPECT_EQ(piece(0xfff8, filled(8), out), DropReason::fragment_refused);
    EXPECT_EQ(piece(1, filled(16), out, 60), DropReason::ip_options);
    EXPECT_EQ(piece(1, filled(16), out, 44), DropReason::ip_options);
    EXPECT_EQ(reason(ethernet(0x86dd, ipv6(client6, service6, 44, filled(7)))),
              DropReason::bad_ip_header);

    // RFC 6946: alone it is the whole packet. The six reserved bits do not matter.
    ASSERT_EQ(piece(6, udp(client6, 9, service6, 53, text("whole")), out), DropReason::none);
    EXPECT_FALSE(out.fragment);
    EXPECT_EQ(out.layer4, Layer4::udp);
    EXPECT_EQ(out.destination_port, 53);
    EXPECT_EQ(out.payload_offset, 14 + 40 + 8 + 8);
    EXPECT_EQ(out.payload_length, 5);
}

Octets arp() {
    return join(
        {octets({0, 1, 8, 0, 6, 4, 0, 1}), raw(mac_a), raw(client4), filled(6), raw(service4)});
}

TEST(Frame, Arp) {
    Frame out;
    ASSERT_EQ(parse(ethernet(0x0806, arp()), out), DropReason::none);
    EXPECT_EQ(out.layer3, Layer3::arp);
    EXPECT_EQ(out.layer4, Layer4::none);
    EXPECT_EQ(out.ip_source, client4);
    EXPECT_EQ(out.ip_destination, service4);
    for (const std::size_t at : {0u, 1u, 2u, 3u, 4u, 5u}) {
        Octets bad = arp();
        bad[at] ^= std::byte{4};
        EXPECT_EQ(reason(ethernet(0x0806, bad)), DropReason::bad_arp) << at;
    }
    Octets cut = arp();
    cut.pop_back();
    EXPECT_EQ(reason(ethernet(0x0806, cut)), DropReason::truncated);
}

TEST(Quoted, UdpWithLengthsBeyondWhatIsThere) {
    for (const bool four : {true, false}) {
        const wire::IpAddress from = four ? client4 : client6;
        const wire::IpAddress to = four ? service4 : service6;
        const Octets datagram = udp(from, 4711, to, 53, filled(1000));
        Octets packet = four ? ipv4(from, to, 17, datagram) : ipv6(from, to, 17, datagram);
        const std::size_t header = four ? 20 : 40;
        packet.resize(header + 8);
        Frame out;
        ASSERT_EQ(wire::parse_quoted(packet, out), DropReason::none);
        EXPECT_EQ(out.layer4, Layer4::udp);
        EXPECT_EQ(out.ip_source, from);
        EXPECT_EQ(out.ip_destination, to);
        EXPECT_EQ(out.source_port, 4711);
        EXPECT_EQ(out.destination_port, 53);
        EXPECT_EQ(out.l3_offset, 0);
        EXPECT_EQ(out.l4_length, 8);
        EXPECT_EQ(out.payload_length, 0);
        for (std::size_t length = 0; length < packet.size(); ++length) {
            EXPECT_EQ(wire::parse_quoted(wire::Bytes(packet).first(length), out),
                      DropReason::truncated)
                << length;
        }
    }
}

TEST(Quoted, PayloadIsWhatTheUdpLengthSaysAndIsThere) {
    Octets packet = ipv4(client4, service4, 17, udp(client4, 1, service4, 2, text("abcdef")));
    append(packet, filled(20));  // behind the quoted packet, e.g. RFC 4884 extensions
    Frame out;
    ASSERT_EQ(wire::parse_quoted(packet, out), DropReason::none);
    EXPECT_EQ(out.payload_length, 6);
    EXPECT_EQ(out.end(), 34);
    put16(packet, 24, 10);
    ASSERT_EQ(wire::parse_quoted(packet, out), DropReason::none);
    EXPECT_EQ(out.payload_length, 2);
    put16(packet, 24, 7);
    EXPECT_EQ(wire::parse_quoted(packet, out), DropReason::bad_l4_header);
}

TEST(Quoted, HeaderChecksumAndSourceDoNotMatter) {
    Octets packet = ipv4(ip("127.0.0.1"), service4, 17, udp(client4, 1, service4, 2, text("x")));
    put16(packet, 10, 0xdead);
    Frame out;
    EXPECT_EQ(wire::parse_quoted(packet, out), DropReason::none);
    packet[0] = std::byte{0x46};
    EXPECT_EQ(wire::parse_quoted(packet, out), DropReason::ip_options);
    packet[0] = std::byte{0x44};
    EXPECT_EQ(wire::parse_quoted(packet, out), DropReason::bad_ip_header);
    packet[0] = std::byte{0x05};
    EXPECT_EQ(wire::parse_quoted(packet, out), DropReason::bad_ip_header);
}

TEST(Quoted, FragmentsTcpIcmpAndOthers) {
    Frame out;
    const Octets datagram = udp(client4, 7, service4, 8, filled(24));
    ASSERT_EQ(wire::parse_quoted(ipv4(client4, service4, 17, datagram, 0x2000), out),
              DropReason::none);
    EXPECT_TRUE(out.fragment);
    EXPECT_EQ(out.source_port, 7);
    ASSERT_EQ(wire::parse_quoted(ipv4(client4, service4, 17, datagram, 3), out), DropReason::none);
    EXPECT_TRUE(out.fragment);
    EXPECT_EQ(out.layer4, Layer4::none);
    EXPECT_EQ(out.source_port, 0);

    const Octets first = join({fragment_header(17, 1), udp(client6, 7, service6, 8, filled(24))});
    ASSERT_EQ(wire::parse_quoted(ipv6(client6, service6, 44, first), out), DropReason::none);
    EXPECT_TRUE(out.fragment);
    EXPECT_EQ(out.destination_port, 8);

    ASSERT_EQ(wire::parse_quoted(ipv4(client4, service4, 6, be16(80)), out), DropReason::truncated);
    ASSERT_EQ(wire::parse_quoted(ipv4(client4, service4, 6, tcp(5, {})), out), DropReason::none);
    EXPECT_EQ(out.layer4, Layer4::tcp);
    EXPECT_EQ(out.destination_port, 80);
    EXPECT_EQ(out.payload_length, 0);
    const Octets echo = octets({8, 0, 1, 2, 3, 4, 5, 6, 7});
    ASSERT_EQ(wire::parse_quoted(ipv4(client4, service4, 1, echo), out), DropReason::none);
    EXPECT_EQ(out.layer4, Layer4::icmp);
    EXPECT_EQ(out.icmp_type, 8);
    EXPECT_EQ(out.payload_length, 1);
    EXPECT_EQ(wire::parse_quoted(ipv6(client6, service6, 1, echo), out),
              DropReason::unknown_protocol);
    EXPECT_EQ(wire::parse_quoted(ipv6(client6, service6, 60, echo), out), DropReason::ip_options);

    Octets mapped = ipv6(client6, service6, 17, datagram);
    const auto octets4 = service4.octets;
    for (std::size_t i = 0; i < 16; ++i) mapped[24 + i] = std::byte{octets4[i]};
    EXPECT_EQ(wire::parse_quoted(mapped, out), DropReason::bad_ip_header);
}

}  // namespace
