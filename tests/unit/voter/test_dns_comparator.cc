// What counts as the same reply, and how a difference is told.
#include <algorithm>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "tests/unit/voter/dns_builder.hh"
#include "voter/comparator.hh"
#include "voter/dns_canonical.hh"

namespace {

using namespace dns_test;
using voter::Likeness;

const voter::Comparator comparator(voter::ComparatorKind::dns);
const Octets asked = question("www.Example");
const Octets soa =
    record(name("example"), 6, 300, name("ns.example") + name("root.example") + Octets(20));

class DnsComparator : public testing::Test {
  protected:
    // Both ways round, and by digest; all must agree.
    Likeness compare(const Octets& a, const Octets& b) {
        const Likeness found = comparator.compare(a, b, *workspace_);
        EXPECT_EQ(comparator.compare(b, a, *workspace_), found);
        const auto digest_a = comparator.fingerprint(a, {42}, *workspace_);
        const auto digest_b = comparator.fingerprint(b, {42}, *workspace_);
        EXPECT_EQ(digest_a.canonical == digest_b.canonical, found != Likeness::different);
        EXPECT_EQ(comparator.compare(digest_a, b, {42}, *workspace_), found);
        return found;
    }
    std::string difference(const Octets& a, const Octets& b) {
        std::string out(80, '?');
        out.resize(comparator.describe_difference(a, b, out, *workspace_));
        return out;
    }

