// The real comparator over what nsd, knot and named really said (tests/golden/dns/replies.txt):
// they agree wherever they can, each of them may be the odd one out, and a liar that is right in
// what is voted gets nothing else out.
#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include "tests/unit/voter/dns_builder.hh"
#include "voter/ballot.hh"
#include "voter/comparator.hh"
#include "voter/dns_message.hh"
#include "voter/dns_writer.hh"
#include "voter/matcher.hh"

namespace {

using namespace dns_test;
using voter::Likeness;
using voter::ReplicaId;
using voter::SlotSet;
using voter::dns::Section;

constexpr std::array<const char*, 3> servers = {"nsd", "knot", "named"};

struct Exchange {
    std::string query;
    Octets request;
    std::array<Octets, 3> replies;
};

Octets from_hex(const std::string& digits) {
    Octets octets;
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
        octets.push_back(static_cast<std::byte>(std::stoul(digits.substr(i, 2), nullptr, 16)));
    }
    return octets;
}

std::vector<Exchange> read_exchanges() {
    std::vector<Exchange> exchanges;
    std::ifstream file("tests/golden/dns/replies.txt");  // run from the top of the tree
    std::string line;
    while (std::getline(file, line)) {
        const std::string key = line.substr(0, line.find(' '));
        const std::string value = line.substr(std::min(key.size() + 1, line.size()));
        const auto server = std::ranges::find(servers, key);
        if (key == "query") {
            exchanges.push_back({value, {}, {}});
        } else if (key == "request") {
            exchanges.back().request = from_hex(value);
        } else if (server != servers.end()) {
            exchanges.back().replies[static_cast<std::size_t>(server - servers.begin())] =
                from_hex(value);
        }
    }
    return exchanges;
}

constexpr ReplicaId slot(std::size_t n) { return ReplicaId{static_cast<std::uint8_t>(n)}; }

class DnsServers : public testing::Test {
  protected:
    Likeness compare(const Octets& a, const Octets& b) {
        return comparator_.compare(a, b, *workspace_);
    }
    bool all_agree(const Exchange& exchange) {
        return compare(exchange.replies[0], exchange.replies[1]) != Likeness::different &&
               compare(exchange.replies[0], exchange.replies[2]) != Likeness::different &&
               compare(exchange.replies[1], exchange.replies[2]) != Likeness::different;
    }
    voter::Ballot vote(const std::array<Octets, 3>& replies) {
        voter::Ballot ballot(SlotSet::first(3), voter::Rules{2, voter::Release::all});
        for (std::size_t i = 0; i < 3; ++i) {
            ballot.cast(slot(i), [&](ReplicaId holder) {
                return compare(replies[holder.value], replies[i]);
            });
        }
        return ballot;
    }
    // What the proxy would let out: the bytes where all who agree sent the same ones.
    Octets release(const Octets& request, const std::vector<Octets>& agreeing) {
        if (std::ranges::all_of(agreeing, [&](const Octets& it) { return it == agreeing[0]; })) {
            return agreeing[0];
        }
        const std::vector<voter::Bytes> views(agreeing.begin(), agreeing.end());
        Octets out(65535);
        out.resize(comparator_.compose(request, views, 2, out, *workspace_));
        return out;
    }

    const std::vector<Exchange> exchanges_ = read_exchanges();
    const voter::Comparator comparator_{voter::ComparatorKind::dns};
    const voter::WorkspacePtr workspace_ = voter::make_workspace();
};

bool never_equal(const Exchange& exchange) {
    for (const char* word : {" ANY", " CH ", "STATUS"}) {
        if (exchange.query.find(word) != std::string::npos) return true;
    }
    return false;
}

TEST_F(DnsServers, AgreeOnAllButAnyChaosAndStatus) {
    ASSERT_EQ(exchanges_.size(), 58u);
    unsigned agreed = 0;
    unsigned identical = 0;
    for (const Exchange& exchange : exchanges_) {
        const auto& [nsd, knot, named] = exchange.replies;
        ASSERT_FALSE(nsd.empty() || knot.empty() || named.empty()) << exchange.query;
        EXPECT_EQ(all_agree(exchange), !never_equal(exchange)) << exchange.query;
        agreed += all_agree(exchange);
        identical += nsd == knot && nsd == named;
    }
    EXPECT_EQ(agreed, 55u);
    RecordProperty("agreed", static_cast<int>(agreed));
    RecordProperty("identical", static_cast<int>(identical));
    // The recording holds what the comparator is for.
    EXPECT_LT(identical, 45u);
}

TEST_F(DnsServers, AnswerTheirRequestsAndNoOther) {
    const voter::Matcher matcher(voter::MatcherKind::dns);
    for (const Exchange& exchange : exchanges_) {
        for (const Exchange& other : exchanges_) {
            for (const Octets& reply : other.replies) {
                EXPECT_EQ(matcher.answers(exchange.request, reply), &exchange == &other);
            }
        }
    }
}

