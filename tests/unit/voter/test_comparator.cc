// The comparators `bytes` and `mask`, the digest, and the dispatch. DNS has its own tests.
#include <array>
#include <set>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "tests/unit/voter/bytes.hh"
#include "voter/comparator.hh"
#include "voter/xxh3.hh"

namespace {

using namespace voter;
using test::bytes;
using namespace std::string_view_literals;
constexpr auto zero = MaskRange::On::zero;
constexpr auto taken = MaskRange::On::taken;

class ComparatorTest : public testing::Test {
  protected:
    Workspace& workspace() { return *owner_; }
    Likeness compare(const Comparator& comparator, std::string_view a, std::string_view b) {
        const Likeness found = comparator.compare(bytes(a), bytes(b), workspace());
        EXPECT_EQ(found, comparator.compare(bytes(b), bytes(a), workspace())) << "not symmetric";
        const Fingerprint winner = comparator.fingerprint(bytes(a), key_, workspace());
        EXPECT_EQ(found, comparator.compare(winner, bytes(b), key_, workspace()))
            << "a late vote is judged otherwise";
        return found;
    }
    std::string compose(const Comparator& comparator, std::span<const std::string_view> replies,
                        unsigned quorum, std::size_t room = 100) {
        std::vector<Bytes> agreeing;
        for (const auto reply : replies) agreeing.push_back(bytes(reply));
        std::vector<std::byte> out(room, std::byte{'#'});
        const std::size_t length = comparator.compose({}, agreeing, quorum, out, workspace());
        EXPECT_LE(length, room);
        for (std::size_t i = length; i < room && length > 0; ++i) EXPECT_EQ(out[i], std::byte{'#'});
        return test::text(Bytes(out).first(length));
    }
    std::string describe(const Comparator& comparator, std::string_view a, std::string_view b,
                         std::size_t room = 100) {
        std::vector<char> out(room);
        const auto length = comparator.describe_difference(bytes(a), bytes(b), out, workspace());
        return {out.data(), length};
    }

