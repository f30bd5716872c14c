// Checksums against the obvious implementation, in all lengths and alignments that occur.
#include <gtest/gtest.h>

#include "tests/unit/wire/packets.hh"
#include "wire/checksum.hh"
#include "wire/sum.hh"

namespace {

using namespace packets;
using wire::DropReason;
using wire::Frame;

void same_as_obvious(wire::SumFunction sum, unsigned fill) {
    constexpr std::size_t longest = 2100;
    Octets buffer = filled(longest + 64, fill + 1);
    if (fill == 0) buffer.assign(buffer.size(), std::byte{0});
    if (fill == 1) buffer.assign(buffer.size(), std::byte{0xff});
    for (std::size_t length = 0; length <= longest; ++length) {
        // All alignments where the loops have their edges, one elsewhere.
        const std::size_t alignments = length <= 200 || length >= 2068 ? 33 : 1;
        for (std::size_t i = 0; i < alignments; ++i) {
            const std::size_t offset = alignments == 1 ? length % 33 : i;
            const wire::Bytes bytes = wire::Bytes(buffer).subspan(offset, length);
            ASSERT_EQ(wire::fold_checksum(sum(bytes)), obvious_checksum(bytes))
                << "length " << length << " offset " << offset << " fill " << fill;
        }
    }
}

// The sum in memory order, as sum_bytes() gives it.
std::uint64_t plain(wire::Bytes bytes) {
    const std::uint16_t folded =
        static_cast<std::uint16_t>(~wire::fold_checksum(wire::sum_plain(bytes)));
    return __builtin_bswap16(folded);
}

TEST(Checksum, SumBytesIsTheObviousSum) {
    for (unsigned fill = 0; fill < 5; ++fill) same_as_obvious(wire::sum_bytes, fill);
}

TEST(Checksum, PlainSumIsTheObviousSum) {
    for (unsigned fill = 0; fill < 5; ++fill) same_as_obvious(plain, fill);
}

TEST(Checksum, LongInputsDoNotOverflow) {
    for (const std::size_t length : {65535u, 65536u, 1048575u, 1048576u + 31u, 3000001u}) {
        const Octets ones(length, std::byte{0xff});
        const Octets mixed = filled(length);
        EXPECT_EQ(wire::fold_checksum(wire::sum_bytes(ones)), obvious_checksum(ones)) << length;
        EXPECT_EQ(wire::fold_checksum(wire::sum_bytes(mixed)), obvious_checksum(mixed)) << length;
    }
}

TEST(Checksum, SumsOfEvenPartsAdd) {
    const Octets bytes = filled(999);
    for (std::size_t cut = 0; cut < bytes.size(); cut += 2) {
        const std::uint64_t sum = wire::sum_bytes(wire::Bytes(bytes).first(cut)) +
                                  wire::sum_bytes(wire::Bytes(bytes).subspan(cut));
        ASSERT_EQ(wire::fold_checksum(sum), obvious_checksum(bytes)) << cut;
    }
}

TEST(Checksum, PseudoHeader) {
    for (const auto& [from, to] :
         {std::pair{"192.0.2.7", "255.255.255.255"}, std::pair{"2001:db8::7", "fe80::ffff:1"}}) {
        const Octets obvious =
            join({raw(ip(from)), raw(ip(to)), octets({0, 17}), be16(0), be16(1234)});
        EXPECT_EQ(wire::fold_checksum(wire::sum_pseudo_header(ip(from), ip(to), 17, 1234)),
                  obvious_checksum(obvious));
    }
}

// Frames of each kind; the obvious checksums in them are right.
std::vector<Octets> frames() {
    std::vector<Octets> all;
    for (const bool four : {true, false}) {
        const wire::IpAddress from = ip(four ? "192.0.2.7" : "2001:db8::7");
        const wire::IpAddress to = ip(four ? "198.51.100.1" : "2001:db8::1");
        const auto packet = [&](unsigned protocol, std::size_t field, const Octets& segment) {
            const Octets right = checksummed(from, to, protocol, field, segment);
            return four ? ethernet(0x0800, ipv4(from, to, protocol, right))
                        : vlan(7, 0x86dd, ipv6(from, to, protocol, right));
        };
        for (const std::size_t length : {0u, 1u, 2u, 17u, 63u, 64u, 999u, 1472u}) {
            const Octets data = filled(length);
            all.push_back(
                packet(17, 6, join({be16(9), be16(53), be16(8 + length), be16(0), data})));
            all.push_back(packet(
                6, 16, join({be16(9), be16(53), filled(8), octets({0x50, 2}), filled(6), data})));
            all.push_back(
                packet(four ? 1 : 58, 2, join({octets({four ? 8u : 128u, 0}), filled(6), data})));
        }
    }
    return all;
}

TEST(Checksum, WholePackets) {
    for (Octets frame : frames()) {
        Frame parsed;
        ASSERT_EQ(wire::parse_frame(frame, parsed), DropReason::none);
        EXPECT_TRUE(wire::l4_checksum_right(frame, parsed));
        const Octets right = frame;
        for (std::size_t at = parsed.l4_offset + 4u; at < frame.size(); at += 1 + at / 8) {
            frame[at] ^= std::byte{0x10};
            EXPECT_FALSE(wire::l4_checksum_right(frame, parsed)) << at;
            frame[at] ^= std::byte{0x10};
        }
        const std::size_t field = parsed.l4_offset + (parsed.protocol == 17  ? 6u
                                                      : parsed.protocol == 6 ? 16u
                                                                             : 2u);
        put16(frame, field, 0xbeef);
        wire::write_l4_checksum(frame, parsed);
        EXPECT_EQ(frame, right);
        frame.resize(frame.size() + 8, std::byte{0xaa});  // padding is not summed
        EXPECT_TRUE(wire::l4_checksum_right(frame, parsed));
    }
}

TEST(Checksum, UdpZero) {
    Frame parsed;
    Octets four = udp_frame("192.0.2.7", "198.51.100.1", text("x"));
    put16(four, 40, 0);
    ASSERT_EQ(wire::parse_frame(four, parsed), DropReason::none);
    EXPECT_TRUE(wire::l4_checksum_right(four, parsed));
    Octets six = udp_frame("2001:db8::7", "2001:db8::1", text("x"));
    put16(six, 60, 0);
    ASSERT_EQ(wire::parse_frame(six, parsed), DropReason::none);
    EXPECT_FALSE(wire::l4_checksum_right(six, parsed));

    // A payload that makes the sum 0 on the wire 0xffff.
    Octets frame = udp_frame("192.0.2.7", "198.51.100.1", octets({0, 0}));
    const std::size_t rest = wire::load_be16(frame.data() + 40);
    frame = udp_frame("192.0.2.7", "198.51.100.1", be16(rest));
    EXPECT_EQ(wire::load_be16(frame.data() + 40), 0xffff);
    ASSERT_EQ(wire::parse_frame(frame, parsed), DropReason::none);
    EXPECT_TRUE(wire::l4_checksum_right(frame, parsed));
    put16(frame, 40, 1);
    wire::write_l4_checksum(frame, parsed);
    EXPECT_EQ(wire::load_be16(frame.data() + 40), 0xffff);
}

// The sum of zero bytes is the one zero that is wrong.
TEST(Checksum, IcmpOfZerosIsWrong) {
    Octets frame =
        ethernet(0x0800, ipv4(ip("192.0.2.7"), ip("198.51.100.1"), 1, Octets(16, std::byte{0})));
    Frame parsed;
    ASSERT_EQ(wire::parse_frame(frame, parsed), DropReason::none);
    EXPECT_FALSE(wire::l4_checksum_right(frame, parsed));
    wire::write_l4_checksum(frame, parsed);
    EXPECT_EQ(wire::load_be16(frame.data() + 36), 0xffff);
    EXPECT_TRUE(wire::l4_checksum_right(frame, parsed));
}

TEST(Checksum, UdpShorterThanTheIpPayloadSumsOnlyItself) {
    const wire::IpAddress from = ip("192.0.2.7");
    const wire::IpAddress to = ip("198.51.100.1");
    const Octets datagram = udp(from, 1, to, 2, text("voted"));
    const Octets frame = ethernet(0x0800, ipv4(from, to, 17, join({datagram, text("slack")})));
    Frame parsed;
    ASSERT_EQ(wire::parse_frame(frame, parsed), DropReason::none);
    EXPECT_EQ(parsed.payload_length, 5);
    EXPECT_TRUE(wire::l4_checksum_right(frame, parsed));
}

TEST(Checksum, FragmentsAndOthersAreNeverRight) {
    Frame parsed;
    const Octets piece =
        ethernet(0x0800, ipv4(ip("192.0.2.7"), ip("198.51.100.1"), 17, filled(16), 0x2000));
    ASSERT_EQ(wire::parse_frame(piece, parsed), DropReason::none);
    EXPECT_FALSE(wire::l4_checksum_right(piece, parsed));
    Octets copy = piece;
    wire::write_l4_checksum(copy, parsed);
    EXPECT_EQ(copy, piece);
}

TEST(Checksum, Ipv4Header) {
    for (unsigned i = 0; i < 1000; ++i) {
        Octets header = filled(20, i);
        header[0] = std::byte{0x45};
        wire::write_ipv4_header_checksum(header.data());
        EXPECT_EQ(obvious_checksum(header), 0);
    }
}

}  // namespace
