// What strangers and replicas may throw at a worker: each packet is a counted drop for the right
// reason or a dissent, and the honest reply still leaves.
#include <algorithm>
#include <functional>

#include "tests/appliance/environment.hh"
#include "tests/unit/voter/dns_builder.hh"

namespace {

using namespace appliance_test;
using wire::DropReason;

const Endpoint client{mac("02:cc:00:00:00:01"), address("198.51.100.9"), 4000};
const Endpoint client6{mac("02:cc:00:00:00:02"), address("2001:db8:1::9"), 4001};
const Endpoint other{mac("02:cc:00:00:00:03"), address("198.51.100.77"), 4000};

const Octets question = text("0001 what is it");
const Octets right = text("0001 what it is");
const Octets wrong = text("0001 what it is not");

std::uint64_t all_drops(const Appliance& appliance) {
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < wire::drop_reasons_count; ++i) {
        total += appliance.dropped(static_cast<DropReason>(i));
    }
    return total;
}

struct Bad {
    const char* what;
    DropReason reason;
    std::function<void(Octets&)> spoil;  // of a well-formed UDP frame
};

void cut(Octets& frame, std::size_t off_the_end) {
    frame.erase(frame.end() - static_cast<std::ptrdiff_t>(off_the_end), frame.end());
}

std::vector<Bad> bad_v4() {
    return {
        {"cut in the payload", DropReason::truncated, [](Octets& f) { cut(f, 3); }},
        {"cut in the IP header", DropReason::truncated, [](Octets& f) { f.resize(20); }},
        {"IP length over the frame", DropReason::truncated,
         [](Octets& f) {
             put16(f, 16, 1400);
             fix_ipv4_checksum(f);
         }},
        {"IP length below its header", DropReason::bad_ip_header,
         [](Octets& f) {
             put16(f, 16, 12);
             fix_ipv4_checksum(f);
         }},
        {"IP header sum", DropReason::bad_ip_checksum,
         [](Octets& f) { f[14 + 10] ^= std::byte{1}; }},
        {"IP options", DropReason::ip_options,
         [](Octets& f) {
             f[14] = std::byte{0x46};
             fix_ipv4_checksum(f);
         }},
        {"UDP length over the packet", DropReason::bad_l4_header,
         [](Octets& f) { put16(f, 34 + 4, 900); }},
        {"UDP length below its header", DropReason::bad_l4_header,
         [](Octets& f) { put16(f, 34 + 4, 7); }},
        {"UDP sum", DropReason::bad_l4_checksum, [](Octets& f) { f[34 + 6] ^= std::byte{1}; }},
        {"payload damaged", DropReason::bad_l4_checksum,
         [](Octets& f) { f.back() ^= std::byte{0x40}; }},
        {"an ethertype of nobody", DropReason::unknown_ethertype,
         [](Octets& f) { put16(f, 12, 0x88b5); }},
        {"to another MAC", DropReason::not_for_us, [](Octets& f) { f[5] ^= std::byte{0x10}; }},
        {"multicast source MAC", DropReason::bad_ethernet, [](Octets& f) { f[6] |= std::byte{1}; }},
        {"longer than any frame", DropReason::oversized,
         [](Octets& f) { f.resize(proxy::frame_len_max + 100); }},
    };
}

TEST(Hostile, BadRequestsAreDropsForTheRightReason) {
    for (const Bad& bad : bad_v4()) {
        SCOPED_TRACE(bad.what);
        Appliance appliance{Shape{}};
        Octets frame = appliance.request(client, question);
        bad.spoil(frame);
        ASSERT_TRUE(appliance.from_client(frame));
        ASSERT_TRUE(appliance.step());
        EXPECT_EQ(appliance.dropped(bad.reason), 1u);
        EXPECT_EQ(all_drops(appliance), 1u);
        EXPECT_TRUE(appliance.to_client().empty());
        for (unsigned slot = 0; slot < 3; ++slot) EXPECT_TRUE(appliance.to_replica(slot).empty());
        EXPECT_EQ(appliance.group().requests.get(), 0u);
    }
}

