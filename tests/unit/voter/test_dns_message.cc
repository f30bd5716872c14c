// The bounded reader: what it accepts, what it refuses, and that it never reads outside.
#include <gtest/gtest.h>

#include "tests/unit/voter/dns_builder.hh"
#include "voter/dns_canonical.hh"
#include "voter/dns_message.hh"

namespace {

using namespace dns_test;
using voter::dns::read_message;
using voter::dns::read_name;
using voter::dns::Section;

Octets unpacked(const Octets& bytes, std::size_t at) {
    Octets out(voter::dns::name_len_max);
    out.resize(read_name(bytes, at, out));
    return out;
}

TEST(DnsName, IsUnpackedAndLowerCased) {
    const Octets bytes = Octets(12) + name("Example") + labels_to("WwW", 12);
    EXPECT_EQ(unpacked(bytes, 21), name("www.example"));
}

TEST(DnsName, OnlyLettersLoseTheirCase) {
    EXPECT_EQ(unpacked(name("[@Z`{\xc0]"), 0), name("[@z`{\xc0]"));
}

TEST(DnsName, PointersGoBackwardsOnly) {
    EXPECT_TRUE(unpacked(Octets(12) + to(12), 12).empty());                       // itself
    EXPECT_TRUE(unpacked(Octets(12) + to(14) + u8(0), 12).empty());               // forwards
    EXPECT_TRUE(unpacked(Octets(12) + labels_to("a", 12), 12).empty());           // its own start
    EXPECT_TRUE(unpacked(Octets(12) + labels_to("abc", 14), 12).empty());         // its own middle
    EXPECT_TRUE(unpacked(Octets(12) + to(11), 12).empty());                       // the header
    EXPECT_TRUE(unpacked(Octets(12) + labels_to("a", 15) + to(12), 15).empty());  // two of them
}

TEST(DnsName, PointersAreCounted) {
    Octets bytes = Octets(12) + u8(0);
    std::size_t last = 12;
    for (unsigned i = 0; i <= voter::dns::name_hops_max; ++i) {
        const auto next = bytes.size();
        bytes = bytes + to(static_cast<unsigned>(last));
        last = next;
    }
    EXPECT_EQ(unpacked(bytes, last - 2), u8(0));
    EXPECT_TRUE(unpacked(bytes, last).empty());
}

TEST(DnsName, IsAtMost255OctetsUnpacked) {
    const std::string label(63, 'a');
    const std::string dots = label + "." + label + "." + label + ".";
    EXPECT_EQ(unpacked(name(dots + std::string(61, 'b')), 0).size(), 255u);
    EXPECT_TRUE(unpacked(name(dots + std::string(62, 'b')), 0).empty());
    const Octets longer =
        Octets(12) + name(label + "." + label) + labels_to(label + "." + label, 12);
    EXPECT_TRUE(unpacked(longer, 12 + 129).empty());
}

TEST(DnsName, ReservedLabelTypesAreNone) {
    EXPECT_TRUE(unpacked(u8(0x40) + u8(0), 0).empty());
    EXPECT_TRUE(unpacked(u8(0x80) + u8(0), 0).empty());
}

TEST(DnsName, DoesNotFitIntoTooSmallABuffer) {
    const Octets bytes = name("example");
    Octets out(8);
    EXPECT_EQ(read_name(bytes, 0, out), 0u);
    out.resize(9);
    EXPECT_EQ(read_name(bytes, 0, out), 9u);
}

const Octets asked = question("www.example");
const Octets whole = message(7, standard, asked,
                             {{a(to(12), 1), a(to(12), 2)},
                              {record(to(16), 2, 60, name("ns"))},
                              {a(name("ns"), 3), opt(4096, 0x01008000)}});

TEST(DnsMessage, FindsItsParts) {
    const auto found = read_message(whole);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->header.id, 7);
    EXPECT_EQ(found->question->length(), asked.size());
    EXPECT_EQ(found->count(Section::answer), 2);
    EXPECT_EQ(found->count(Section::authority), 1);
    ASSERT_TRUE(found->opt);
    EXPECT_EQ(found->opt->udp_payload, 4096);
    EXPECT_EQ(found->opt->rcode_high(), 1);
    std::vector<unsigned> types;
    for (const Section section : {Section::answer, Section::authority, Section::additional}) {
        found->for_each(section, [&](const voter::dns::Record& each) {
            types.push_back(each.type);
            return true;
        });
    }
    EXPECT_EQ(types, (std::vector<unsigned>{1, 1, 2, 1, 41}));
}

// Every shorter one is cut within a record or a count is not met. Each is a vector of its own, so
// that ASan sees a byte read behind it.
TEST(DnsMessage, CutOffAnywhereIsNone) {
    for (std::size_t length = 0; length < whole.size(); ++length) {
        const Octets cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
        EXPECT_FALSE(read_message(cut)) << length;
    }
}

TEST(DnsMessage, NothingMayFollow) { EXPECT_FALSE(read_message(whole + u8(0))); }

TEST(DnsMessage, CountsBeyondTheMessageAreNone) {
    for (const std::size_t count : {4u, 6u, 8u, 10u}) {
        Octets more = whole;
        more[count] = std::byte{0xff};
        EXPECT_FALSE(read_message(more)) << count;
    }
}

TEST(DnsMessage, TwoQuestionsAreNone) {
    Octets two = message(1, standard, asked + asked);
    two[5] = std::byte{2};
    EXPECT_FALSE(read_message(two));
}

