// Texts of messages and values written as text.
#include <gtest/gtest.h>

#include "config/words.hh"

namespace {

using namespace config;

TEST(Words, AreQuotedOnOneLine) {
    EXPECT_EQ(in_quotes("a"), "\"a\"");
    EXPECT_EQ(in_quotes("a\nb\x1b[2J\x7f"), "\"a\\nb\\x1b[2J\\x7f\"");
    const std::string sixty(60, 'x');
    EXPECT_EQ(in_quotes(std::string(100, 'x')), in_quotes(sixty).insert(61, "..."));
    // Never half a character: 59 or 58 letters and then two bytes of one.
    EXPECT_EQ(in_quotes(sixty.substr(1).append("\xc3\xa9yy")),
              in_quotes(sixty.substr(1)).insert(60, "..."));
    EXPECT_EQ(in_quotes(sixty.substr(2).append("\xc3\xa9yy")),
              in_quotes(sixty.substr(2)).insert(59, "\xc3\xa9..."));
}

TEST(Words, AreListedAndCounted) {
    EXPECT_EQ(one_of({"a"}), "\"a\"");
    EXPECT_EQ(one_of({"a", "b", "c"}), "\"a\", \"b\" or \"c\"");
    EXPECT_EQ(counted(1, "group"), "1 group");
    EXPECT_EQ(counted(0, "group"), "0 groups");
}

TEST(Nearest, IsWhatWasMeantOrNothing) {
    EXPECT_EQ(nearest("quorom", {"f", "quorum", "state"}), "quorum");
    EXPECT_EQ(nearest("window", {"window_ms", "state"}), "window_ms");
    EXPECT_EQ(nearest("replicas", {"replica", "release"}), "replica");
    EXPECT_EQ(nearest("zzz", {"f", "quorum"}), std::nullopt);
    EXPECT_EQ(nearest("", {"quorum"}), std::nullopt);
    EXPECT_EQ(nearest(std::string(100'000, 'a'), {"quorum"}), std::nullopt);
    EXPECT_EQ(nearest("a", {}), std::nullopt);
}

TEST(Size, IsReadAndWritten) {
    EXPECT_EQ(parse_size("512"), 512u);
    EXPECT_EQ(parse_size("16 MiB"), 16u << 20);
    EXPECT_EQ(parse_size("16MiB"), 16u << 20);
    EXPECT_EQ(parse_size("2 GB"), 2'000'000'000u);
    EXPECT_EQ(parse_size("1 kB"), 1000u);
    EXPECT_EQ(parse_size("8589934591 GiB"), 8589934591u << 30);
    for (const char* text : {"", "MiB", "-1", "+1", " 1", "1  MiB", "1 mib", "1.5 MiB", "1 ", "1 M",
                             "8589934592 GiB", "99999999999999999999"}) {
        EXPECT_EQ(parse_size(text), std::nullopt) << text;
    }
    EXPECT_EQ(size_text(1536), "1536 bytes");
    EXPECT_EQ(size_text(16u << 20), "16 MiB");
    EXPECT_EQ(size_text(0), "0 bytes");
}

TEST(Names, AreWhatPathsAndTheKernelTake) {
    EXPECT_TRUE(is_name("a-B_9"));
    EXPECT_TRUE(is_name(std::string(32, 'a')));
    for (const char* text : {"", "-a", "_a", ".", "..", "a/b", "a b", "a.b", "\xc3\xa9"}) {
        EXPECT_FALSE(is_name(text)) << text;
    }
    EXPECT_FALSE(is_name(std::string(33, 'a')));
    EXPECT_TRUE(is_interface_name("eth0.5"));
    EXPECT_FALSE(is_interface_name("a\tb"));
}

}  // namespace
