// What leaves when replies agree but are not the same bytes. Nothing that fewer than a quorum sent.
#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "tests/unit/voter/dns_builder.hh"
#include "voter/comparator.hh"
#include "voter/dns_canonical.hh"

namespace {

using namespace dns_test;
using voter::Likeness;
using voter::dns::Section;

const voter::Comparator comparator(voter::ComparatorKind::dns);
const Octets asked = question("www.Example");
const Octets plain = request(1, asked);
const Octets with_edns = request(1, asked, {{}, {}, {opt(4096, 0x8000)}});

class DnsCompose : public testing::Test {
  protected:
    Octets compose(const Octets& request, const std::vector<Octets>& replies, unsigned quorum = 2,
                   std::size_t room = 65535) {
        const std::vector<voter::Bytes> agreeing(replies.begin(), replies.end());
        for (const auto& reply : agreeing) {
            EXPECT_NE(comparator.compare(agreeing.front(), reply, *workspace_),
                      Likeness::different);
        }
        Octets out(room);
        out.resize(comparator.compose(request, agreeing, quorum, out, *workspace_));
        return out;
    }
    bool same(const Octets& a, const Octets& b) {
        return comparator.compare(a, b, *workspace_) != Likeness::different;
    }

    voter::WorkspacePtr workspace_ = voter::make_workspace();
};

TEST_F(DnsCompose, RecordsLeaveCompressedInAnOrderOfOurOwn) {
    const Octets expected =
        message(1, standard, asked, {{a(to(12), 1), a(to(12), 2), a(to(12), 3)}});
    EXPECT_EQ(
        compose(plain, {message(1, standard, asked, {{a(to(12), 3), a(to(12), 1), a(to(12), 2)}}),
                        message(1, standard, asked,
                                {{a(name("WWW.example"), 2), a(to(12), 1), a(to(12), 3)}})}),
        expected);
}

TEST_F(DnsCompose, NamesInDataAreCompressedWhereTheyMayBe) {
    const Octets mx = record(name("www.example"), 15, 60, u16(5) + name("mail.example"));
    const Octets srv = record(name("www.example"), 33, 60, Octets(6) + name("Mail.example"));
    const Octets out = compose(plain, {message(1, standard, asked, {{mx, srv}}),
                                       message(1, standard, asked, {{srv, mx}})});
    EXPECT_EQ(out, message(1, standard, asked,
                           {{record(to(12), 15, 60, u16(5) + labels_to("mail", 16)),
                             record(to(12), 33, 60, Octets(6) + name("mail.example"))}}));
}

TEST_F(DnsCompose, AliasesLeaveInTheOrderOfTheirChain) {
    const Octets first = record(name("www.example"), 5, 60, name("z.example"));
    const Octets second = record(name("z.example"), 5, 60, name("b.example"));
    const Octets last = a(name("b.example"), 1);
    const Octets other = a(name("a.example"), 1);
    const Octets out =
        compose(plain, {message(1, standard, asked, {{last, second, other, first}}),
                        message(1, standard, asked, {{first, second, last, other}})});
    std::vector<unsigned> order;
    const auto found = voter::dns::read_message(out);
    ASSERT_TRUE(found);
    std::vector<Octets> owners;
    found->for_each(Section::answer, [&](const voter::dns::Record& it) {
        Octets owner(255);
        owner.resize(voter::dns::read_name(out, it.owner, owner));
        owners.push_back(owner);
        return true;
    });
    EXPECT_EQ(owners, (std::vector<Octets>{name("www.example"), name("z.example"),
                                           name("b.example"), name("a.example")}));
}

TEST_F(DnsCompose, ADnameStandsBeforeTheAliasMadeFromIt) {
    const Octets alias = record(name("www.example"), 5, 60, name("www.elsewhere"));
    const Octets dname = record(name("example"), 39, 60, name("elsewhere"));
    const Octets target = a(name("www.elsewhere"), 4);
    const Octets out = compose(plain, {message(1, standard, asked, {{alias, dname, target}}),
                                       message(1, standard, asked, {{target, dname, alias}})});
    // The DNAME's data is not compressed, nor pointed to.
    EXPECT_EQ(out, message(1, standard, asked,
                           {{record(to(16), 39, 60, name("elsewhere")),
                             record(to(12), 5, 60, name("www.elsewhere")), a(to(64), 4)}}));
}

TEST_F(DnsCompose, AliasesInACircleEnd) {
    const Octets one = record(name("www.example"), 5, 60, name("b.example"));
    const Octets two = record(name("b.example"), 5, 60, name("www.example"));
    const Octets reply = message(1, standard, asked, {{one, two}});
    EXPECT_TRUE(same(compose(plain, {reply, message(1, standard, asked, {{two, one}})}), reply));
}

TEST_F(DnsCompose, OurOwnOptWhereTheRequestHasOne) {
    const Octets cookie = u16(10) + u16(8) + text("poisoned");
    const Octets left =
        message(1, standard, asked, {{a(to(12), 1)}, {}, {opt(4096, 0x8000, cookie)}});
    const Octets right = message(1, standard, asked, {{a(to(12), 1)}, {}, {opt(512, 0x0001ffff)}});
    EXPECT_EQ(compose(with_edns, {left, right}),
              message(1, standard, asked, {{a(to(12), 1)}, {}, {opt(1232, 0x8000)}}));
    EXPECT_EQ(compose(request(1, asked, {{}, {}, {opt(512)}}), {left, right}),
              message(1, standard, asked, {{a(to(12), 1)}, {}, {opt(1232)}}));
    EXPECT_EQ(compose(plain, {left, right}), message(1, standard, asked, {{a(to(12), 1)}}));
}

TEST_F(DnsCompose, TheExtendedRcodeIsTheVotedOne) {
    const std::vector<Octets> badvers = {
        message(1, 0x8100, asked, {{}, {}, {opt(4096, 0x01000000)}}),
        message(1, 0x8100, asked, {{}, {}, {opt(1232, 0x01000000)}})};
    EXPECT_EQ(compose(with_edns, badvers),
              message(1, 0x8100, asked, {{}, {}, {opt(1232, 0x01008000)}}));
    EXPECT_TRUE(compose(plain, badvers).empty());  // a request without OPT cannot be told so
}

TEST_F(DnsCompose, CheckingDisabledIsTheRequests) {
    const Octets clear = message(1, standard, asked, {{a(to(12), 1)}});
    const Octets set = message(1, standard | 0x10, asked, {{a(to(12), 1)}});
    EXPECT_EQ(compose(plain, {clear, set}), clear);
    EXPECT_EQ(compose(plain, {set, clear}), clear);
    EXPECT_EQ(compose(message(1, 0x0110, asked), {clear, set}), set);
}

TEST_F(DnsCompose, AuthorityBesideAnAnswerDoesNotLeave) {
    const Octets ns = record(name("example"), 2, 60, name("evil.test"));
    EXPECT_EQ(compose(plain, {message(1, standard, asked, {{a(to(12), 1)}, {ns}}),
                              message(1, standard, asked, {{a(to(12), 1)}})}),
              message(1, standard, asked, {{a(to(12), 1)}}));
    EXPECT_EQ(compose(plain, {message(1, standard, asked, {{}, {ns}, {opt(9)}}),
                              message(1, standard, asked, {{}, {ns}})}),
              message(1, standard, asked, {{}, {record(to(16), 2, 60, name("evil.test"))}}));
}

TEST_F(DnsCompose, AdditionalRecordsNeedAQuorumEach) {
    const Octets mx = record(to(12), 15, 60, u16(1) + name("mail.test"));
    const auto reply = [&](std::vector<Octets> additional) {
        return message(1, standard, asked, {{mx}, {}, std::move(additional)});
    };
    const Octets good = a(name("mail.test"), 7);
    const Octets evil = a(name("mail.test"), 66);
    const Octets agreed = message(1, standard, asked, {{mx}, {}, {a(to(43), 7)}});
    const Octets none = message(1, standard, asked, {{mx}});
    EXPECT_EQ(compose(plain, {reply({good}), reply({good, evil})}), agreed);
    EXPECT_EQ(compose(plain, {reply({evil}), reply({good}), reply({good, opt(512)})}), agreed);
    EXPECT_EQ(compose(plain, {reply({good}), reply({evil})}), none);
    EXPECT_EQ(compose(plain, {reply({evil, evil, evil}), reply({})}), none);  // twice is not two
    EXPECT_EQ(compose(plain, {reply({good}), reply({a(name("mail.test"), 7, 3601)})}), none);
    EXPECT_EQ(compose(plain, {reply({good}), reply({evil, good}), reply({})}, 3), none);
}

TEST_F(DnsCompose, RecordsAboutTheMessageAreNotTakenOver) {
    for (const unsigned type : {24u, 249u, 250u}) {
        const Octets meta = record(u8(0), type, 0, Octets(18) + u8(0) + Octets(9), 255);
        EXPECT_EQ(
            compose(plain, {message(1, standard, asked, {{a(to(12), 1)}, {}, {meta}}),
                            message(1, standard, asked, {{a(to(12), 1)}, {}, {meta, opt(1)}})}),
            message(1, standard, asked, {{a(to(12), 1)}}));
    }
}

TEST_F(DnsCompose, AMalformedAdditionalRecordHoldsNothingUp) {
    const Octets loop = a(to(80), 1);
    EXPECT_EQ(compose(plain, {message(1, standard, asked, {{a(to(12), 1)}, {}, {loop}}),
                              message(1, standard, asked, {{a(to(12), 1)}})}),
              message(1, standard, asked, {{a(to(12), 1)}}));
}

TEST_F(DnsCompose, TruncatedRepliesLeaveWithoutRecords) {
    EXPECT_EQ(
        compose(with_edns, {message(1, standard | 0x200, asked, {{a(to(12), 1)}}),
                            message(1, standard | 0x200, asked, {{}, {}, {a(name("x"), 1)}})}),
        message(1, standard | 0x200, asked, {{}, {}, {opt(1232, 0x8000)}}));
}

std::vector<Octets> two_orders(std::size_t count) {
    Sections sections;
    for (unsigned i = 0; i < count; ++i)
        sections.answer.push_back(record(to(12), 1, i, ipv4(1, 1, 1, 1)));
    const Octets straight = message(1, standard, asked, sections);
    std::ranges::reverse(sections.answer);
    return {straight, message(1, standard, asked, sections)};
}

TEST_F(DnsCompose, WhatTheClientCannotTakeIsTruncated) {
    const std::size_t fixed = 12 + asked.size();
    const std::size_t fit = (512 - fixed) / 16;
    EXPECT_EQ(compose(plain, two_orders(fit)).size(), fixed + 16 * fit);
    const Octets cut = message(1, standard | 0x200, asked);
    EXPECT_EQ(compose(plain, two_orders(fit + 1)), cut);
    // EDNS: its size, with room for our OPT; below 512 it says 512 (RFC 6891 section 6.2.3).
    const auto edns = [](unsigned size) { return request(1, asked, {{}, {}, {opt(size)}}); };
    EXPECT_EQ(compose(edns(static_cast<unsigned>(fixed + 16 * 40 + 11)), two_orders(40)).size(),
              fixed + 16 * 40 + 11);
    EXPECT_EQ(compose(edns(static_cast<unsigned>(fixed + 16 * 40 + 10)), two_orders(40)),
              message(1, standard | 0x200, asked, {{}, {}, {opt(1232)}}));
    EXPECT_EQ(compose(edns(0), two_orders(fit - 1)).size(), fixed + 16 * (fit - 1) + 11);
    EXPECT_EQ(compose(edns(4096), two_orders(40), 2, 300),
              message(1, standard | 0x200, asked, {{}, {}, {opt(1232)}}));
    EXPECT_TRUE(compose(edns(4096), two_orders(40), 2, fixed + 10).empty());
    EXPECT_TRUE(compose(plain, two_orders(4), 2, 11).empty());
    EXPECT_TRUE(compose(plain, two_orders(4), 2, 0).empty());
}

TEST_F(DnsCompose, AdditionalSetsThatDoNotFitAreLeftOutWhole) {
    std::vector<Octets> glue;
    for (unsigned i = 0; i < 40; ++i) glue.push_back(a(name("b.test"), i));
    glue.push_back(a(name("a.test"), 1));
    const auto reply = [&](unsigned flags, const Sections& sections, bool with_opt) {
        Sections more = sections;
        more.additional = glue;
        if (with_opt) more.additional.push_back(opt(1));
        return message(1, flags, asked, more);
    };
    const Sections answer{{record(to(12), 15, 1, u16(1) + name("a.test"))}};
    EXPECT_EQ(compose(plain, {reply(standard, answer, false), reply(standard, answer, true)}),
              message(1, standard, asked, {answer.answer, {}, {a(to(43), 1)}}));
    // A referral whose glue does not fit is truncated: RFC 9471.
    const Sections referral{{}, {record(to(16), 2, 1, name("a.test"))}};
    EXPECT_EQ(compose(plain, {reply(0x8100, referral, false), reply(0x8100, referral, true)}),
              message(1, 0x8300, asked));
}

TEST_F(DnsCompose, NothingLeavesForWhatIsNotDns) {
    const Octets reply = message(1, standard, asked, {{a(to(12), 1)}});
    const Octets broken = reply + u8(0);
    Octets out(512);
    const std::vector<voter::Bytes> agreeing = {reply, broken};
    EXPECT_EQ(comparator.compose(plain, agreeing, 2, out, *workspace_), 0u);
    const std::vector<voter::Bytes> other = {broken, reply};
    EXPECT_EQ(comparator.compose(plain, other, 2, out, *workspace_), 0u);
    EXPECT_EQ(comparator.compose(plain, {}, 2, out, *workspace_), 0u);
}

TEST_F(DnsCompose, AnUnreadableRequestIsHeldToTheLeast) {
    EXPECT_EQ(
        compose(text("?"), {message(1, 0x8101, {}), message(1, 0x8101, {}, {{}, {}, {opt(9)}})}),
        message(1, 0x8101, {}));
}

// Names that share every suffix, in numbers beyond the table of names: still readable, and within
// the hops that our own reader allows.
TEST_F(DnsCompose, ManyNestedNamesStayReadable) {
    Sections sections;
    std::string nested = "example";
    for (unsigned i = 0; i < 100; ++i) {
        nested = "x." + nested;
        sections.answer.push_back(a(name(nested), i));
    }
    const Octets straight = message(1, standard, asked, sections);
    std::ranges::reverse(sections.answer);
    const Octets out = compose(request(1, asked, {{}, {}, {opt(65535)}}),
                               {straight, message(1, standard, asked, sections)});
    EXPECT_TRUE(same(out, straight));
    EXPECT_LT(out.size(), straight.size() / 2);
}

}  // namespace
