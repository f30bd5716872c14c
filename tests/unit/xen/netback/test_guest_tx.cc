#include <gtest/gtest.h>

#include "tests/unit/xen/netback/frontend.hh"

namespace xen::netback {
namespace {

using tests::tx_request;

class GuestTxTest : public testing::Test {
  protected:
    GuestTxTest() { tx_.begin(front_.page(), &shadow_); }

    unsigned take(unsigned room = 1024) {
        frames_ = {};
        return tx_.take(frames_, room);
    }
    void answer_all(unsigned count, bool arrived = true) {
        for (unsigned i = 0; i < count; ++i) tx_.answer(frames_[i], arrived);
        tx_.publish();
    }
    // A frame of these requests is taken for a violation, for good, and nothing is taken of it.
    void expect_broken(Violation violation) {
        front_.publish();
        EXPECT_EQ(take(), 0u);
        EXPECT_EQ(tx_.broken(), violation) << text_of(tx_.broken()).name;
        EXPECT_EQ(shadow_.taken, 0u);
        EXPECT_EQ(take(), 0u);
        EXPECT_FALSE(tx_.arm());
    }

    tests::FrontRing<TxRing> front_;
    RingShadow<TxRing> shadow_{};
    GuestTx tx_;
    std::array<FrameFromGuest, 300> frames_{};
};

TEST_F(GuestTxTest, AFrameOfOnePiece) {
    front_.put(tx_request(8, 100, 60, NETTXF_csum_blank | NETTXF_data_validated, 7));
    EXPECT_EQ(take(), 0u) << "not published yet";
    front_.publish();
    ASSERT_EQ(take(), 1u);
    EXPECT_EQ(frames_[0].length, 60);
    EXPECT_EQ(frames_[0].pieces_count, 1);
    EXPECT_EQ(frames_[0].pieces[0].grant, 8u);
    EXPECT_EQ(frames_[0].pieces[0].offset, 100);
    EXPECT_EQ(frames_[0].pieces[0].length, 60);
    EXPECT_TRUE(frames_[0].checksum_blank);
    EXPECT_TRUE(frames_[0].checksum_validated);
    tx_.answer(frames_[0], true);
    EXPECT_TRUE(front_.responses().empty()) << "not published yet";
    EXPECT_TRUE(tx_.publish()) << "the frontend waits for it";
    const auto responses = front_.responses();
    ASSERT_EQ(responses.size(), 1u);
    EXPECT_EQ(responses[0].id, 7);
    EXPECT_EQ(responses[0].status, NETIF_RSP_OKAY);
}

TEST_F(GuestTxTest, TheFirstPieceIsWhatTheOthersLeave) {
    front_.put(tx_request(8, 4000, 5000, NETTXF_more_data, 1));
    front_.put(tx_request(9, 0, 4096, NETTXF_more_data, 2));
    front_.put(tx_request(10, 0, 808, 0, 3));
    front_.publish();
    ASSERT_EQ(take(), 1u);
    EXPECT_EQ(frames_[0].length, 5000);
    EXPECT_EQ(frames_[0].pieces_count, 3);
    EXPECT_EQ(frames_[0].pieces[0].length, 96);
    answer_all(1, false);
    const auto responses = front_.responses();
    ASSERT_EQ(responses.size(), 3u);
    for (unsigned i = 0; i < 3; ++i) {
        EXPECT_EQ(responses[i].id, i + 1);
        EXPECT_EQ(responses[i].status, NETIF_RSP_ERROR);
    }
}

TEST_F(GuestTxTest, SegmentationTravelsInAnExtraSlotThatIsAnsweredWithNull) {
    front_.put(tx_request(8, 0, 3000, NETTXF_more_data | NETTXF_extra_info, 1));
    front_.put_extra(tests::segmentation_extra(1448));
    front_.put(tx_request(9, 0, 1000, 0, 3));
    front_.publish();
    ASSERT_EQ(take(), 1u);
    EXPECT_EQ(frames_[0].segmentation.type, XEN_NETIF_GSO_TYPE_TCPV4);
    EXPECT_EQ(frames_[0].segmentation.size, 1448);
    EXPECT_EQ(frames_[0].requests, 3);
    EXPECT_EQ(frames_[0].pieces_count, 2);
    EXPECT_EQ(frames_[0].pieces[0].length, 2000);
    EXPECT_EQ(frames_[0].pieces[1].grant, 9u);
    answer_all(1);
    const auto responses = front_.responses();
    ASSERT_EQ(responses.size(), 3u);
    EXPECT_EQ(responses[0].status, NETIF_RSP_OKAY);
    EXPECT_EQ(responses[1].status, NETIF_RSP_NULL);
    EXPECT_EQ(responses[2].status, NETIF_RSP_OKAY);
    EXPECT_EQ(responses[2].id, 3);
}

TEST_F(GuestTxTest, EighteenPiecesAreAFrameAndNineteenAreNot) {
    for (unsigned i = 0; i < 18; ++i) {
        const unsigned size = i == 0 ? 18 * 100 : 100;
        front_.put(tx_request(8 + i, 0, size, i < 17 ? NETTXF_more_data : 0, i));
    }
    front_.publish();
    ASSERT_EQ(take(), 1u);
    EXPECT_EQ(frames_[0].pieces_count, 18);
    answer_all(1);
    for (unsigned i = 0; i < 19; ++i) {
        const unsigned size = i == 0 ? 19 * 100 : 100;
        front_.put(tx_request(8 + i, 0, size, i < 18 ? NETTXF_more_data : 0, i));
    }
    front_.publish();
    EXPECT_EQ(take(), 0u);
    EXPECT_EQ(tx_.broken(), Violation::slots_exceeded);
}

TEST_F(GuestTxTest, MulticastAddressesAreKeptAndForgotten) {
    const auto add = [&](std::uint8_t type, std::uint8_t last) {
        front_.put(tx_request(0, 0, 0, NETTXF_extra_info, 5));
        front_.put_extra(tests::multicast_extra(type, last));
        front_.publish();
        ASSERT_EQ(take(), 1u);
        EXPECT_EQ(frames_[0].pieces_count, 0);
        answer_all(1);
        EXPECT_EQ(front_.responses().size(), 2u);
    };
    const std::array<std::uint8_t, 6> one{0x33, 0x33, 0, 0, 0, 1};
    EXPECT_FALSE(tx_.wants_multicast(one.data()));
    add(XEN_NETIF_EXTRA_TYPE_MCAST_ADD, 1);
    add(XEN_NETIF_EXTRA_TYPE_MCAST_ADD, 1);
    EXPECT_TRUE(tx_.wants_multicast(one.data()));
    add(XEN_NETIF_EXTRA_TYPE_MCAST_DEL, 1);
    EXPECT_FALSE(tx_.wants_multicast(one.data()));
}

TEST_F(GuestTxTest, TooManyMulticastAddresses) {
    for (unsigned i = 0; i < multicast_addresses_max + 1; ++i) {
        front_.put(tx_request(0, 0, 0, NETTXF_extra_info, 5));
        front_.put_extra(
            tests::multicast_extra(XEN_NETIF_EXTRA_TYPE_MCAST_ADD, static_cast<std::uint8_t>(i)));
    }
    front_.publish();
    EXPECT_EQ(take(), multicast_addresses_max);
    EXPECT_EQ(tx_.broken(), Violation::extra_info_invalid);
}

TEST_F(GuestTxTest, StopsWhereTheRoomEndsAndGoesOnLater) {
    for (unsigned i = 0; i < 40; ++i) front_.put(tx_request(8, 0, 60, 0, i));
    front_.publish();
    EXPECT_EQ(take(18 + 9), 10u);
    answer_all(10);
    EXPECT_EQ(take(17), 0u);
    EXPECT_EQ(take(), 30u);
    answer_all(30);
    EXPECT_EQ(front_.responses().size(), 40u);
}

TEST_F(GuestTxTest, ARingThatWrapsManyTimes) {
    for (unsigned round = 0; round < 100; ++round) {
        for (unsigned i = 0; i < 41; ++i) front_.put(tx_request(8, 0, 60, 0, round + i));
        front_.publish();
        ASSERT_EQ(take(), 41u);
        answer_all(41);
        const auto responses = front_.responses();
        ASSERT_EQ(responses.size(), 41u);
        EXPECT_EQ(responses[40].id, round + 40);
    }
}

TEST_F(GuestTxTest, AFullRing) {
    for (unsigned i = 0; i < 256; ++i) front_.put(tx_request(8, 0, 60, 0, i));
    front_.publish();
    EXPECT_EQ(take(), 256u);
    answer_all(256);
    EXPECT_EQ(front_.responses().size(), 256u);
}

TEST_F(GuestTxTest, AProducerTooFarAhead) {
    front_.shared().req_prod = 257;
    EXPECT_EQ(take(), 0u);
    EXPECT_EQ(tx_.broken(), Violation::ring_overflow);
}

TEST_F(GuestTxTest, AProducerThatGoesBack) {
    for (unsigned i = 0; i < 3; ++i) front_.put(tx_request(8, 0, 60));
    front_.publish();
    ASSERT_EQ(take(), 3u);
    answer_all(3);
    front_.shared().req_prod = 1;
    EXPECT_EQ(take(), 0u);
    EXPECT_EQ(tx_.broken(), Violation::ring_overflow);
}

TEST_F(GuestTxTest, ARingRefilledBeforeItWasAnswered) {
    for (unsigned i = 0; i < 256; ++i) front_.put(tx_request(8, 0, 60, 0, i));
    front_.publish();
    ASSERT_EQ(take(), 256u);
    front_.shared().req_prod = 257;
    EXPECT_EQ(take(), 0u);
    EXPECT_EQ(tx_.broken(), Violation::ring_overflow);
}

TEST_F(GuestTxTest, AFrameWhoseRestIsMissing) {
    front_.put(tx_request(8, 0, 120, NETTXF_more_data));
    expect_broken(Violation::frame_cut);
}

TEST_F(GuestTxTest, ExtraInformationThatIsMissing) {
    front_.put(tx_request(8, 0, 120, NETTXF_extra_info));
    expect_broken(Violation::frame_cut);
}

TEST_F(GuestTxTest, ExtraInformationWithoutEnd) {
    front_.put(tx_request(8, 0, 120, NETTXF_extra_info));
    for (unsigned i = 0; i < 100; ++i) front_.put_extra(tests::segmentation_extra(1448, true));
    expect_broken(Violation::extra_info_invalid);
}

TEST_F(GuestTxTest, ExtraInformationOfUnknownType) {
    for (const unsigned type : {0u, 5u, 255u}) {
        tests::FrontRing<TxRing> front;
        RingShadow<TxRing> shadow{};
        GuestTx tx;
        tx.begin(front.page(), &shadow);
        front.put(tx_request(8, 0, 120, NETTXF_extra_info));
        netif_extra_info extra{};
        extra.type = static_cast<std::uint8_t>(type);
        front.put_extra(extra);
        front.publish();
        EXPECT_EQ(tx.take(frames_, 100), 0u);
        EXPECT_EQ(tx.broken(), Violation::extra_info_invalid) << type;
    }
}

TEST_F(GuestTxTest, SegmentsOfNothing) {
    front_.put(tx_request(8, 0, 120, NETTXF_extra_info));
    front_.put_extra(tests::segmentation_extra(0));
    expect_broken(Violation::extra_info_invalid);
}

TEST_F(GuestTxTest, APieceThatEndsPastItsPage) {
    front_.put(tx_request(8, 4000, 97));
    expect_broken(Violation::crosses_page);
}

TEST_F(GuestTxTest, AnOffsetPastThePage) {
    front_.put(tx_request(8, 65535, 60));
    expect_broken(Violation::crosses_page);
}

TEST_F(GuestTxTest, ALaterPieceThatEndsPastItsPage) {
    front_.put(tx_request(8, 0, 200, NETTXF_more_data));
    front_.put(tx_request(9, 4090, 100));
    expect_broken(Violation::crosses_page);
}

TEST_F(GuestTxTest, PiecesLongerThanTheFrame) {
    front_.put(tx_request(8, 0, 100, NETTXF_more_data));
    front_.put(tx_request(9, 0, 101));
    expect_broken(Violation::sizes_disagree);
}

TEST_F(GuestTxTest, NothingLeftForTheFirstPiece) {
    front_.put(tx_request(8, 0, 100, NETTXF_more_data));
    front_.put(tx_request(9, 0, 100));
    expect_broken(Violation::sizes_disagree);
}

TEST_F(GuestTxTest, AnEmptyPiece) {
    front_.put(tx_request(8, 0, 100, NETTXF_more_data));
    front_.put(tx_request(9, 0, 0));
    expect_broken(Violation::sizes_disagree);
}

TEST_F(GuestTxTest, AFrameShorterThanItsHeader) {
    front_.put(tx_request(8, 0, 13));
    expect_broken(Violation::frame_too_short);
}

TEST_F(GuestTxTest, WhatIsCheckedIsWhatIsUsed) {
    front_.put(tx_request(8, 0, 60, 0, 1));
    front_.publish();
    ASSERT_EQ(take(), 1u);
    front_.entry(0).req = tx_request(9, 4095, 65535, 0, 2);  // changed after the look
    answer_all(1);
    EXPECT_EQ(frames_[0].pieces[0].grant, 8u);
    EXPECT_EQ(front_.responses()[0].id, 1) << "the id comes from the copy, too";
}

TEST_F(GuestTxTest, ASleeperIsToldWhatWaits) {
    EXPECT_FALSE(tx_.arm());
    EXPECT_EQ(front_.shared().req_event, 1u);
    front_.put(tx_request(8, 0, 60));
    front_.publish();
    EXPECT_TRUE(tx_.arm());
}

// A process that takes three frames, answers two, and is killed before it publishes: the slots of
// the first two hold responses by then.
TEST_F(GuestTxTest, ASuccessorTakesWhatWasNotPublished) {
    for (unsigned i = 0; i < 5; ++i) front_.put(tx_request(8 + i, 0, 60, 0, 20 + i));
    front_.publish();
    ASSERT_EQ(tx_.take(std::span(frames_).first(1), 100), 1u);
    answer_all(1);
    ASSERT_EQ(tx_.take(std::span(frames_).first(3), 100), 3u);
    tx_.answer(frames_[0], true);
    tx_.answer(frames_[1], false);

    GuestTx successor;
    ASSERT_EQ(successor.adopt(front_.page(), &shadow_), Violation::none);
    const unsigned count = successor.take(frames_, 1024);
    ASSERT_EQ(count, 4u) << "three from the shadow, one from the ring";
    for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(frames_[i].pieces[0].grant, 9 + i);
    for (unsigned i = 0; i < 4; ++i) successor.answer(frames_[i], true);
    successor.publish();
    const auto responses = front_.responses();
    ASSERT_EQ(responses.size(), 5u);
    for (unsigned i = 0; i < 5; ++i) EXPECT_EQ(responses[i].id, 20 + i);
}

// Killed between telling the shadow and telling the ring, and the other way round.
TEST_F(GuestTxTest, ASuccessorOfOneThatWasPublishing) {
    for (unsigned i = 0; i < 2; ++i) front_.put(tx_request(8, 0, 60, 0, i));
    front_.publish();
    ASSERT_EQ(take(), 2u);
    tx_.answer(frames_[0], true);
    tx_.answer(frames_[1], true);
    shadow_.publishing = 2;
    GuestTx before;
    RingShadow<TxRing> copy = shadow_;
    ASSERT_EQ(before.adopt(front_.page(), &copy), Violation::none);
    EXPECT_EQ(before.take(frames_, 100), 2u) << "not published: again";

    front_.shared().rsp_prod = 2;
    GuestTx after;
    ASSERT_EQ(after.adopt(front_.page(), &shadow_), Violation::none);
    EXPECT_EQ(after.take(frames_, 100), 0u) << "published: done";
}

TEST_F(GuestTxTest, AFrontendThatWritesOverOurIndexIsNotBelieved) {
    for (unsigned i = 0; i < 3; ++i) front_.put(tx_request(8, 0, 60, 0, i));
    front_.publish();
    ASSERT_EQ(take(), 3u);
    answer_all(3);
    front_.shared().rsp_prod = 1;
    GuestTx successor;
    EXPECT_EQ(successor.adopt(front_.page(), &shadow_), Violation::ring_state_changed);
}

}  // namespace
}  // namespace xen::netback
