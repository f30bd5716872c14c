// Which reply belongs to which request; what the appliance says itself.
#include <string>

#include <gtest/gtest.h>

#include "tests/unit/voter/dns_builder.hh"
#include "voter/dns.hh"
#include "voter/dns_matcher.hh"
#include "voter/dns_message.hh"

namespace {

using namespace dns_test;
namespace dns = voter::dns;

const Octets asked = question("www.Example");
const Octets plain = request(0x1234, asked);

TEST(DnsMatcher, TheKeyIsTheIdAndTheDirectionCounts) {
    ASSERT_TRUE(dns::request_key(plain));
    EXPECT_EQ(dns::request_key(plain)->request, 0x1234u);
    EXPECT_FALSE(dns::reply_key(plain));
    const Octets reply = message(0x1234, standard, asked);
    ASSERT_TRUE(dns::reply_key(reply));
    EXPECT_EQ(dns::reply_key(reply)->request, 0x1234u);
    EXPECT_FALSE(dns::request_key(reply));
    for (std::size_t length = 0; length < dns::header_len; ++length) {
        EXPECT_FALSE(dns::request_key(voter::Bytes(plain).first(length)));
    }
}

TEST(DnsMatcher, AReplyRepeatsTheQuestionByteForByte) {
    EXPECT_TRUE(dns::answers(plain, message(0x1234, standard, asked, {{a(to(12), 1)}})));
    EXPECT_FALSE(dns::answers(plain, message(0x1235, standard, asked)));
    EXPECT_FALSE(dns::answers(plain, message(0x1234, standard, question("www.example"))));
    EXPECT_FALSE(dns::answers(plain, message(0x1234, standard, question("www.Example", 28))));
    EXPECT_FALSE(dns::answers(plain, message(0x1234, standard, question("www.Example", 1, 3))));
    EXPECT_FALSE(dns::answers(plain, message(0x1234, 0x0100, asked)));
    EXPECT_FALSE(dns::answers(plain, message(0x1234, 0x9000, asked)));  // another opcode
}

TEST(DnsMatcher, AReplyWithoutAQuestionHasItsIdOnly) {
    EXPECT_TRUE(dns::answers(plain, message(0x1234, 0x8101, {})));
    EXPECT_FALSE(dns::answers(plain, message(0x1235, 0x8101, {})));
}

TEST(DnsMatcher, BadQuestionsMatchOnlyRepliesWithoutOne) {
    Octets two = request(1, asked + asked);
    two[5] = std::byte{2};
    Octets echo = two;
    echo[2] = std::byte{0x81};
    EXPECT_FALSE(dns::answers(two, echo));
    EXPECT_TRUE(dns::answers(two, message(1, 0x8101, {})));
}

TEST(DnsMatcher, RepeatsWhateverNoReplyCouldTellApart) {
    EXPECT_TRUE(dns::repeats(plain, plain));
    EXPECT_TRUE(dns::repeats(plain, request(0x1234, asked, {{}, {}, {opt(1232)}})));
    EXPECT_TRUE(dns::repeats(plain, message(0x1234, 0x0010, asked)));
    EXPECT_FALSE(dns::repeats(plain, request(0x1235, asked)));
    EXPECT_FALSE(dns::repeats(plain, request(0x1234, question("www.example"))));
    EXPECT_FALSE(dns::repeats(plain, request(0x1234, question("www.Example", 28))));
    EXPECT_FALSE(dns::repeats(plain, message(0x1234, 0x2100, asked)));
}

std::string described(const Octets& bytes) {
    std::string out(40, ' ');
    out.resize(dns::describe_kind(dns::kind_of(bytes), out));
    return out;
}

TEST(DnsMatcher, KindsAreTypeClassAndOpcode) {
    EXPECT_EQ(described(plain), "A");
    EXPECT_EQ(described(request(9, question("other.example"))), "A");
    EXPECT_EQ(described(request(9, question("x", 255))), "ANY");
    EXPECT_EQ(described(request(9, question("version.bind", 16, 3))), "TXT CH");
    EXPECT_EQ(described(request(9, question("x", 65280))), "TYPE65280");
    EXPECT_EQ(described(message(9, 0x1000, asked)), "opcode 2 A");
    EXPECT_EQ(described(request(9, {})), "unusual");
    EXPECT_EQ(described(message(9, 0x1000, {})), "opcode 2 unusual");
    EXPECT_EQ(described(request(9, asked, {{}, {}, {opt(512)}})), "A");
    EXPECT_EQ(described(plain + u8(0)), "unusual");
    EXPECT_EQ(described(request(9, asked, {{a(to(12), 1)}})), "unusual");
    EXPECT_EQ(described(request(9, asked, {{}, {}, {a(to(12), 1)}})), "unusual");
    EXPECT_EQ(described(message(9, 0x2000, asked, {{a(to(12), 1)}})), "opcode 4 A");  // NOTIFY
    EXPECT_EQ(described({}), "unusual");
    EXPECT_NE(dns::kind_of(request(9, question("x", 0, 0))).value, 0u);
    EXPECT_EQ(dns::kind_of(plain), dns::kind_of(request(77, question("else.where"))));
    EXPECT_NE(dns::kind_of(request(9, question("x", 1, 0xffff))), dns::kind_of(request(9, {})));
}

TEST(DnsRefused, OnlyWhatIsInTheSet) {
    const dns::RefuseSet all{true, true, true};
    const Octets any = request(1, question("example", 255));
    const Octets chaos = request(1, question("version.bind", 16, 3));
    const Octets status = message(1, 0x1000, {});
    EXPECT_EQ(dns::refused(any, all), dns::rcode_refused);
    EXPECT_EQ(dns::refused(chaos, all), dns::rcode_refused);
    EXPECT_EQ(dns::refused(status, all), dns::rcode_notimp);
    EXPECT_EQ(dns::refused(message(1, 0x1000, question("example", 255)), all), dns::rcode_notimp);
    EXPECT_FALSE(dns::refused(plain, all));
    const Octets notify = message(1, 0x2000, question("example", 6));
    EXPECT_FALSE(dns::refused(notify, all));
    EXPECT_EQ(dns::refused(notify, {false, false, false, true}), dns::rcode_notimp);
    EXPECT_EQ(dns::refused(status, {false, false, false, true}), dns::rcode_notimp);
    EXPECT_FALSE(dns::refused(plain, {false, false, false, true}));
    EXPECT_FALSE(dns::refused(Octets(11), all));
    EXPECT_FALSE(dns::refused(any, {false, true, true}));
    EXPECT_FALSE(dns::refused(chaos, {true, false, true}));
    EXPECT_FALSE(dns::refused(status, {true, true, false}));
    EXPECT_FALSE(dns::refused(message(1, standard, question("example", 255)), all));
}

Octets error_to(const Octets& bytes, std::uint8_t rcode, std::size_t room = 512) {
    Octets out(room);
    out.resize(dns::write_error(bytes, rcode, out));
    return out;
}

TEST(DnsError, RepeatsTheQuestionAndHasOurOwnOpt) {
    EXPECT_EQ(error_to(message(5, 0x0130, asked), 2), message(5, 0x8112, asked));
    EXPECT_EQ(
        error_to(request(5, asked, {{}, {}, {opt(4096, 0x8000, u16(10) + u16(8) + Octets(8))}}), 5),
        message(5, 0x8105, asked, {{}, {}, {opt(1232, 0x8000)}}));
    EXPECT_EQ(error_to(message(5, 0x1000, {}), 4), message(5, 0x9004, {}));
    EXPECT_EQ(error_to(request(5, asked, {{}, {}, {opt(512)}}), 16),
              message(5, 0x8100, asked, {{}, {}, {opt(1232, 0x01000000)}}));
}

TEST(DnsError, SaysNothingToWhatIsNoRequest) {
    EXPECT_TRUE(error_to(plain + u8(0), 2).empty());
    EXPECT_TRUE(error_to(message(5, standard, asked), 2).empty());
    EXPECT_TRUE(error_to(plain, 16).empty());
    EXPECT_TRUE(error_to(plain, 2, plain.size() - 1).empty());
    EXPECT_FALSE(error_to(plain, 2, plain.size()).empty());
}

}  // namespace
