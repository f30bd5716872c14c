// What the appliance writes, taken apart by hand and by the parser.
#include <gtest/gtest.h>

#include "tests/unit/wire/packets.hh"
#include "wire/checksum.hh"
#include "wire/write.hh"

namespace {

using namespace packets;
using wire::DropReason;
using wire::Frame;
using wire::LinkHeader;

const LinkHeader plain{mac_a, mac_b, 0, false};
const LinkHeader tagged{mac_a, mac_b, 0x123, true};

const wire::IpAddress client4 = ip("192.0.2.7");
const wire::IpAddress service4 = ip("198.51.100.1");
const wire::IpAddress client6 = ip("2001:db8::7");
const wire::IpAddress service6 = ip("2001:db8:1::1");

// Calls `write` with every buffer that is too small, which must stay as it is, and returns the
// frame: parsed, its checksums right, TTL 64, written to exactly its end.
template <class Write>
Octets written(const Write& write, Frame& parsed) {
    Octets large(2048, std::byte{0xcc});
    const std::size_t length = write(wire::MutableBytes(large));
    EXPECT_GT(length, 0u);
    for (std::size_t i = length; i < large.size(); ++i) EXPECT_EQ(large[i], std::byte{0xcc});
    const Octets frame(large.begin(), large.begin() + static_cast<std::ptrdiff_t>(length));
    for (std::size_t size = 0; size < length; ++size) {
        Octets small(size, std::byte{0xcc});
        EXPECT_EQ(write(wire::MutableBytes(small)), 0u) << size;
        EXPECT_EQ(small, Octets(size, std::byte{0xcc}));
    }
    EXPECT_EQ(wire::parse_frame(frame, parsed), DropReason::none);
    EXPECT_EQ(parsed.end(), frame.size());
    EXPECT_TRUE(wire::l4_checksum_right(frame, parsed));
    EXPECT_EQ(parsed.source, mac_b);
    EXPECT_EQ(parsed.destination, mac_a);
    const bool four = parsed.layer3 == wire::Layer3::ipv4;
    EXPECT_EQ(frame.at(parsed.l3_offset + (four ? 8u : 7u)), std::byte{64});
    return frame;
}

TEST(Write, UdpIsTheObviousFrame) {
    for (const std::size_t length : {0u, 1u, 2u, 512u, 1400u}) {
        const Octets payload = filled(length);
        Frame parsed;
        const Octets four = written(
            [&](wire::MutableBytes out) {
                return wire::write_udp(out, plain, service4, 53, client4, 4711, 0x1234, payload);
            },
            parsed);
        EXPECT_EQ(four,
                  join({raw(mac_a), raw(mac_b), be16(0x0800),
                        ipv4(service4, client4, 17, udp(service4, 53, client4, 4711, payload))}));
        const Octets six = written(
            [&](wire::MutableBytes out) {
                return wire::write_udp(out, tagged, service6, 53, client6, 4711, 0, payload);
            },
            parsed);
        EXPECT_EQ(six,
                  join({raw(mac_a), raw(mac_b), octets({0x81, 0, 1, 0x23, 0x86, 0xdd}),
                        ipv6(service6, client6, 17, udp(service6, 53, client6, 4711, payload))}));
    }
}

// RFC 768: a sum of 0 is written as 0xffff, since 0 says that there is none.
TEST(Write, UdpChecksumIsNeverZero) {
    const auto checksum = [](const Octets& payload) {
        Octets out(100);
        EXPECT_EQ(wire::write_udp(out, plain, service6, 53, client6, 4711, 0, payload), 64u);
        return wire::load_be16(out.data() + 60);
    };
    EXPECT_EQ(checksum(be16(checksum(octets({0, 0})))), 0xffff);
}

TEST(Write, UdpLongerThanIpAllows) {
    Octets out(70000);
    const auto write = [&](const wire::IpAddress& from, const wire::IpAddress& to,
                           std::size_t length) {
        return wire::write_udp(out, plain, from, 1, to, 2, 3, filled(length));
    };
    EXPECT_EQ(write(service4, client4, 65535 - 14 - 28), 65535u);
    EXPECT_EQ(write(service4, client4, 65535 - 14 - 27), 0u);  // longer than a frame
    EXPECT_EQ(write(service4, client4, 65536), 0u);
    EXPECT_EQ(write(service6, client6, 65535 - 14 - 48), 65535u);
    EXPECT_EQ(write(service6, client6, 65535 - 14 - 47), 0u);
}

TEST(Write, EchoReplyReturnsIdentifierSequenceAndData) {
    const Octets rest = join({be16(0xbeef), be16(7), text("ping data")});
    for (const bool four : {true, false}) {
        const Octets message = join({octets({four ? 8u : 128u, 0, 0, 0}), rest});
        const Octets request = four ? ethernet(0x0800, ipv4(client4, service4, 1, message))
                                    : ethernet(0x86dd, ipv6(client6, service6, 58, message));
        Frame asked;
        ASSERT_EQ(wire::parse_frame(request, asked), DropReason::none);
        Frame parsed;
        const Octets reply = written(
            [&](wire::MutableBytes out) {
                return wire::write_echo_reply(out, tagged, request, asked, 9);
            },
            parsed);
        EXPECT_EQ(parsed.icmp_type, four ? 0 : 129);
        EXPECT_EQ(parsed.icmp_code, 0);
        EXPECT_EQ(parsed.ip_source, asked.ip_destination);
        EXPECT_EQ(parsed.ip_destination, asked.ip_source);
        EXPECT_EQ(Octets(reply.begin() + parsed.l4_offset + 4, reply.end()), rest);

        // A reply is no question.
        Octets large(2048);
        EXPECT_EQ(wire::write_echo_reply(large, plain, reply, parsed, 9), 0u);
    }
}

Octets segment(unsigned flags, std::uint32_t sequence, std::uint32_t acknowledgement,
               const Octets& data) {
    return ethernet(0x0800,
                    ipv4(client4, service4, 6,
                         join({be16(4711), be16(80), be16(sequence >> 16), be16(sequence & 0xffff),
                               be16(acknowledgement >> 16), be16(acknowledgement & 0xffff),
                               octets({0x50, flags, 1, 2, 0, 0, 0, 0}), data})));
}

// RFC 793 3.4, page 36.
TEST(Write, TcpReset) {
    struct Case {
        unsigned flags;
        std::size_t data;
        std::uint32_t sequence;
        std::uint32_t acknowledgement;
        unsigned reply_flags;
    };
    const std::uint32_t theirs = 0xfffffffe;
    for (const Case& c : {Case{0x02, 0, 0, theirs + 1, 0x14},     // SYN
                          Case{0x02, 5, 0, theirs + 6, 0x14},     // SYN with data
                          Case{0x01, 2, 0, theirs + 3, 0x14},     // FIN
                          Case{0x00, 4, 0, theirs + 4, 0x14},     // data without ACK
                          Case{0x10, 9, 0x01020304, 0, 0x04},     // ACK
                          Case{0x12, 0, 0x01020304, 0, 0x04}}) {  // SYN and ACK
        const Octets frame = segment(c.flags, theirs, 0x01020304, filled(c.data));
        Frame asked;
        ASSERT_EQ(wire::parse_frame(frame, asked), DropReason::none);
        Frame parsed;
        const Octets reset = written(
            [&](wire::MutableBytes out) {
                return wire::write_tcp_reset(out, plain, frame, asked, 1);
            },
            parsed);
        EXPECT_EQ(parsed.source_port, 80);
        EXPECT_EQ(parsed.destination_port, 4711);
        EXPECT_EQ(parsed.ip_source, service4);
        EXPECT_EQ(parsed.payload_length, 0);
        const std::byte* const header = reset.data() + parsed.l4_offset;
        EXPECT_EQ(wire::load_be32(header + 4), c.sequence) << c.flags;
        EXPECT_EQ(wire::load_be32(header + 8), c.acknowledgement) << c.flags;
        EXPECT_EQ(wire::load_u8(header + 13), c.reply_flags) << c.flags;
        EXPECT_EQ(wire::load_be16(header + 14), 0);
    }
}

TEST(Write, ResetIsNeverAnswered) {
    Octets out(2048);
    for (const unsigned flags : {0x04u, 0x14u, 0x3fu}) {
        const Octets frame = segment(flags, 1, 2, {});
        Frame asked;
        ASSERT_EQ(wire::parse_frame(frame, asked), DropReason::none);
        EXPECT_EQ(wire::write_tcp_reset(out, plain, frame, asked, 1), 0u);
    }
}

Octets without_ethernet(const Octets& frame) { return Octets(frame.begin() + 14, frame.end()); }

TEST(Write, IcmpErrorQuotesAsMuchAsTheRfcsAllow) {
    for (const bool four : {true, false}) {
        for (const std::size_t length : {0u, 10u, 521u, 1184u, 1185u, 1400u}) {
            Octets packet = without_ethernet(udp_frame(four ? "192.0.2.7" : "2001:db8::7",
                                                       four ? "198.51.100.1" : "2001:db8:1::1",
                                                       filled(length)));
            const std::size_t packet_len = packet.size();
            append(packet, filled(6));  // padding
            Frame parsed;
            const Octets error = written(
                [&](wire::MutableBytes out) {
                    return wire::write_icmp_error(out, plain, four ? service4 : service6,
                                                  four ? client4 : client6, four ? 3 : 1,
                                                  four ? 3 : 4, 0x00000578, packet, 5);
                },
                parsed);
            EXPECT_EQ(parsed.icmp_type, four ? 3 : 1);
            EXPECT_EQ(parsed.icmp_code, four ? 3 : 4);
            EXPECT_EQ(wire::load_be32(error.data() + parsed.l4_offset + 4), 0x578u);
            const std::size_t quoted = std::min<std::size_t>(packet_len, four ? 548 : 1232);
            EXPECT_EQ(Octets(error.begin() + parsed.payload_offset, error.end()),
                      Octets(packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(quoted)));
            EXPECT_LE(error.size() - 14, four ? 576u : 1280u);
            Frame inside;
            EXPECT_EQ(wire::parse_quoted(parsed.payload(error), inside), DropReason::none);
            EXPECT_EQ(inside.source_port, 4711);
        }
    }
}

TEST(Write, NoIcmpErrorWhereNoneMayBe) {
    Octets out(2048);
    const auto about = [&](const Octets& packet) {
        const bool four = !packet.empty() && (packet[0] & std::byte{0xf0}) == std::byte{0x40};
        return wire::write_icmp_error(out, plain, four ? service4 : service6,
                                      four ? client4 : client6, 3, 3, 0, packet, 5);
    };
    const Octets datagram = udp(client4, 1, service4, 2, filled(16));
    ASSERT_GT(about(ipv4(client4, service4, 17, datagram)), 0u);
    EXPECT_GT(about(ipv4(client4, service4, 17, datagram, 0x2000)), 0u);  // first fragment
    EXPECT_EQ(about(ipv4(client4, service4, 17, datagram, 0x2001)), 0u);
    EXPECT_EQ(about(ipv4(client4, ip("224.0.0.5"), 17, datagram)), 0u);
    EXPECT_EQ(about(ipv4(client4, ip("255.255.255.255"), 17, datagram)), 0u);
    EXPECT_EQ(about(ipv4(ip("239.0.0.1"), service4, 17, datagram)), 0u);
    EXPECT_EQ(about(ipv6(client6, ip("ff02::1"), 17, datagram)), 0u);
    EXPECT_GT(about(ipv4(client4, service4, 47, datagram)), 0u);  // GRE: protocol unreachable
    for (const unsigned type : {3u, 4u, 5u, 11u, 12u}) {
        EXPECT_EQ(about(ipv4(client4, service4, 1, join({octets({type}), filled(30)}))), 0u);
    }
    EXPECT_GT(about(ipv4(client4, service4, 1, join({octets({8}), filled(30)}))), 0u);
    for (const unsigned type : {1u, 2u, 3u, 4u, 100u, 127u, 137u}) {
        EXPECT_EQ(about(ipv6(client6, service6, 58, join({octets({type}), filled(30)}))), 0u);
    }
    EXPECT_GT(about(ipv6(client6, service6, 58, join({octets({128}), filled(30)}))), 0u);
    EXPECT_EQ(about({}), 0u);
    EXPECT_EQ(about(filled(7)), 0u);
}

}  // namespace
