// Names are compressed within what a pointer can say and a reader will follow.
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "tests/unit/voter/dns_builder.hh"
#include "voter/dns_writer.hh"

namespace {

using namespace dns_test;
using voter::dns::Writer;

class DnsWriter : public testing::Test {
  protected:
    Octets written() const {
        return {out_.begin(), out_.begin() + static_cast<int>(writer_.position())};
    }
    // All owners read as they should, with at most `hops` pointers each.
    void expect_owners(const std::vector<Octets>& records, unsigned hops) {
        std::size_t at = voter::dns::header_len;
        for (const Octets& each : records) {
            const auto record = voter::dns::read_record(written(), at);
            ASSERT_TRUE(record);
            Octets owner(255);
            owner.resize(voter::dns::read_name(written(), at, owner, hops));
            const auto expected = voter::dns::open_canonical(each).owner();
            ASSERT_TRUE(voter::dns::equal(owner, expected)) << at;
            at = record->end();
        }
        EXPECT_EQ(at, writer_.position());
    }

    Octets out_ = Octets(65535);
    std::unique_ptr<Writer::Names> names_ = std::make_unique<Writer::Names>();
    Writer writer_{out_, *names_};
};

// Each name points into the one before it: without a bound, ninety pointers in a row.
TEST_F(DnsWriter, ChainsOfPointersAreShort) {
    writer_.header(1, standard, 0);
    std::vector<Octets> records;
    Octets nested = u8(0);
    for (unsigned i = 0; i < 90; ++i) {
        nested = u8(1) + u8(0x80 + i) + nested;
        records.push_back(a(nested, i));
    }
    for (const Octets& each : records) writer_.record(each);
    expect_owners(records, 16);
    EXPECT_LT(written().size(), 90u * 90);  // in full they are 9,500 octets
}

TEST_F(DnsWriter, NothingPointsBeyondAPointersReach) {
    writer_.header(1, standard, 0);
    const std::vector<Octets> records = {record(u8(0), 65280, 0, Octets(0x4000)),
                                         a(name("www.example"), 1), a(name("www.example"), 2),
                                         a(name("www.example"), 3), a(name("example"), 4)};
    for (const Octets& each : records) writer_.record(each);
    expect_owners(records, 0);
}

TEST_F(DnsWriter, WhatWasTakenBackIsNotPointedTo) {
    writer_.header(1, standard, 0);
    const std::vector<Octets> records = {a(name("www.example"), 1), a(name("elsewhere"), 2)};
    writer_.record(records[0]);
    writer_.rewind(voter::dns::header_len);
    writer_.record(records[0]);
    expect_owners({records[0]}, 0);
    writer_.rewind(voter::dns::header_len);
    for (const Octets& each : records) writer_.record(each);
    expect_owners(records, 0);
}

TEST_F(DnsWriter, NothingIsWrittenOnceSomethingDidNotFit) {
    writer_.header(1, standard, 0);
    writer_.limit(voter::dns::header_len + 20);
    writer_.record(a(name("www.example"), 1));
    EXPECT_FALSE(writer_.fits());
    const std::size_t stopped = writer_.position();
    EXPECT_LE(stopped, voter::dns::header_len + 20);
    writer_.opt(0, false);
    EXPECT_EQ(writer_.position(), stopped);
    writer_.rewind(voter::dns::header_len);
    writer_.opt(0, true);
    EXPECT_TRUE(writer_.fits());
    EXPECT_EQ(written(), message(1, standard, {}) + opt(1232, 0x8000));
}

}  // namespace
