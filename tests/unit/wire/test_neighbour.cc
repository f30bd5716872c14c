// ARP and neighbour discovery: what is a question, what is not, and the answers.
#include <algorithm>
#include <memory>

#include <gtest/gtest.h>

#include "tests/unit/wire/packets.hh"
#include "wire/checksum.hh"
#include "wire/neighbour.hh"

namespace {

using namespace packets;
using wire::DropReason;
using wire::Frame;
using wire::NeighbourQuestion;

const wire::MacAddress ours = mac("02:00:00:00:00:99");
const wire::MacAddress elsewhere = mac("02:00:00:00:00:ee");

// `why` of a frame; none: it is a question. The frame is in memory of its exact size, so that
// AddressSanitizer sees a step outside.
DropReason judge(const Octets& given, NeighbourQuestion* question = nullptr) {
    const std::unique_ptr<std::byte[]> memory(new std::byte[given.size()]);
    std::copy(given.begin(), given.end(), memory.get());
    const wire::Bytes frame(memory.get(), given.size());
    Frame parsed;
    const DropReason parse = wire::parse_frame(frame, parsed);
    if (parse != DropReason::none) return parse;
    DropReason why{};
    const auto asked = wire::neighbour_question(frame, parsed, why);
    EXPECT_EQ(asked.has_value(), why == DropReason::none);
    if (asked && question != nullptr) *question = *asked;
    return why;
}

Octets answer(const Octets& frame, const NeighbourQuestion& question) {
    Frame parsed;
    EXPECT_EQ(wire::parse_frame(frame, parsed), DropReason::none);
    Octets out(wire::neighbour_reply_len_max);
    const std::size_t length = wire::write_neighbour_answer(parsed, question, ours, out);
    EXPECT_GT(length, 0u);
    for (std::size_t size = 0; size < length; ++size) {
        Octets small(size);
        EXPECT_EQ(wire::write_neighbour_answer(parsed, question, ours, small), 0u);
    }
    out.resize(length);
    return out;
}

Octets arp(unsigned operation, std::string_view sender, std::string_view target,
           const wire::MacAddress& sender_mac = mac_a) {
    return join({octets({0, 1, 8, 0, 6, 4}), be16(operation), raw(sender_mac), raw(ip(sender)),
                 octets({0, 0, 0, 0, 0, 0}), raw(ip(target))});
}

TEST(Arp, Request) {
    const Octets frame = join({octets({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), raw(mac_a),
                               be16(0x0806), arp(1, "192.0.2.7", "192.0.2.1", elsewhere)});
    NeighbourQuestion question;
    ASSERT_EQ(judge(frame, &question), DropReason::none);
    EXPECT_EQ(question.target, ip("192.0.2.1"));
    EXPECT_EQ(question.asker, ip("192.0.2.7"));
    EXPECT_EQ(question.asker_mac, elsewhere);
    EXPECT_FALSE(question.probe);
    EXPECT_EQ(answer(frame, question),
              join({raw(elsewhere), raw(ours), be16(0x0806), octets({0, 1, 8, 0, 6, 4, 0, 2}),
                    raw(ours), raw(ip("192.0.2.1")), raw(elsewhere), raw(ip("192.0.2.7"))}));
    EXPECT_EQ(judge(answer(frame, question)), DropReason::neighbour_ignored);
}

TEST(Arp, AnswerKeepsTheTag) {
    const Octets frame = vlan(0x6064, 0x0806, arp(1, "192.0.2.7", "192.0.2.1"));
    NeighbourQuestion question;
    ASSERT_EQ(judge(frame, &question), DropReason::none);
    const Octets reply = answer(frame, question);
    Frame parsed;
    ASSERT_EQ(wire::parse_frame(reply, parsed), DropReason::none);
    EXPECT_TRUE(parsed.tagged);
    EXPECT_EQ(parsed.vlan, 0x64);
    EXPECT_EQ(parsed.ip_source, ip("192.0.2.1"));
}

TEST(Arp, ProbeIsToldApart) {
    NeighbourQuestion question;
    const Octets frame = ethernet(0x0806, arp(1, "0.0.0.0", "192.0.2.1", elsewhere));
    ASSERT_EQ(judge(frame, &question), DropReason::none);
    EXPECT_TRUE(question.probe);
    EXPECT_EQ(question.asker_mac, mac_a);
    EXPECT_EQ(question.target, ip("192.0.2.1"));
}

TEST(Arp, NoQuestions) {
    const auto of = [](const Octets& packet) { return judge(ethernet(0x0806, packet)); };
    EXPECT_EQ(of(arp(2, "192.0.2.7", "192.0.2.1")), DropReason::neighbour_ignored);
    EXPECT_EQ(of(arp(3, "192.0.2.7", "192.0.2.1")), DropReason::neighbour_ignored);
    EXPECT_EQ(of(arp(0x0101, "192.0.2.7", "192.0.2.1")), DropReason::neighbour_ignored);
    EXPECT_EQ(of(arp(1, "192.0.2.7", "192.0.2.7")), DropReason::neighbour_ignored);
    EXPECT_EQ(of(arp(1, "0.0.0.0", "0.0.0.0")), DropReason::neighbour_ignored);
    for (const char* sender : {"127.0.0.1", "224.0.0.1", "239.255.255.255", "255.255.255.255"}) {
        EXPECT_EQ(of(arp(1, sender, "192.0.2.1")), DropReason::bad_arp) << sender;
    }
    EXPECT_EQ(of(arp(1, "192.0.2.7", "192.0.2.1", mac("03:00:00:00:00:01"))), DropReason::bad_arp);
    EXPECT_EQ(judge(udp_frame("192.0.2.7", "192.0.2.1", text("x"))), DropReason::neighbour_ignored);
}

struct Solicitation {
    std::string_view source = "fe80::7";
    std::string_view destination = "ff02::1:ff00:1";
    std::string_view target = "2001:db8::1";
    Octets options = join({octets({1, 1}), raw(elsewhere)});
    unsigned type = 135;
    unsigned code = 0;
    unsigned hop_limit = 255;

    Octets message() const {
        return checksummed(ip(source), ip(destination), 58, 2,
                           join({octets({type, code, 0, 0, 0, 0, 0, 0}), raw6(target), options}));
    }
    Octets frame() const {
        return ethernet(0x86dd, ipv6(ip(source), ip(destination), 58, message(), hop_limit));
    }
    static Octets raw6(std::string_view address) {
        Octets out;
        for (const std::uint8_t octet : ip(address).octets) out.push_back(std::byte{octet});
        return out;
    }
};

TEST(NeighbourDiscovery, Solicitation) {
    const Octets frame = Solicitation{}.frame();
    NeighbourQuestion question;
    ASSERT_EQ(judge(frame, &question), DropReason::none);
    EXPECT_EQ(question.target, ip("2001:db8::1"));
    EXPECT_EQ(question.asker, ip("fe80::7"));
    EXPECT_EQ(question.asker_mac, elsewhere);
    EXPECT_FALSE(question.probe);

    const Octets reply = answer(frame, question);
    const Octets message = checksummed(ip("2001:db8::1"), ip("fe80::7"), 58, 2,
                                       join({octets({136, 0, 0, 0, 0x60, 0, 0, 0}),
                                             raw(ip("2001:db8::1")), octets({2, 1}), raw(ours)}));
    EXPECT_EQ(reply, join({raw(elsewhere), raw(ours), be16(0x86dd),
                           ipv6(ip("2001:db8::1"), ip("fe80::7"), 58, message, 255)}));
    EXPECT_EQ(judge(reply), DropReason::neighbour_ignored);
}

TEST(NeighbourDiscovery, WithoutOptionTheFrameSaysWhoAsks) {
    Solicitation unicast;
    unicast.destination = "2001:db8::1";
    unicast.options = {};
    NeighbourQuestion question;
    ASSERT_EQ(judge(unicast.frame(), &question), DropReason::none);
    EXPECT_EQ(question.asker_mac, mac_a);
}

TEST(NeighbourDiscovery, ProbeIsToldApart) {
    Solicitation probe;
    probe.source = "::";
    probe.options = {};
    NeighbourQuestion question;
    ASSERT_EQ(judge(probe.frame(), &question), DropReason::none);
    EXPECT_TRUE(question.probe);
    EXPECT_EQ(question.asker_mac, mac_a);
    // If somebody does answer: to all nodes, unsolicited.
    const Octets reply = answer(probe.frame(), question);
    Frame parsed;
    ASSERT_EQ(wire::parse_frame(reply, parsed), DropReason::none);
    EXPECT_EQ(parsed.ip_destination, ip("ff02::1"));
    EXPECT_EQ(parsed.destination, mac("33:33:00:00:00:01"));
    EXPECT_TRUE(wire::l4_checksum_right(reply, parsed));
    EXPECT_EQ(wire::load_be32(reply.data() + parsed.l4_offset + 4), 0x20000000u);

    // RFC 4861 7.1.1: no link address, and only to the target's own group.
    Solicitation with_option;
    with_option.source = "::";
    EXPECT_EQ(judge(with_option.frame()), DropReason::bad_arp);
    probe.destination = "ff02::1:ff00:2";
    EXPECT_EQ(judge(probe.frame()), DropReason::bad_arp);
    probe.destination = "2001:db8::1";
    EXPECT_EQ(judge(probe.frame()), DropReason::bad_arp);
}

TEST(NeighbourDiscovery, Malformed) {
    Solicitation s;
    s.hop_limit = 254;
    EXPECT_EQ(judge(s.frame()), DropReason::bad_arp);
    s = {};
    s.code = 1;
    EXPECT_EQ(judge(s.frame()), DropReason::bad_arp);
    for (const char* target : {"ff02::1", "::ffff:192.0.2.1"}) {
        s = {};
        s.target = target;
        EXPECT_EQ(judge(s.frame()), DropReason::bad_arp) << target;
    }
    Octets wrong = Solicitation{}.frame();
    wrong.back() ^= std::byte{1};
    EXPECT_EQ(judge(wrong), DropReason::bad_arp);

    // Too short for its target.
    const Octets cut = checksummed(ip("fe80::7"), ip("fe80::1"), 58, 2,
                                   join({octets({135, 0, 0, 0}), filled(19)}));
    EXPECT_EQ(judge(ethernet(0x86dd, ipv6(ip("fe80::7"), ip("fe80::1"), 58, cut, 255))),
              DropReason::bad_arp);

    // RFC 6980: behind a fragment header, even a whole one.
    s = {};
    EXPECT_EQ(judge(ethernet(0x86dd, ipv6(ip(s.source), ip(s.destination), 44,
                                          join({fragment_header(58, 0), s.message()}), 255))),
              DropReason::bad_arp);

    for (const unsigned type : {133u, 134u, 136u, 137u, 128u}) {
        s = {};
        s.type = type;
        EXPECT_EQ(judge(s.frame()), DropReason::neighbour_ignored) << type;
    }
}

TEST(NeighbourDiscovery, Options) {
    const auto with = [](const Octets& options, NeighbourQuestion* question = nullptr) {
        Solicitation s;
        s.options = options;
        return judge(s.frame(), question);
    };
    const Octets link = join({octets({1, 1}), raw(elsewhere)});
    const Octets nonce = join({octets({14, 2}), filled(14)});
    NeighbourQuestion question;
    EXPECT_EQ(with(join({nonce, link}), &question), DropReason::none);
    EXPECT_EQ(question.asker_mac, elsewhere);
    EXPECT_EQ(with(join({link, nonce})), DropReason::none);
    // The first counts.
    EXPECT_EQ(with(join({link, octets({1, 1}), raw(mac_b)}), &question), DropReason::none);
    EXPECT_EQ(question.asker_mac, elsewhere);

    EXPECT_EQ(with(octets({14, 0, 0, 0, 0, 0, 0, 0})), DropReason::bad_arp);
    EXPECT_EQ(with(join({link, octets({14, 0, 0, 0, 0, 0, 0, 0})})), DropReason::bad_arp);
    EXPECT_EQ(with(octets({14, 2, 0, 0, 0, 0, 0, 0})), DropReason::bad_arp);
    EXPECT_EQ(with(octets({14})), DropReason::bad_arp);
    EXPECT_EQ(with(join({link, octets({14, 1, 0})})), DropReason::bad_arp);
    EXPECT_EQ(with(join({octets({1, 2}), filled(14)})), DropReason::bad_arp);
    EXPECT_EQ(with(octets({1, 1, 3, 0, 0, 0, 0, 1})), DropReason::bad_arp);  // multicast
}

}  // namespace
