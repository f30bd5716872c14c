#include <gtest/gtest.h>

#include "tests/unit/xen/netback/frontend.hh"

namespace xen::netback {
namespace {

class GuestRxTest : public testing::Test {
  protected:
    void begin(const RxFeatures& features = {}) { rx_.begin(front_.page(), &shadow_, features); }
    void post(unsigned count) {
        for (unsigned i = 0; i < count; ++i) {
            front_.put(tests::rx_request(100 + front_.prepared(), front_.prepared()));
        }
        front_.publish();
    }

    tests::FrontRing<RxRing> front_;
    RingShadow<RxRing> shadow_{};
    GuestRx rx_;
    FrameToGuest frame_{};
};

TEST_F(GuestRxTest, AFrameInOnePage) {
    begin();
    EXPECT_EQ(rx_.take(60, {}, frame_), Room::none_now);
    post(1);
    ASSERT_EQ(rx_.take(60, {}, frame_), Room::taken);
    EXPECT_EQ(frame_.pieces_count, 1);
    EXPECT_EQ(frame_.pieces[0].grant, 100u);
    EXPECT_EQ(frame_.pieces[0].offset, 0);
    EXPECT_EQ(frame_.pieces[0].length, 60);
    EXPECT_EQ(rx_.take(60, {}, frame_), Room::none_now);
    rx_.answer(frame_, true, true);
    EXPECT_TRUE(rx_.publish());
    const auto responses = front_.responses();
    ASSERT_EQ(responses.size(), 1u);
    EXPECT_EQ(responses[0].id, 0);
    EXPECT_EQ(responses[0].offset, 0);
    EXPECT_EQ(responses[0].status, 60);
    EXPECT_EQ(responses[0].flags, NETRXF_data_validated);
}

TEST_F(GuestRxTest, BytesThatDidNotArriveAreAnError) {
    begin();
    post(1);
    ASSERT_EQ(rx_.take(60, {}, frame_), Room::taken);
    rx_.answer(frame_, false, false);
    rx_.publish();
    EXPECT_EQ(front_.responses()[0].status, NETIF_RSP_ERROR);
}

TEST_F(GuestRxTest, WithoutScatterGatherAFrameIsOnePage) {
    begin();
    post(4);
    EXPECT_EQ(rx_.take(4096, {}, frame_), Room::taken);
    EXPECT_EQ(rx_.take(4097, {}, frame_), Room::never);
    EXPECT_EQ(rx_.take(0, {}, frame_), Room::never);
}

TEST_F(GuestRxTest, AFrameOverSeveralPages) {
    begin({.scatter_gather = true});
    post(3);
    ASSERT_EQ(rx_.take(9000, {}, frame_), Room::taken);
    ASSERT_EQ(frame_.pieces_count, 3);
    EXPECT_EQ(frame_.pieces[0].length, 4096);
    EXPECT_EQ(frame_.pieces[1].length, 4096);
    EXPECT_EQ(frame_.pieces[2].length, 9000 - 8192);
    rx_.answer(frame_, true, false);
    rx_.publish();
    const auto responses = front_.responses();
    ASSERT_EQ(responses.size(), 3u);
    EXPECT_EQ(responses[0].flags, NETRXF_more_data);
    EXPECT_EQ(responses[1].flags, NETRXF_more_data);
    EXPECT_EQ(responses[2].flags, 0);
    EXPECT_EQ(responses[2].status, 9000 - 8192);
}

TEST_F(GuestRxTest, TheLargestFrameTakesSixteenPages) {
    begin({.scatter_gather = true});
    post(16);
    ASSERT_EQ(rx_.take(65535, {}, frame_), Room::taken);
    EXPECT_EQ(frame_.pieces_count, 16);
}

TEST_F(GuestRxTest, SegmentationTakesAnExtraSlot) {
    begin({.scatter_gather = true, .segmentation_v4 = true});
    post(3);
    ASSERT_EQ(rx_.take(5000, {XEN_NETIF_GSO_TYPE_TCPV4, 1448}, frame_), Room::taken);
    ASSERT_EQ(frame_.pieces_count, 2);
    EXPECT_EQ(frame_.pieces[0].grant, 100u);
    EXPECT_EQ(frame_.pieces[1].grant, 102u) << "the page of the extra slot is not used";
    rx_.answer(frame_, true, false);
    rx_.publish();
    const auto first = front_.entry(0).rsp;
    EXPECT_EQ(first.flags,
              NETRXF_more_data | NETRXF_extra_info | NETRXF_csum_blank | NETRXF_data_validated);
    netif_extra_info extra;
    std::memcpy(&extra, &front_.entry(1), sizeof extra);
    EXPECT_EQ(extra.type, XEN_NETIF_EXTRA_TYPE_GSO);
    EXPECT_EQ(extra.u.gso.size, 1448);
    EXPECT_EQ(extra.u.gso.type, XEN_NETIF_GSO_TYPE_TCPV4);
    EXPECT_EQ(front_.entry(2).rsp.id, 2);
    EXPECT_EQ(rx_.take(5000, {XEN_NETIF_GSO_TYPE_TCPV6, 1448}, frame_), Room::never);
}

TEST_F(GuestRxTest, HeadroomIsLeftFree) {
    begin({.headroom = 256});
    post(2);
    ASSERT_EQ(rx_.take(1500, {}, frame_), Room::taken);
    EXPECT_EQ(frame_.pieces[0].offset, 256);
    rx_.answer(frame_, true, false);
    rx_.publish();
    EXPECT_EQ(front_.responses()[0].offset, 256);
    EXPECT_EQ(rx_.take(4000, {}, frame_), Room::never);
}

TEST_F(GuestRxTest, AProducerTooFarAhead) {
    begin();
    front_.shared().req_prod = 300;
    EXPECT_EQ(rx_.take(60, {}, frame_), Room::none_now);
    EXPECT_EQ(rx_.broken(), Violation::ring_overflow);
    front_.shared().req_prod = 1;
    EXPECT_EQ(rx_.take(60, {}, frame_), Room::none_now) << "for good";
}

// Killed after the response was written and before it was published: the page's grant is gone from
// the slot, and is taken from the shadow.
TEST_F(GuestRxTest, ASuccessorKnowsThePagesThatWereNotPublished) {
    begin();
    post(3);
    ASSERT_EQ(rx_.take(60, {}, frame_), Room::taken);
    rx_.answer(frame_, true, false);
    rx_.publish();
    ASSERT_EQ(rx_.take(70, {}, frame_), Room::taken);
    rx_.answer(frame_, true, false);  // and killed

    GuestRx successor;
    ASSERT_EQ(successor.adopt(front_.page(), &shadow_, {}), Violation::none);
    ASSERT_EQ(successor.take(80, {}, frame_), Room::taken);
    EXPECT_EQ(frame_.pieces[0].grant, 101u);
    successor.answer(frame_, true, false);
    ASSERT_EQ(successor.take(90, {}, frame_), Room::taken);
    EXPECT_EQ(frame_.pieces[0].grant, 102u);
    successor.answer(frame_, true, false);
    successor.publish();
    const auto responses = front_.responses();
    ASSERT_EQ(responses.size(), 3u);
    EXPECT_EQ(responses[1].id, 1);
    EXPECT_EQ(responses[1].status, 80);
    EXPECT_EQ(responses[2].status, 90);
}

// Killed once more, before the second of two such pages was taken again: its grant is nowhere but
// in the shadow.
TEST_F(GuestRxTest, ASuccessorsSuccessorKnowsThemToo) {
    begin();
    post(3);
    for (unsigned i = 0; i < 2; ++i) {
        ASSERT_EQ(rx_.take(60, {}, frame_), Room::taken);
        rx_.answer(frame_, true, false);
    }
    GuestRx successor;
    ASSERT_EQ(successor.adopt(front_.page(), &shadow_, {}), Violation::none);
    ASSERT_EQ(successor.take(70, {}, frame_), Room::taken);
    successor.answer(frame_, true, false);
    successor.publish();

    GuestRx last;
    ASSERT_EQ(last.adopt(front_.page(), &shadow_, {}), Violation::none);
    for (const grant_ref_t grant : {101u, 102u}) {
        ASSERT_EQ(last.take(80, {}, frame_), Room::taken);
        EXPECT_EQ(frame_.pieces[0].grant, grant);
        last.answer(frame_, true, false);
    }
    last.publish();
    EXPECT_EQ(front_.responses().size(), 3u);
}

// Pages that a predecessor took are not owed to the guest by who has not taken them again.
TEST_F(GuestRxTest, ASuccessorOwesNothingForWhatItHasNotTaken) {
    begin();
    post(3);
    ASSERT_EQ(rx_.take(60, {}, frame_), Room::taken);
    EXPECT_EQ(shadow_.taken - shadow_.published, 1u);
    GuestRx successor;
    ASSERT_EQ(successor.adopt(front_.page(), &shadow_, {}), Violation::none);
    EXPECT_EQ(shadow_.taken - shadow_.published, 0u);
}

TEST(CopyBatch, OneRunForAllAndEachGrantByItself) {
    tests::Grants guest;
    const grant_ref_t good = guest.grant();
    const grant_ref_t gone = guest.grant();
    guest.revoke(gone);
    std::memset(guest.bytes(good), 0x5a, 64);
    CopyBatch batch;
    std::array<std::byte, 64> in{};
    std::array<std::byte, 64> out{};
    const unsigned first = batch.from_guest(3, {good, 0, 64}, in.data());
    const unsigned second = batch.from_guest(3, {gone, 0, 64}, out.data());
    EXPECT_EQ(batch.run(guest.copier()), 0);
    EXPECT_TRUE(batch.arrived(first));
    EXPECT_TRUE(batch.refused(second));
    EXPECT_EQ(in[63], std::byte{0x5a});
    EXPECT_EQ(batch.runs(), 1u);
    EXPECT_EQ(batch.segments(), 2u);

    batch.clear();
    guest.fail_with = ENOMEM;
    const unsigned third = batch.to_guest(3, {good, 0, 64}, out.data());
    EXPECT_EQ(batch.run(guest.copier()), ENOMEM);
    EXPECT_FALSE(batch.arrived(third));
    EXPECT_FALSE(batch.refused(third)) << "not the guest's fault";
}

}  // namespace
}  // namespace xen::netback