TEST(DnsMessage, TheQuestionIsNotCompressed) {
    EXPECT_FALSE(read_message(message(1, standard, to(0) + u16(1) + u16(1))));
    EXPECT_FALSE(read_message(message(1, standard, labels_to("www", 12) + u16(1) + u16(1))));
}

TEST(DnsMessage, TheQuestionsNameIsBounded) {
    const std::string label(63, 'a');
    const std::string dots = label + "." + label + "." + label + ".";
    EXPECT_TRUE(read_message(message(1, standard, question(dots + std::string(61, 'b')))));
    EXPECT_FALSE(read_message(message(1, standard, question(dots + std::string(62, 'b')))));
}

TEST(DnsMessage, ARecordLiesWithinIt) {
    const Octets bytes = a(name("x"), 1);
    EXPECT_TRUE(voter::dns::read_record(bytes, 0));
    EXPECT_FALSE(voter::dns::read_record(voter::Bytes(bytes).first(bytes.size() - 1), 0));
    EXPECT_FALSE(voter::dns::read_record(voter::Bytes(bytes).first(12), 0));
    EXPECT_FALSE(voter::dns::read_record(bytes, bytes.size()));
}

TEST(DnsMessage, OneOptAndInTheAdditionalSectionOnly) {
    EXPECT_TRUE(read_message(message(1, standard, asked, {{}, {}, {opt(512)}})));
    EXPECT_FALSE(read_message(message(1, standard, asked, {{}, {}, {opt(512), opt(512)}})));
    EXPECT_FALSE(read_message(message(1, standard, asked, {{opt(512)}, {}, {}})));
    EXPECT_FALSE(read_message(message(1, standard, asked, {{}, {opt(512)}, {}})));
    EXPECT_FALSE(
        read_message(message(1, standard, asked, {{}, {}, {record(name("x"), 41, 0, {}, 512)}})));
}

TEST(DnsMessage, TheLongestWithTheMostRecordsIsRead) {
    Sections sections;
    const std::size_t count = (65535 - 12) / 11;
    sections.answer.assign(count, record(u8(0), 65280, 0, {}));
    EXPECT_TRUE(read_message(message(1, standard, {}, sections)));
    static_assert(voter::dns::records_max >= (65535 - 12) / 11);
    EXPECT_FALSE(read_message(Octets(65536)));
}

TEST(DnsRdata, NamesInKnownTypesAreUnpacked) {
    const struct {
        unsigned type;
        Octets rdata, canonical;
    } cases[] = {
        {2, labels_to("NS1", 16), name("ns1.example")},
        {5, to(12), name("www.example")},
        {6, labels_to("a", 16) + labels_to("b", 16) + Octets(20),
         name("a.example") + name("b.example") + Octets(20)},
        {12, to(16), name("example")},
        {15, u16(10) + labels_to("Mail", 16), u16(10) + name("mail.example")},
        {17, to(12) + to(16), name("www.example") + name("example")},
        {33, Octets(6) + to(16), Octets(6) + name("example")},
        {35, Octets(4) + u8(1) + text("U") + u8(0) + u8(2) + text("!!") + to(16),
         Octets(4) + u8(1) + text("U") + u8(0) + u8(2) + text("!!") + name("example")},
        {39, name("WWW.Example"), name("www.example")},
        {46, Octets(18) + name("Example") + text("SigNature"),
         Octets(18) + name("example") + text("SigNature")},
        {16, u8(3) + text("AbC"), u8(3) + text("AbC")},
        {47, name("Next.Example") + Octets(3), name("Next.Example") + Octets(3)},
        {65280, to(12), to(12)},
    };
    for (const auto& each : cases) {
        const Octets bytes =
            message(1, standard, asked, {{record(to(12), each.type, 9, each.rdata)}});
        const auto found = read_message(bytes);
        ASSERT_TRUE(found) << each.type;
        Octets out(1000);
        found->for_each(Section::answer, [&](const voter::dns::Record& it) {
            out.resize(voter::dns::write_canonical(bytes, it, out));
            return true;
        });
        EXPECT_EQ(out, record(name("www.example"), each.type, 9, each.canonical)) << each.type;
        for (std::size_t room = 0; room < out.size(); ++room) {
            Octets little(room);
            found->for_each(Section::answer, [&](const voter::dns::Record& it) {
                EXPECT_EQ(voter::dns::write_canonical(bytes, it, little), 0u) << each.type;
                return true;
            });
        }
    }
}

TEST(DnsRdata, MalformedDataOfKnownTypesIsNone) {
    const std::pair<unsigned, Octets> cases[] = {
        {2, {}},
        {2, u8(3) + text("ab")},
        {5, to(500)},
        {15, u8(0)},
        {15, u16(10)},
        {6, to(12)},
        {33, Octets(5)},
        {35, Octets(4) + u8(9) + text("U")},
        {35, Octets(4) + u8(0) + u8(0)},
        {46, Octets(17)},
    };
    for (const auto& [type, rdata] : cases) {
        // An octet behind the data, to be read by mistake.
        const Octets bytes =
            message(1, standard, asked, {{record(to(12), type, 9, rdata), a(to(12), 1)}});
        const auto found = read_message(bytes);
        ASSERT_TRUE(found) << type;
        Octets out(1000);
        std::size_t written = 1;
        found->for_each(Section::answer, [&](const voter::dns::Record& it) {
            written = voter::dns::write_canonical(bytes, it, out);
            return false;
        });
        EXPECT_EQ(written, 0u) << type;
    }
}

}  // namespace