TEST_F(DnsServers, RepliesThatDifferLeaveRebuiltAndNoLongerThanTheClientTakes) {
    unsigned rebuilt = 0;
    for (const Exchange& exchange : exchanges_) {
        if (!all_agree(exchange)) continue;
        const auto request = voter::dns::read_message(exchange.request);
        ASSERT_TRUE(request);
        const std::size_t limit = voter::dns::udp_payload_of(*request);
        const auto& replies = exchange.replies;
        for (const std::vector<Octets>& agreeing :
             {std::vector{replies[0], replies[1]}, std::vector{replies[0], replies[2]},
              std::vector{replies[1], replies[2]}, std::vector(replies.begin(), replies.end())}) {
            const Octets out = release(exchange.request, agreeing);
            rebuilt += out != agreeing[0];
            EXPECT_NE(compare(out, agreeing[0]), Likeness::different) << exchange.query;
            EXPECT_LE(out.size(), limit) << exchange.query;
            std::size_t longest = 0;
            for (const Octets& each : agreeing) longest = std::max(longest, each.size());
            EXPECT_LE(out.size(), longest) << exchange.query;
            // Byte order of a reply does not depend on who came first.
            EXPECT_EQ(out, release(exchange.request, {agreeing.rbegin(), agreeing.rend()}));
        }
    }
    EXPECT_GT(rebuilt, 10u);
}

// The last octet of what is voted: of the answer, else of the authority, else the rcode.
Octets lie(Octets reply) {
    const auto found = voter::dns::read_message(reply);
    const auto& starts = found->sections;
    std::size_t at = 3;
    if (!(found->header.flags & voter::dns::flag_truncated)) {
        if (found->count(Section::answer) != 0) {
            at = starts[1] - 1;
        } else if (found->count(Section::authority) != 0) {
            at = starts[2] - 1;
        }
    }
    reply[at] ^= std::byte{1};
    return reply;
}

TEST_F(DnsServers, EachMayBeTheOddOneOut) {
    for (const Exchange& exchange : exchanges_) {
        if (!all_agree(exchange)) continue;
        for (std::size_t odd = 0; odd < 3; ++odd) {
            std::array<Octets, 3> replies = exchange.replies;
            replies[odd] = lie(replies[odd]);
            const voter::Ballot ballot = vote(replies);
            EXPECT_EQ(ballot.verdict(), voter::Verdict::agreed) << exchange.query;
            EXPECT_EQ(ballot.dissenters(), SlotSet::of(slot(odd)))
                << exchange.query << ' ' << servers[odd];
            const Octets out =
                release(exchange.request, {replies[(odd + 1) % 3], replies[(odd + 2) % 3]});
            EXPECT_NE(compare(out, exchange.replies[odd]), Likeness::different) << exchange.query;
            std::array<char, 80> told;
            EXPECT_NE(comparator_.describe_difference(replies[odd], exchange.replies[odd], told,
                                                      *workspace_),
                      0u);
        }
    }
}

bool holds(const Octets& octets, std::string_view what) {
    const Octets sought = text(what);
    return std::search(octets.begin(), octets.end(), sought.begin(), sought.end()) != octets.end();
}

// Right in what is voted; lies in everything else, in front of what honest servers say there.
Octets poison(const Octets& reply) {
    const auto found = voter::dns::read_message(reply);
    const Octets evil_ns = record(name("example"), 2, 9, name("evil"));
    const Octets evil_a = record(name("www.example"), 16, 9, u8(4) + text("evil"));
    const bool answers = found->count(Section::answer) != 0;
    const bool truncated = found->header.flags & voter::dns::flag_truncated;
    const auto part = [&](std::size_t from, std::size_t end) {
        return Octets(reply.begin() + static_cast<std::ptrdiff_t>(from),
                      reply.begin() + static_cast<std::ptrdiff_t>(end));
    };
    Octets out = part(0, found->sections[1]);
    unsigned authority = 0;
    unsigned additional = 1;
    if (answers || truncated) {
        out = out + evil_ns;
        authority = 1;
    } else {
        out = out + part(found->sections[1], found->sections[2]);
        authority = found->count(Section::authority);
    }
    out = out + evil_a;
    if (found->opt) {
        out = out + opt(9999, (found->opt->ttl & 0xff000000) | 0x00010000,
                        u16(10) + u16(4) + text("evil"));
        ++additional;
    }
    voter::dns::store_u16(&out[8], static_cast<std::uint16_t>(authority));
    voter::dns::store_u16(&out[10], static_cast<std::uint16_t>(additional));
    return out;
}

TEST_F(DnsServers, APoisonerThatAnswersRightGetsNothingElseOut) {
    for (const Exchange& exchange : exchanges_) {
        if (!all_agree(exchange)) continue;
        for (std::size_t odd = 0; odd < 3; ++odd) {
            std::array<Octets, 3> replies = exchange.replies;
            replies[odd] = poison(replies[odd]);
            ASSERT_TRUE(holds(replies[odd], "evil"));
            EXPECT_EQ(vote(replies).winner().members, SlotSet::first(3)) << exchange.query;
            for (const std::vector<Octets>& agreeing :
                 {std::vector{replies[odd], replies[(odd + 1) % 3]},
                  std::vector{replies[(odd + 2) % 3], replies[odd]},
                  std::vector(replies.begin(), replies.end())}) {
                const Octets out = release(exchange.request, agreeing);
                ASSERT_FALSE(out.empty()) << exchange.query;
                EXPECT_FALSE(holds(out, "evil")) << exchange.query;
                EXPECT_NE(compare(out, exchange.replies[odd]), Likeness::different);
                const auto left = voter::dns::read_message(out);
                ASSERT_TRUE(left);
                EXPECT_EQ(left->opt.value_or(voter::dns::Opt{1232, 0}).udp_payload, 1232);
            }
            replies[odd][3] ^= std::byte{0x20};  // AD
            EXPECT_EQ(vote(replies).dissenters(), SlotSet::of(slot(odd))) << exchange.query;
        }
    }
}

}  // namespace