// The liar's packet first, then two honest ones: the bad one is counted, the good one leaves.
void one_bad_reply(const char* what, DropReason reason, const Endpoint& who, bool dissent,
                   const std::function<Octets(Appliance&)>& bad) {
    SCOPED_TRACE(what);
    Appliance appliance{Shape{}};
    ASSERT_TRUE(appliance.from_client(appliance.request(who, question)));
    ASSERT_TRUE(appliance.step());
    appliance.discard_output();
    ASSERT_TRUE(appliance.from_replica(0, bad(appliance)));
    ASSERT_TRUE(appliance.step());
    EXPECT_TRUE(appliance.to_client().empty());
    if (!dissent) {
        EXPECT_EQ(appliance.dropped(reason), 1u);
        EXPECT_EQ(all_drops(appliance), 1u);
    }
    for (const unsigned slot : {1u, 2u}) {
        ASSERT_TRUE(appliance.from_replica(slot, appliance.reply(who, right)));
    }
    ASSERT_TRUE(appliance.step());
    const auto out = appliance.to_client();
    ASSERT_EQ(out.size(), 1u);
    wire::Frame parsed;
    ASSERT_EQ(wire::parse_frame(out[0], parsed), DropReason::none);
    EXPECT_EQ(hex(parsed.payload(out[0])), hex(right));
    ASSERT_TRUE(appliance.step(300'001));
    EXPECT_EQ(appliance.group().replicas[0].dissent.get(), dissent ? 1u : 0u);
    EXPECT_EQ(appliance.group().replicas[0].silence.get(), dissent ? 0u : 1u);
    EXPECT_EQ(appliance.counters().held.get(), 0u);
}

TEST(Hostile, BadRepliesAreDropsOrDissent) {
    for (const Bad& bad : bad_v4()) {
        one_bad_reply(bad.what, bad.reason, client, false, [&](Appliance& appliance) {
            Octets frame = appliance.reply(client, right);
            bad.spoil(frame);
            return frame;
        });
    }
    one_bad_reply("a lie", DropReason::none, client, true,
                  [](Appliance& appliance) { return appliance.reply(client, wrong); });
    one_bad_reply("an empty reply", DropReason::reply_unmatched, client, false,
                  [](Appliance& appliance) { return appliance.reply(client, {}); });
    one_bad_reply("no sum over IPv6", DropReason::bad_l4_checksum, client6, false,
                  [](Appliance& appliance) {
                      Octets frame = appliance.reply(client6, right);
                      put16(frame, 14 + 40 + 6, 0);
                      return frame;
                  });
    one_bad_reply("a request that was never made", DropReason::reply_unmatched, client, false,
                  [](Appliance& appliance) { return appliance.reply(client, text("0002 that")); });
    one_bad_reply("another flow: client", DropReason::reply_unmatched, client, false,
                  [](Appliance& appliance) { return appliance.reply(other, right); });
    one_bad_reply("another flow: port", DropReason::reply_unmatched, client, false,
                  [](Appliance& appliance) {
                      return appliance.reply({client.mac, client.ip, 4009}, right);
                  });
    one_bad_reply("forged source", DropReason::reply_forged_source, client, false,
                  [](Appliance& appliance) {
                      Endpoint from = appliance.replica(client);
                      from.ip = address("203.0.113.1");
                      return udp_frame(from, appliance.replica_side(client), right);
                  });
    one_bad_reply("another port of the service", DropReason::replica_initiated, client, false,
                  [](Appliance& appliance) {
                      Endpoint from = appliance.replica(client);
                      from.port = 9;
                      return udp_frame(from, appliance.replica_side(client), right);
                  });
    one_bad_reply("TCP of its own", DropReason::replica_initiated, client, false,
                  [](Appliance& appliance) {
                      return tcp_syn(appliance.replica(client), appliance.replica_side(client));
                  });
    one_bad_reply("an ICMP error about nothing", DropReason::icmp_unmatched, client, false,
                  [](Appliance& appliance) {
                      const Octets about = appliance.request(other, question);
                      return icmp_error(appliance.replica(client), appliance.replica_side(client),
                                        3, 3, packet_of(about));
                  });
    one_bad_reply("an ICMP error in another's name", DropReason::icmp_unmatched, client, false,
                  [](Appliance& appliance) {
                      const Octets about = appliance.request(client, question);
                      Endpoint from = appliance.replica(client);
                      from.ip = address("203.0.113.1");
                      return icmp_error(from, appliance.replica_side(client), 3, 3,
                                        packet_of(about));
                  });
    one_bad_reply("a redirect", DropReason::icmp_ignored, client, false, [](Appliance& appliance) {
        const Octets about = appliance.request(client, question);
        Octets frame = icmp_error(appliance.replica(client), appliance.replica_side(client), 3, 1,
                                  packet_of(about));
        frame[34] = std::byte{5};
        fix_l4_checksum(frame);
        return frame;
    });
    one_bad_reply("an ICMP error as the only one", DropReason::none, client, true,
                  [](Appliance& appliance) {
                      const Octets about = appliance.request(client, question);
                      return icmp_error(appliance.replica(client), appliance.replica_side(client),
                                        3, 3, packet_of(about));
                  });
}

TEST(Hostile, AReplyTwiceOrBeforeItWasAsked) {
    Appliance appliance{Shape{}};
    ASSERT_TRUE(appliance.from_replica(0, appliance.reply(client, right)));
    ASSERT_TRUE(appliance.step());
    EXPECT_EQ(appliance.dropped(DropReason::reply_unmatched), 1u);
    ASSERT_TRUE(appliance.from_client(appliance.request(client, question)));
    ASSERT_TRUE(appliance.step());
    for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(appliance.from_replica(0, appliance.reply(client, wrong)));
    }
    ASSERT_TRUE(appliance.step());
    EXPECT_EQ(appliance.dropped(DropReason::reply_twice), 4u);
    EXPECT_TRUE(appliance.to_client().empty());
}

// A replaced or suspended replica, which goes on sending from its place.
TEST(Hostile, PredecessorsDoNotCount) {
    Appliance appliance{Shape{}};
    ASSERT_TRUE(appliance.from_client(appliance.request(client, question)));
    ASSERT_TRUE(appliance.step());
    ASSERT_TRUE(appliance.from_replica(0, appliance.reply(client, wrong)));
    ASSERT_TRUE(appliance.step());
    appliance.suspend(0);
    appliance.admit(0, 1);
    appliance.offer();
    ASSERT_TRUE(appliance.from_replica(0, appliance.reply(client, wrong), 0));
    ASSERT_TRUE(appliance.from_replica(0, appliance.reply(client, wrong), 1));
    ASSERT_TRUE(appliance.step());
    EXPECT_EQ(appliance.dropped(DropReason::stale_place), 1u);
    EXPECT_EQ(appliance.dropped(DropReason::reply_stranger), 1u);
    ASSERT_TRUE(appliance.from_replica(1, appliance.reply(client, wrong)));
    ASSERT_TRUE(appliance.step());
    EXPECT_TRUE(appliance.to_client().empty()) << "a predecessor's vote counted";
    EXPECT_TRUE(appliance.finish());
}

TEST(Hostile, FragmentsThatOverlapOrAreTooMany) {
    const Octets large(2000, std::byte{'0'});
    for (const Endpoint& who : {client, client6}) {
        Appliance appliance{Shape{}};
        auto pieces = fragments(appliance.request(who, large), 1000, 7);
        ASSERT_EQ(pieces.size(), 3u);
        // The second says that it begins 8 bytes earlier than the first ends.
        const bool v4 = who.ip.is_v4();
        if (v4) {
            put16(pieces[1], 14 + 6, 0x2000u | 124u);
            fix_ipv4_checksum(pieces[1]);
        } else {
            put16(pieces[1], 14 + 40 + 2, 124u << 3 | 1u);
        }
        for (const Octets& piece : pieces) ASSERT_TRUE(appliance.from_client(piece));
        ASSERT_TRUE(appliance.step());
        ASSERT_TRUE(appliance.step(2'000'000));
        EXPECT_EQ(appliance.group().requests.get(), 0u);
        EXPECT_EQ(all_drops(appliance), 3u);
        EXPECT_EQ(appliance.counters().held.get(), 0u);

        const Octets larger(8 * 1000 + 500, std::byte{'0'});
        for (const Octets& piece : fragments(appliance.request(who, larger), 1000, 8)) {
            ASSERT_TRUE(appliance.from_client(piece));
        }
        ASSERT_TRUE(appliance.step());
        ASSERT_TRUE(appliance.step(2'000'000));
        EXPECT_EQ(appliance.group().requests.get(), 0u);
        EXPECT_EQ(all_drops(appliance), 3u + 9u);
        EXPECT_GE(appliance.dropped(DropReason::fragment_refused), 8u);

        const std::uint64_t before = appliance.dropped(DropReason::fragment_timeout);
        // Half a datagram is let go of.
        ASSERT_TRUE(appliance.from_client(fragments(appliance.request(who, large), 1000, 9)[0]));
        ASSERT_TRUE(appliance.step());
        EXPECT_EQ(appliance.counters().held.get(), 1u);
        ASSERT_TRUE(appliance.step(2'000'000));
        EXPECT_EQ(appliance.dropped(DropReason::fragment_timeout), before + 1);
        EXPECT_EQ(appliance.counters().held.get(), 0u);
    }
}

// A flood of first fragments is held to the table's bound, and goes.
TEST(Hostile, FragmentFloodIsBounded) {
    Appliance appliance{Shape{}};
    const Octets large(2000, std::byte{'0'});
    for (unsigned i = 0; i < 4000; ++i) {
        const Endpoint who{client.mac, wire::IpAddress::v4(0x0a000000u + i), 4000};
        ASSERT_TRUE(appliance.from_client(fragments(appliance.request(who, large), 1000, i)[0]));
        ASSERT_TRUE(appliance.step());
    }
    EXPECT_LE(appliance.counters().held.get(), std::uint64_t{proxy::reassembly_flows_max});
    for (int i = 0; i < 40; ++i) ASSERT_TRUE(appliance.step(100'000));
    EXPECT_EQ(appliance.counters().held.get(), 0u);
}

// ---- DNS ----

namespace dns = dns_test;
using dns::operator+;

Shape dns_setup() {
    Shape setup;
    setup.is_dns = true;
    setup.matcher = voter::Matcher(voter::MatcherKind::dns);
    setup.comparator = voter::Comparator(voter::ComparatorKind::dns);
    setup.service_port = 53;
    return setup;
}
const Octets asked = dns::question("www.example");
const Octets query = dns::request(77, asked);

// Three replies in; what leaves.
std::vector<Octets> vote(Appliance& appliance, std::initializer_list<Octets> replies) {
    EXPECT_TRUE(appliance.from_client(appliance.request(client, query)));
    EXPECT_TRUE(appliance.step());
    unsigned slot = 0;
    for (const Octets& reply : replies) {
        EXPECT_TRUE(appliance.from_replica(slot++, appliance.reply(client, reply)));
    }
    EXPECT_TRUE(appliance.step());
    std::vector<Octets> out;
    for (const Octets& frame : appliance.to_client()) {
        wire::Frame parsed;
        EXPECT_EQ(wire::parse_frame(frame, parsed), DropReason::none);
        EXPECT_TRUE(sums_are_right(frame));
        const wire::Bytes payload = parsed.payload(frame);
        out.emplace_back(payload.begin(), payload.end());
    }
    return out;
}

bool holds(const Octets& haystack, const Octets& needle) {
    return std::search(haystack.begin(), haystack.end(), needle.begin(), needle.end()) !=
           haystack.end();
}

TEST(Hostile, PoisonBesideARightAnswerDoesNotLeave) {
    const Octets mark = dns::ipv4(6, 6, 6, 66);
    const Octets poison = dns::record(dns::name("bank.example"), 1, 60, mark);
    const Octets answer = dns::a(dns::name("www.example"), 1);
    const Octets honest = dns::message(77, dns::standard, asked, {.answer = {answer}});
    // What an honest server of another make might send: the name compressed.
    const Octets honest_too =
        dns::message(77, dns::standard, asked, {.answer = {dns::a(dns::to(12), 1)}});
    struct Case {
        const char* what;
        Octets reply;
    };
    const std::vector<Case> cases = {
        {"additional",
         dns::message(77, dns::standard, asked, {.answer = {answer}, .additional = {poison}})},
        {"authority",
         dns::message(77, dns::standard, asked, {.answer = {answer}, .authority = {poison}})},
        {"OPT",
         dns::message(77, dns::standard, asked,
                      {.answer = {answer},
                       .additional = {dns::opt(1232, 0, dns::u16(65001) + dns::u16(4) + mark)}})},
        {"flags", dns::message(77, dns::standard | 0x0040, asked, {.answer = {answer}})},
        {"behind the message", honest + mark},
        {"answer", dns::message(77, dns::standard, asked, {.answer = {answer, poison}})},
    };
    for (const Case& each : cases) {
        SCOPED_TRACE(each.what);
        // Wherever the liar stands, beside honest ones of one make and of two.
        for (unsigned at = 0; at < 3; ++at) {
            for (const Octets& second : {honest, honest_too}) {
                std::vector<Octets> replies{honest, second};
                replies.insert(replies.begin() + at, each.reply);
                Appliance appliance(dns_setup());
                const auto out = vote(appliance, {replies[0], replies[1], replies[2]});
                ASSERT_EQ(out.size(), 1u);
                EXPECT_FALSE(holds(out[0], mark)) << "poison left, liar at " << at;
                EXPECT_TRUE(holds(out[0], dns::ipv4(192, 0, 2, 1)));
                EXPECT_EQ(wire::load_be16(out[0].data() + 2), dns::standard) << "flags";
                EXPECT_TRUE(appliance.finish());
            }
        }
    }
}

TEST(Hostile, CompressionLoopsAreDissent) {
    const Octets honest =
        dns::message(77, dns::standard, asked, {.answer = {dns::a(dns::name("www.example"), 1)}});
    const auto own = static_cast<unsigned>(12 + asked.size());
    const std::vector<Octets> loops = {
        dns::message(77, dns::standard, asked, {.answer = {dns::a(dns::to(own), 1)}}),
        dns::message(77, dns::standard, asked, {.answer = {dns::a(dns::labels_to("x", own), 1)}}),
        dns::message(77, dns::standard, asked, {.answer = {dns::a(dns::to(0x3fff), 1)}}),
    };
    for (const Octets& loop : loops) {
        Appliance appliance(dns_setup());
        const auto out = vote(appliance, {loop, honest, honest});
        ASSERT_EQ(out.size(), 1u);
        EXPECT_EQ(out[0], honest);
        EXPECT_EQ(appliance.group().replicas[0].dissent.get(), 1u);
    }
    // In the question itself it is no reply to this request.
    Appliance appliance(dns_setup());
    const auto out = vote(
        appliance,
        {dns::message(77, dns::standard, dns::to(12) + dns::u16(1) + dns::u16(1)), honest, honest});
    ASSERT_EQ(out.size(), 1u);
    EXPECT_EQ(appliance.dropped(DropReason::reply_unmatched), 1u);
}

}  // namespace
