// The matchers memcached, offset_length and fifo, and the dispatch. DNS has its own tests.
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "tests/unit/voter/bytes.hh"
#include "voter/matcher.hh"

namespace {

using namespace voter;
using test::bytes;
using namespace std::string_literals;
using namespace std::string_view_literals;

const Matcher memcached(MatcherKind::memcached);

TEST(MatcherMemcached, ReadsTheFrameHeader) {
    const auto request = memcached.request_key(bytes("\x12\x34\0\0\0\1\0\0get a\r\n"sv));
    ASSERT_TRUE(request);
    EXPECT_EQ(request->request, 0x1234u);
    EXPECT_EQ(request->unit, 0);
    EXPECT_EQ(request->units, 1);
    const auto reply = memcached.reply_key(bytes("\x12\x34\0\2\0\3\0\0END\r\n"sv));
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->request, 0x1234u);
    EXPECT_EQ(reply->unit, 2);
    EXPECT_EQ(reply->units, 3);
}

TEST(MatcherMemcached, RefusesWhatIsNoRequest) {
    EXPECT_FALSE(memcached.request_key(bytes("\x12\x34\0\0\0\1\0"sv))) << "short";
    EXPECT_FALSE(memcached.request_key({}));
    EXPECT_FALSE(memcached.request_key(bytes("\x12\x34\0\1\0\1\0\0get a\r\n"sv))) << "sequence";
    EXPECT_FALSE(memcached.request_key(bytes("\x12\x34\0\0\0\2\0\0get a\r\n"sv))) << "total";
    EXPECT_FALSE(memcached.request_key(bytes("\x12\x34\0\0\0\0\0\0get a\r\n"sv))) << "total 0";
    EXPECT_TRUE(memcached.request_key(bytes("\x12\x34\0\0\0\1\0\0"sv))) << "header alone";
}

TEST(MatcherMemcached, NeverBelievesMoreUnitsThanTheMaximum) {
    static_assert(units_max == 64);
    EXPECT_TRUE(memcached.reply_key(bytes("\0\0\0\x3f\0\x40\0\0"sv)));
    EXPECT_FALSE(memcached.reply_key(bytes("\0\0\0\0\0\x41\0\0"sv))) << "65 units";
    EXPECT_FALSE(memcached.reply_key(bytes("\0\0\0\0\xff\xff\0\0"sv)));
    EXPECT_FALSE(memcached.reply_key(bytes("\0\0\0\3\0\3\0\0"sv))) << "unit beyond the total";
    EXPECT_FALSE(memcached.reply_key(bytes("\0\0\0\0\0\0\0\0"sv))) << "no units";
    EXPECT_FALSE(memcached.reply_key(bytes("\0\0\0\0\0\1\0"sv))) << "short";
}

TEST(MatcherMemcached, KindIsTheVerb) {
    const auto kind = [](std::string_view body) {
        return memcached.kind_of(bytes("\0\1\0\0\0\1\0\0"s + std::string(body)));
    };
    EXPECT_EQ(kind("get a\r\n"), kind("get b c\r\n"));
    EXPECT_NE(kind("get a\r\n"), kind("gets a\r\n"));
    EXPECT_NE(kind("stats\r\n"), kind("get a\r\n"));
    EXPECT_NE(kind("stats\r\n"), RequestKind{});
    EXPECT_EQ(kind("frobnicate\r\n"), RequestKind{}) << "a client must not invent kinds";
    EXPECT_EQ(kind("getx a\r\n"), RequestKind{});
    EXPECT_EQ(kind("get"), RequestKind{});
    EXPECT_EQ(kind(""), RequestKind{});
    EXPECT_EQ(kind("\x80"), RequestKind{});
    EXPECT_NE(kind("\x80\x01"), kind("\x80\x02"));
    EXPECT_NE(kind("\x80\x01"), kind("get a\r\n"));
}

TEST(MatcherMemcached, SameBytesAreTheSameRequestAgain) {
    const auto request = "\x12\x34\0\0\0\1\0\0get a\r\n"sv;
    EXPECT_TRUE(memcached.repeats(bytes(request), bytes(std::string(request))));
    EXPECT_FALSE(memcached.repeats(bytes(request), bytes("\x12\x34\0\0\0\1\0\0get b\r\n"sv)));
    EXPECT_TRUE(memcached.answers(bytes(request), bytes("\x12\x34\0\0\0\1\0\0END\r\n"sv)));
    EXPECT_FALSE(memcached.one_outstanding());
}

TEST(MatcherOffsetLength, ReadsTheBytesAtTheOffset) {
    const Matcher matcher = Matcher::offset_length(2, 4);
    EXPECT_EQ(matcher.kind(), MatcherKind::offset_length);
    EXPECT_EQ(matcher.request_key(bytes("ab\1\2\3\4cd"sv))->request, 0x01020304u);
    EXPECT_EQ(matcher.reply_key(bytes("xy\1\2\3\4"sv))->request, 0x01020304u) << "ends there";
    EXPECT_FALSE(matcher.request_key(bytes("ab\1\2\3"sv)));
    EXPECT_FALSE(matcher.reply_key({}));
    EXPECT_EQ(Matcher::offset_length(0, 8).request_key(bytes("\xff\1\2\3\4\5\6\7"sv))->request,
              0xff01020304050607u);
}

TEST(MatcherOffsetLength, BoundsHoldAtTheEdges) {
    EXPECT_FALSE(Matcher::offset_length(0xffff, 8).request_key(bytes("short")));
    EXPECT_FALSE(Matcher::offset_length(0, 0).request_key({})) << "a length of 0 becomes 1";
    EXPECT_EQ(Matcher::offset_length(0, 200).request_key(bytes("\0\0\0\0\0\0\0\1\2"sv))->request,
              1u)
        << "a length above 8 becomes 8";
}

TEST(MatcherFifo, EverythingIsTheOneOutstandingRequest) {
    const Matcher matcher;
    EXPECT_EQ(matcher.kind(), MatcherKind::fifo);
    EXPECT_TRUE(matcher.one_outstanding());
    EXPECT_EQ(matcher.request_key(bytes("a"))->request, matcher.reply_key({})->request);
    EXPECT_TRUE(matcher.answers(bytes("a"), bytes("b")));
    EXPECT_TRUE(matcher.repeats(bytes("a"), bytes("a")));
    EXPECT_TRUE(matcher.repeats({}, {}));
    EXPECT_FALSE(matcher.repeats(bytes("a"), bytes("b")));
    EXPECT_EQ(matcher.kind_of(bytes("a")), RequestKind{});
}

}  // namespace