  private:
    WorkspacePtr owner_ = make_workspace();
    DigestKey key_{0x1234567890abcdef};
};

TEST_F(ComparatorTest, BytesAgreeOnlyWhenIdentical) {
    const Comparator comparator;
    EXPECT_EQ(compare(comparator, "abc", "abc"), Likeness::identical);
    EXPECT_EQ(compare(comparator, "abc", "abd"), Likeness::different);
    EXPECT_EQ(compare(comparator, "abc", "abcd"), Likeness::different);
    EXPECT_EQ(compare(comparator, "", ""), Likeness::identical);
    EXPECT_EQ(compare(comparator, "", "a"), Likeness::different);
}

TEST_F(ComparatorTest, MaskIgnoresItsRangesAndNothingElse) {
    // Given out of order, overlapping, and one beyond the end.
    const std::array ranges{MaskRange{6, 2, zero}, MaskRange{1, 2, zero}, MaskRange{2, 2, zero},
                            MaskRange{100, 4, zero}};
    const Comparator comparator{std::span(ranges)};
    EXPECT_EQ(compare(comparator, "0123456789", "0123456789"), Likeness::identical);
    EXPECT_EQ(compare(comparator, "0123456789", "0aaa45aa89"), Likeness::same);
    for (const unsigned voted : {0u, 4u, 5u, 8u, 9u}) {
        std::string other = "0123456789";
        other[voted] = 'x';
        EXPECT_EQ(compare(comparator, "0123456789", other), Likeness::different) << voted;
    }
    EXPECT_EQ(compare(comparator, "012345", "01234567"), Likeness::different) << "the end differs";
    EXPECT_EQ(compare(comparator, "01", "0x"), Likeness::same) << "a range is clipped";
}

TEST_F(ComparatorTest, MaskRangesAtTheEdgeOfTheirTypeDoNotWrap) {
    const std::array ranges{MaskRange{2, 0xffff'ffff, zero}, MaskRange{0xffff'fff0, 0x20, zero}};
    const Comparator comparator{std::span(ranges)};
    EXPECT_EQ(compare(comparator, "abcdef", "abxxxx"), Likeness::same);
    EXPECT_EQ(compare(comparator, "abcdef", "xbcdef"), Likeness::different);
    const std::array replies{"abcdef"sv, "abxxxx"sv};
    EXPECT_EQ(compose(comparator, replies, 2), "ab\0\0\0\0"sv);
}

TEST_F(ComparatorTest, MaskOfEverythingStillComparesTheLength) {
    const std::array ranges{MaskRange{0, 1000, zero}};
    const Comparator comparator{std::span(ranges)};
    EXPECT_EQ(compare(comparator, "abc", "xyz"), Likeness::same);
    EXPECT_EQ(compare(comparator, "abc", "wxyz"), Likeness::different);
}

TEST_F(ComparatorTest, MaskLetsOutOnlyWhatAQuorumSent) {
    const std::array ranges{MaskRange{1, 2, taken}, MaskRange{4, 2, zero}};
    const Comparator comparator{std::span(ranges)};
    const std::array agreed{"aXXbYYc"sv, "a11b22c"sv, "a11b33c"sv};
    EXPECT_EQ(compose(comparator, agreed, 2), "a11b\0\0c"sv);
    EXPECT_EQ(compose(comparator, agreed, 3), "a\0\0b\0\0c"sv);
    const std::array none{"aXXbYYc"sv, "a12b22c"sv, "a21b33c"sv};
    EXPECT_EQ(compose(comparator, none, 2), "a\0\0b\0\0c"sv);
}

TEST_F(ComparatorTest, MaskClipsATakenRangeAtTheEnd) {
    const std::array ranges{MaskRange{2, 10, taken}};
    const Comparator comparator{std::span(ranges)};
    const std::array agreed{"abXX"sv, "abcd"sv, "abcd"sv};
    EXPECT_EQ(compose(comparator, agreed, 2), "abcd");
}

TEST_F(ComparatorTest, WhereRangesOverlapZeroWins) {
    const std::array ranges{MaskRange{0, 2, zero}, MaskRange{1, 3, taken}};
    const Comparator comparator{std::span(ranges)};
    const std::array agreed{"abcdef"sv, "abcdef"sv};
    EXPECT_EQ(compose(comparator, agreed, 2), "\0\0cdef"sv);
}

TEST_F(ComparatorTest, NothingLeavesWithoutAQuorumOrRoom) {
    const Comparator comparator;
    const std::array one{"abc"sv};
    EXPECT_EQ(compose(comparator, one, 2), "");
    const std::array two{"abc"sv, "abc"sv};
    EXPECT_EQ(compose(comparator, two, 2), "abc");
    EXPECT_EQ(compose(comparator, two, 2, 3), "abc");
    EXPECT_EQ(compose(comparator, two, 2, 2), "");
    const std::array unequal{"abc"sv, "abcd"sv};
    EXPECT_EQ(compose(comparator, unequal, 2), "");
    EXPECT_EQ(compose(comparator, std::span(one).first(0), 0), "");
}

TEST_F(ComparatorTest, MoreRangesThanThereAreAreLeftOut) {
    std::array<MaskRange, mask_ranges_max + 1> ranges{};
    for (std::uint32_t i = 0; i < ranges.size(); ++i) ranges[i] = {i, 1, zero};
    const Comparator comparator{std::span(ranges)};
    EXPECT_EQ(compare(comparator, "01234567", "abcdefgh"), Likeness::same);
    EXPECT_EQ(compare(comparator, "012345678", "abcdefghi"), Likeness::different);
}

TEST_F(ComparatorTest, DifferencesAreSaidInWords) {
    const Comparator plain;
    EXPECT_EQ(describe(plain, "abcdef", "abcxef"), "byte 3");
    EXPECT_EQ(describe(plain, "abcd", "abcdef"), "length 4 against 6");
    EXPECT_EQ(describe(plain, "abXd", "abcdef"), "byte 2, length 4 against 6");
    EXPECT_EQ(describe(plain, "abc", "abc"), "");
    EXPECT_EQ(describe(plain, "abXd", "abcdef", 10), "byte 2, le");
    EXPECT_EQ(describe(plain, "abXd", "abcdef", 0), "");
    const std::array ranges{MaskRange{2, 2, zero}};
    const Comparator masked{std::span(ranges)};
    EXPECT_EQ(describe(masked, "abXXef", "abYYeg"), "byte 5");
    EXPECT_EQ(describe(masked, "abXX", "abYY"), "");
}

TEST(Digest, BothBuildsAgreeAtEveryLengthAndDependOnKeyAndBytes) {
    std::string text;
    for (int i = 0; i < 2000; ++i) text.push_back(static_cast<char>(i * 7 + i / 256));
    std::set<std::pair<std::uint64_t, std::uint64_t>> seen;
    for (std::size_t length = 0; length <= text.size(); length += length < 300 ? 1 : 61) {
        const Digest digest = digest_of(bytes(text).first(length), {1});
        EXPECT_TRUE(seen.emplace(digest.low, digest.high).second) << length;
        EXPECT_NE(digest, digest_of(bytes(text).first(length), {2}));
        Digest baseline;
        xxh3_baseline(text.data(), length, 1, &baseline.low, &baseline.high);
        EXPECT_EQ(digest, baseline) << length;
    }
    text[100] ^= 1;
    const Digest changed = digest_of(bytes(text).first(300), {1});
    EXPECT_TRUE(seen.emplace(changed.low, changed.high).second);
}

TEST(Digest, IsXxh3) {
    // From the reference implementation's documentation: the empty input, seed 0.
    EXPECT_EQ(digest_of({}, {0}), (Digest{0x6001c324468d497f, 0x99aa06d3014798d8}));
}

}  // namespace