    voter::WorkspacePtr workspace_ = voter::make_workspace();
};

TEST_F(DnsComparator, IdenticalBytesAre) {
    const Octets reply = message(1, standard, asked, {{a(to(12), 1)}});
    EXPECT_EQ(compare(reply, reply), Likeness::identical);
    EXPECT_EQ(compare({}, {}), Likeness::identical);
    EXPECT_EQ(compare(text("no DNS"), text("no DNS")), Likeness::identical);
}

TEST_F(DnsComparator, CompressionCaseAndOrderDoNotCount) {
    const Octets reply = message(1, standard, asked, {{a(to(12), 1), a(to(12), 2)}});
    EXPECT_EQ(
        compare(reply, message(1, standard, asked, {{a(name("www.example"), 1), a(to(12), 2)}})),
        Likeness::same);
    EXPECT_EQ(
        compare(reply, message(1, standard, asked, {{a(name("WWW.EXAMPLE"), 1), a(to(12), 2)}})),
        Likeness::same);
    EXPECT_EQ(compare(reply, message(1, standard, asked, {{a(to(12), 2), a(to(12), 1)}})),
              Likeness::same);
}

TEST_F(DnsComparator, CaseOfNamesInDataDoesNotCountButOfTextDoes) {
    const auto mx = [](std::string_view mail) {
        return message(1, standard, asked, {{record(to(12), 15, 60, u16(10) + name(mail))}});
    };
    EXPECT_EQ(compare(mx("Mail.Example"), mx("mail.example")), Likeness::same);
    EXPECT_EQ(compare(mx("mail.example"), mx("male.example")), Likeness::different);
    const auto txt = [](std::string_view said) {
        return message(1, standard, asked, {{record(to(12), 16, 60, u8(2) + text(said))}});
    };
    EXPECT_EQ(compare(txt("Ab"), txt("ab")), Likeness::different);
}

TEST_F(DnsComparator, EveryVotedPartCounts) {
    const Octets reply = message(1, standard, asked, {{a(to(12), 1), a(to(12), 2)}});
    const std::pair<Octets, const char*> others[] = {
        {message(2, standard, asked, {{a(to(12), 1), a(to(12), 2)}}), "DNS id"},
        {message(1, standard | 3, asked, {{a(to(12), 1), a(to(12), 2)}}), "DNS rcode"},
        {message(1, standard | 0x80, asked, {{a(to(12), 1), a(to(12), 2)}}), "DNS flags"},
        {message(1, standard | 0x40, asked, {{a(to(12), 1), a(to(12), 2)}}), "DNS flags"},
        {message(1, standard ^ 0x400, asked, {{a(to(12), 1), a(to(12), 2)}}), "DNS flags"},
        {message(1, standard | 0x200, asked, {{a(to(12), 1), a(to(12), 2)}}), "DNS flags"},
        {message(1, standard, asked, {{a(to(12), 1), a(to(12), 2)}, {}, {opt(512, 0x01000000)}}),
         "DNS rcode"},
        {message(1, standard, question("www.example"), {{a(to(12), 1), a(to(12), 2)}}),
         "DNS question"},
        {message(1, standard, {}, {{a(name("www.example"), 1), a(name("www.example"), 2)}}),
         "DNS question"},
        {message(1, standard, asked, {{a(to(12), 1), a(to(12), 3)}}),
         "DNS answer, record 2 (www.example. A)"},
        {message(1, standard, asked, {{a(to(12), 1)}}), "DNS answer, record 2 (www.example. A)"},
        {message(1, standard, asked, {{a(to(12), 1), a(to(12), 2), a(to(12), 2)}}),
         "DNS answer, record 3 (www.example. A)"},
        {message(1, standard, asked, {{a(to(12), 1), a(to(12), 1)}}),
         "DNS answer, record 2 (www.example. A)"},
        {message(1, standard, asked, {{a(to(12), 1), a(to(12), 2, 3601)}}),
         "DNS answer, record 2 (www.example. A)"},
        {message(1, standard, asked,
                 {{a(to(12), 1), record(to(12), 1, 3600, ipv4(192, 0, 2, 2), 3)}}),
         "DNS answer, record 2 (www.example. A)"},
        {message(1, standard, asked,
                 {{a(to(12), 1), record(to(12), 65280, 3600, ipv4(192, 0, 2, 2))}}),
         "DNS answer, record 2 (www.example. A)"},
        {message(1, standard, asked, {{a(to(12), 1), a(to(16), 2)}}),
         "DNS answer, record 2 (www.example. A)"},
        {message(1, standard, asked, {{}, {a(to(12), 1), a(to(12), 2)}}),
         "DNS answer, empty in one of them"},
    };
    for (const auto& [other, told] : others) {
        EXPECT_EQ(compare(reply, other), Likeness::different) << told;
        EXPECT_EQ(difference(reply, other), told);
        EXPECT_EQ(difference(other, reply), told);
    }
}

TEST_F(DnsComparator, AuthorityCountsOnlyWhereTheAnswerIsEmpty) {
    const Octets ns = record(name("example"), 2, 60, name("evil.test"));
    EXPECT_EQ(compare(message(1, standard, asked, {{a(to(12), 1)}, {soa}}),
                      message(1, standard, asked, {{a(to(12), 1)}, {ns}})),
              Likeness::same);
    const Octets nothing = message(1, standard, asked, {{}, {soa}});
    EXPECT_EQ(compare(nothing, message(1, standard, asked, {{}, {soa, ns}})), Likeness::different);
    EXPECT_EQ(difference(nothing, message(1, standard, asked, {{}, {ns}})),
              "DNS authority, record 1 (example. NS)");
}

TEST_F(DnsComparator, AdditionalAndOptDoNotCount) {
    const Octets bare = message(1, standard, asked, {{a(to(12), 1)}});
    for (const Octets& more : {a(name("x"), 9), opt(4096, 0x8000, u16(3) + u16(1) + u8(7))}) {
        const Octets other = message(1, standard, asked, {{a(to(12), 1)}, {}, {more}});
        EXPECT_EQ(compare(bare, other), Likeness::same);
        EXPECT_EQ(difference(bare, other), "nothing that is voted, byte 11");
    }
}

TEST_F(DnsComparator, RecordsOfATruncatedReplyDoNotCount) {
    EXPECT_EQ(compare(message(1, standard | 0x200, asked, {{a(to(12), 1)}}),
                      message(1, standard | 0x200, asked, {{}, {soa}})),
              Likeness::same);
}

TEST_F(DnsComparator, WhatIsNotDnsIsComparedAsBytes) {
    const Octets reply = message(1, standard, asked, {{a(to(12), 1)}});
    EXPECT_EQ(compare(reply, reply + u8(0)), Likeness::different);
    EXPECT_EQ(difference(reply, reply + u8(0)), "byte 45");
    // The same records but for a name that loops.
    const auto looped = [](unsigned target) {
        return message(1, standard, asked, {{a(to(12), 1), a(to(target), 1)}});
    };
    EXPECT_EQ(compare(looped(12), looped(45)), Likeness::different);
    EXPECT_EQ(compare(looped(45), looped(46)), Likeness::different);
    EXPECT_EQ(compare(text("x"), text("y")), Likeness::different);
}

// A liar may send as bytes what the form of an honest reply would be.
TEST_F(DnsComparator, BytesCannotPassForAForm) {
    const Octets reply = message(1, standard, asked, {{a(to(12), 1)}});
    const auto form = std::make_unique<voter::dns::Form>();
    ASSERT_TRUE(form->assign(reply));
    const voter::Bytes contents = form->contents(*form);
    const Octets forged(contents.begin(), contents.end());
    EXPECT_EQ(compare(reply, forged), Likeness::different);
}

TEST_F(DnsComparator, NamesAreEscapedWhenTold) {
    const Octets bad = u8(4) + text("\x1b.\" ") + u8(0);
    EXPECT_EQ(difference(message(1, standard, asked, {{record(bad, 65280, 1, {})}}),
                         message(1, standard, asked)),
              "DNS answer, empty in one of them");
    EXPECT_EQ(difference(message(1, standard, asked, {{record(bad, 65280, 1, {})}}),
                         message(1, standard, asked, {{record(bad, 65280, 2, {})}})),
              "DNS answer, record 1 (\\027\\.\\\"\\032. TYPE65280)");
    EXPECT_EQ(difference(message(1, standard, asked, {{a(u8(0), 1)}}),
                         message(1, standard, asked, {{a(u8(0), 2)}})),
              "DNS answer, record 1 (. A)");
}

// The longest messages, with the most records, the deepest names: bounded, and still right.
TEST_F(DnsComparator, LargeMessagesAreComparedInAnyOrder) {
    const auto reversed = [](Sections sections) {
        std::ranges::reverse(sections.answer);
        return sections;
    };
    Sections most;
    for (unsigned i = 0; i < 5900; ++i) most.answer.push_back(record(u8(0), 10000 + i, 0, {}));
    EXPECT_EQ(
        compare(message(1, standard, asked, most), message(1, standard, asked, reversed(most))),
        Likeness::same);
    Sections many;
    for (unsigned i = 0; i < 4000; ++i)
        many.answer.push_back(record(to(12), 1, i * 7919 % 4000, ipv4(1, 2, 3, 4)));
    const Octets straight = message(1, standard, asked, many);
    EXPECT_EQ(compare(straight, message(1, standard, asked, reversed(many))), Likeness::same);
    many.answer.front() = a(to(12), 9);
    EXPECT_EQ(compare(straight, message(1, standard, asked, reversed(many))), Likeness::different);
}

TEST_F(DnsComparator, NamesThatUnpackToTooMuchAreNotDns) {
    const std::string label(60, 'a');
    const Octets longest = question(label + "." + label + "." + label + "." + label);
    Sections many;
    many.answer.assign(2000, record(to(12), 2, 0, to(12)));
    const Octets bomb = message(1, standard, longest, many);
    many.answer[0] = record(to(12), 2, 0, name(label + "." + label + "." + label + "." + label));
    EXPECT_EQ(compare(bomb, message(1, standard, longest, many)), Likeness::different);
    many.answer.resize(5);
    const Octets fewer = message(1, standard, longest, many);
    many.answer[0] = many.answer[1];
    EXPECT_EQ(compare(fewer, message(1, standard, longest, many)), Likeness::same);
}

}  // namespace
