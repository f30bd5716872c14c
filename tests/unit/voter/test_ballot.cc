// Ballot bookkeeping by example; tests/exhaustive has every order.
#include <gtest/gtest.h>

#include "voter/ballot.hh"

namespace {

using namespace voter;

constexpr ReplicaId slot(unsigned n) { return ReplicaId{static_cast<std::uint8_t>(n)}; }

Likeness never(ReplicaId) { return Likeness::different; }
Likeness always(ReplicaId) { return Likeness::identical; }

TEST(SlotSet, SizeIsTheNumberOfItsMembers) {
    for (unsigned bits = 0; bits < 256; ++bits) {
        unsigned members = 0;
        SlotSet::from_bits(bits).for_each([&](ReplicaId) { ++members; });
        EXPECT_EQ(SlotSet::from_bits(bits).size(), members) << bits;
    }
}

TEST(Ballot, QuorumDecidesAndTheThirdIsLate) {
    Ballot ballot(SlotSet::first(3), Rules{});
    EXPECT_EQ(ballot.cast(slot(0), always), Outcome::first);
    EXPECT_EQ(ballot.verdict(), Verdict::open);
    EXPECT_EQ(ballot.cast(slot(2), always), Outcome::identical);
    EXPECT_EQ(ballot.verdict(), Verdict::agreed);
    EXPECT_EQ(ballot.cast(slot(1), never), Outcome::dissent_late);
    EXPECT_EQ(ballot.dissenters(), SlotSet::of(slot(1)));
    EXPECT_TRUE(ballot.complete());
}

TEST(Ballot, ThreeDifferentRepliesSplitAndAccuseNobody) {
    Ballot ballot(SlotSet::first(3), Rules{});
    ballot.cast(slot(0), never);
    ballot.cast(slot(1), never);
    EXPECT_EQ(ballot.verdict(), Verdict::open);
    ballot.cast(slot(2), never);
    EXPECT_EQ(ballot.verdict(), Verdict::split);
    EXPECT_TRUE(ballot.dissenters().empty());
    EXPECT_TRUE(ballot.silent().empty());
}

TEST(Ballot, OneReplyAloneExpiresAndAccusesNobody) {
    Ballot ballot(SlotSet::first(3), Rules{});
    ballot.cast(slot(1), never);
    ballot.expire();
    EXPECT_EQ(ballot.verdict(), Verdict::expired);
    EXPECT_TRUE(ballot.silent().empty());
}

TEST(Ballot, ReleaseAllWaitsForTheLastOrTheDeadline) {
    Ballot ballot(SlotSet::first(3), Rules{2, Release::all});
    ballot.cast(slot(0), always);
    ballot.cast(slot(1), always);
    EXPECT_EQ(ballot.verdict(), Verdict::open);
    ballot.expire();
    EXPECT_EQ(ballot.verdict(), Verdict::agreed);
    EXPECT_EQ(ballot.silent(), SlotSet::of(slot(2)));
}

TEST(Ballot, SecondReplyOfASlotIsNotCounted) {
    Ballot ballot(SlotSet::first(3), Rules{});
    ballot.cast(slot(0), always);
    EXPECT_EQ(ballot.cast(slot(0), always), Outcome::twice);
    EXPECT_EQ(ballot.verdict(), Verdict::open);
}

TEST(Ballot, WithdrawnVoteNoLongerCountsAndItsBytesAreReplaced) {
    Ballot ballot(SlotSet::first(5), Rules{3, Release::quorum});
    ballot.cast(slot(0), never);
    ballot.cast(slot(1), [](ReplicaId) { return Likeness::same; });
    ballot.withdraw(slot(0));
    EXPECT_EQ(ballot.camp(0).holder, slot(1));
    EXPECT_EQ(ballot.cast(slot(0), always), Outcome::stranger);
    ballot.cast(slot(2), always);
    EXPECT_EQ(ballot.verdict(), Verdict::open);
    ballot.cast(slot(3), always);
    EXPECT_EQ(ballot.verdict(), Verdict::agreed);
}

TEST(Ballot, NothingIsHeldAgainstASlotWithdrawnAfterTheDecision) {
    Ballot ballot(SlotSet::first(3), Rules{});
    ballot.cast(slot(0), never);
    ballot.cast(slot(1), never);
    ballot.cast(slot(2), [](ReplicaId holder) {
        return holder == slot(0) ? Likeness::identical : Likeness::different;
    });
    EXPECT_EQ(ballot.dissenters(), SlotSet::of(slot(1)));
    ballot.withdraw(slot(1));
    EXPECT_TRUE(ballot.dissenters().empty());
    EXPECT_EQ(ballot.verdict(), Verdict::agreed);
}

TEST(Ballot, AfterASplitAVoteIsHeardAndKeepsNothing) {
    Ballot ballot(SlotSet::first(5), Rules{3, Release::quorum});
    for (unsigned i = 0; i < 4; ++i) ballot.cast(slot(i), never);
    EXPECT_EQ(ballot.verdict(), Verdict::split);
    EXPECT_EQ(ballot.cast(slot(4), always), Outcome::too_late);
    EXPECT_EQ(ballot.kept(), SlotSet::first(4));
    EXPECT_TRUE(ballot.complete());
}

TEST(Ballot, WithdrawingAWholeCampLeavesTheOthersInOrder) {
    Ballot ballot(SlotSet::first(7), Rules{2, Release::all});
    for (unsigned i = 0; i < 3; ++i) ballot.cast(slot(i), never);
    ballot.withdraw(slot(0));
    ASSERT_EQ(ballot.camps(), 2u);
    EXPECT_EQ(ballot.camp(0).holder, slot(1));
    EXPECT_EQ(ballot.camp(1).holder, slot(2));
}

}  // namespace
