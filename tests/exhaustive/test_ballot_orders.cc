// Every order in which the replies of n replicas can come, against the model voter.
//
// A run is a list of events: a slot's reply, the deadline (once, or never), the withdrawal of a
// slot. The tests walk the tree of all lists, one ballot per node, and check at every node, so that
// the point of release is right as well as the end. How the walk covers what it should:
//  - same, own lie, colluding lie: a reply says what some earlier one said (with the same bytes, or
//    with others that agree), or something new. All these choices, at each reply, are all ways in
//    which replies can agree and be identical; to the ballot a lie is just another meaning.
//  - missing: a list may end anywhere. Late: the deadline and the decision may lie anywhere.
//  - twice: at every node every slot that was heard speaks again, with every content, and a slot
//    that was not asked speaks too. None of that may change anything that can be seen; so a list
//    with repetitions is worth the list without them.
//  - withdrawn: any slot, at any point, before or after its reply; how many of them is limited
//    where the tree would be too large (below).
// For n = 7 the replies come in the order of the slots, once upwards and once downwards: renaming
// the slots of a list renames them in the result, but for one place. Where a camp has lost whose
// bytes were kept, the lowest member speaks for it, which is the first that came or the last in the
// two directions, and any in between only for n up to 5, which has every order.
#include <algorithm>
#include <array>
#include <cstring>
#include <iostream>
#include <string>
#include <type_traits>

#include <gtest/gtest.h>

#include "tests/exhaustive/model_voter.hh"

namespace {

using namespace voter;
using exhaustive::Event;
using exhaustive::Expected;
using exhaustive::ModelVoter;
using exhaustive::Reply;
using Kind = Event::Kind;

constexpr std::size_t events_max = 16;
constexpr ReplicaId id(unsigned slot) { return ReplicaId{static_cast<std::uint8_t>(slot)}; }

enum class Order { any, upwards, downwards };

class Walk {
  public:
    Walk(unsigned slots, Rules rules, unsigned withdrawals_max, Order order)
        : slots_(slots),
          withdrawals_max_(withdrawals_max),
          order_(order),
          rules_(rules),
          model_(slots, rules) {}

    void run() { visit(Ballot(SlotSet::first(slots_), rules_), SlotSet{}); }
    std::uint64_t nodes() const { return nodes_; }
    std::uint64_t decided() const { return decided_; }

  private:
    // --- The tree ---

    void visit(const Ballot& ballot, SlotSet kept) {
        if (testing::Test::HasFailure()) return;
        ++nodes_;
        const Expected expected = model_.judge(events());
        check(ballot, kept, expected);
        check_repetitions(ballot);
        for_each_speaker([&](unsigned slot) {
            for_each_content(ballot, slot,
                             [&](Reply reply) { speak(ballot, kept, slot, reply, expected); });
        });
        if (!has(Kind::deadline)) {
            Ballot next = ballot;
            next.expire();
            descend({Kind::deadline, 0, {}}, next, kept);
        }
        if (count(Kind::withdrawal) == withdrawals_max_) return;
        for (unsigned slot = 0; slot < slots_; ++slot) {
            if (ModelVoter::withdrawn(events(), slot)) continue;
            Ballot next = ballot;
            next.withdraw(id(slot));
            descend({Kind::withdrawal, static_cast<std::uint8_t>(slot), {}}, next, kept);
        }
    }

    void speak(const Ballot& ballot, SlotSet kept, unsigned slot, Reply reply,
               const Expected& before) {
        Ballot next = ballot;
        const Outcome outcome = cast(next, slot, reply);
        const bool stranger = ModelVoter::withdrawn(events(), slot);
        switch (outcome) {
            case Outcome::first:
                EXPECT_FALSE(stranger || said_before(reply.meaning)) << text();
                EXPECT_EQ(before.verdict, Verdict::open) << text();
                kept.insert(id(slot));
                break;
            case Outcome::same:
            case Outcome::identical:
                EXPECT_TRUE(!stranger && said_before(reply.meaning)) << text();
                EXPECT_EQ(before.verdict, Verdict::open) << text();
                EXPECT_EQ(outcome == Outcome::identical, compared_identical_) << text();
                if (outcome == Outcome::same) kept.insert(id(slot));
                break;
            case Outcome::agreed_late:
            case Outcome::dissent_late:
                EXPECT_FALSE(stranger) << text();
                EXPECT_EQ(before.verdict, Verdict::agreed) << text();
                EXPECT_EQ(outcome == Outcome::agreed_late, reply.meaning == before.meaning)
                    << text();
                break;
            case Outcome::too_late:
                EXPECT_FALSE(stranger) << text();
                EXPECT_TRUE(before.verdict == Verdict::split || before.verdict == Verdict::expired)
                    << text();
                break;
            case Outcome::stranger:
                EXPECT_TRUE(stranger) << text();
                break;
            case Outcome::twice:
                ADD_FAILURE() << "it has not spoken yet: " << text();
                break;
        }
        descend({Kind::reply, static_cast<std::uint8_t>(slot), reply}, next, kept);
    }

    void descend(Event event, const Ballot& next, SlotSet kept) {
        events_[events_count_++] = event;
        visit(next, kept);
        --events_count_;
    }

    template <class Visit>
    void for_each_speaker(Visit&& visit) {
        if (order_ == Order::any) {
            for (unsigned slot = 0; slot < slots_; ++slot) {
                if (!spoken(slot)) visit(slot);
            }
            return;
        }
        const unsigned next = count(Kind::reply);
        if (next < slots_) visit(order_ == Order::upwards ? next : slots_ - 1 - next);
    }

    // What was said before, that with other bytes, or something new. After the decision a reply is
    // compared with the winner's kept one or with none (cast() checks it), so nothing else matters.
    template <class Visit>
    void for_each_content(const Ballot& ballot, unsigned slot, Visit&& visit) {
        std::array<std::uint8_t, replicas_max> variants{};
        std::uint8_t meanings = 0;
        for (const Event& event : events()) {
            if (event.kind != Kind::reply) continue;
            meanings = std::max<std::uint8_t>(meanings, event.reply.meaning + 1);
            auto& known = variants[event.reply.meaning];
            known = std::max<std::uint8_t>(known, event.reply.bytes + 1);
        }
        visit(Reply{meanings, 0});
        if (ModelVoter::withdrawn(events(), slot)) return;
        if (ballot.decided()) {
            if (ballot.verdict() != Verdict::agreed) return;
            const Reply held = first_reply(ballot.winner().holder.value)->reply;
            visit(held);
            visit(Reply{held.meaning, variants[held.meaning]});
            return;
        }
        for (std::uint8_t meaning = 0; meaning < meanings; ++meaning) {
            for (std::uint8_t bytes = 0; bytes <= variants[meaning]; ++bytes) {
                visit(Reply{meaning, bytes});
            }
        }
    }

    // --- What must hold ---

    void check(const Ballot& ballot, SlotSet kept, const Expected& expected) {
        ASSERT_EQ(ballot.verdict(), expected.verdict) << text();
        ASSERT_EQ(ballot.dissenters().bits(), expected.dissenters.bits()) << text();
        ASSERT_EQ(ballot.silent().bits(), expected.silent.bits()) << text();
        ASSERT_EQ(ballot.kept().bits(), kept.bits()) << text();
        bool complete = true;
        SlotSet counting;
        for (unsigned slot = 0; slot < slots_; ++slot) {
            if (ModelVoter::counting_reply(events(), slot) != nullptr) {
                counting.insert(id(slot));
            } else if (!ModelVoter::withdrawn(events(), slot)) {
                complete = false;
            }
        }
        ASSERT_EQ(ballot.complete(), complete) << text();
        ASSERT_EQ(ballot.voted().bits(), counting.bits()) << text();
        if (expected.verdict == Verdict::agreed) {
            ++decided_;
            ASSERT_EQ(ballot.winner().members.bits(), expected.supporters.bits()) << text();
            check_enough(ballot);
        }
        for (unsigned i = 0; i < ballot.camps(); ++i) check_camp(ballot.camp(i), kept);
        if (expected.verdict != Verdict::open) return;
        // While it is open the camps are all that counts, each slot in one of them.
        SlotSet in_camps;
        for (unsigned i = 0; i < ballot.camps(); ++i) {
            ASSERT_TRUE((in_camps & ballot.camp(i).members).empty()) << text();
            in_camps = in_camps | ballot.camp(i).members;
        }
        ASSERT_EQ(in_camps.bits(), counting.bits()) << text();
    }

    // The safety sentence, counted by hand: as many distinct slots, admitted when they spoke and
    // when it was decided, as the quorum asks for, sent what the winner sent.
    void check_enough(const Ballot& ballot) {
        const std::uint8_t meaning = first_reply(ballot.winner().holder.value)->reply.meaning;
        unsigned sent = 0;
        for (unsigned slot = 0; slot < slots_; ++slot) {
            const Event* reply = first_reply(slot);
            sent += reply != nullptr && reply->reply.meaning == meaning;
        }
        ASSERT_GE(sent, rules_.quorum) << text();
        ASSERT_GE(ballot.winner().members.size(), rules_.quorum) << text();
    }

    // All members agree, and for each of them bytes are kept: the holder's where they are the same,
    // else its own.
    void check_camp(const Ballot::Camp& camp, SlotSet kept) {
        ASSERT_FALSE(camp.members.empty()) << text();
        ASSERT_TRUE(kept.contains(camp.holder)) << text();
        ASSERT_TRUE((camp.identical - camp.members).empty()) << text();
        ASSERT_FALSE(camp.identical.empty()) << text();
        const Reply held = first_reply(camp.holder.value)->reply;
        camp.members.for_each([&](ReplicaId member) {
            const Reply reply = first_reply(member.value)->reply;
            EXPECT_EQ(reply.meaning, held.meaning) << text();
            if (camp.identical.contains(member)) {
                EXPECT_EQ(reply.bytes, held.bytes) << text();
            } else if (!joined_late(member.value)) {
                EXPECT_TRUE(kept.contains(member)) << text();
            }
        });
    }

    void check_repetitions(const Ballot& ballot) {
        for (unsigned slot = 0; slot <= slots_ && slot < replicas_max; ++slot) {
            const bool known = slot < slots_ && !ModelVoter::withdrawn(events(), slot);
            if (known && !spoken(slot)) continue;
            Ballot again = ballot;
            const auto never = [](ReplicaId) {
                ADD_FAILURE() << "compared";
                return Likeness::identical;
            };
            ASSERT_EQ(again.cast(id(slot), never), known ? Outcome::twice : Outcome::stranger)
                << text();
            if (!known) again.withdraw(id(slot));
            static_assert(std::has_unique_object_representations_v<Ballot>);
            ASSERT_EQ(std::memcmp(&again, &ballot, sizeof ballot), 0) << text();
        }
    }

    Outcome cast(Ballot& ballot, unsigned slot, Reply reply) {
        SlotSet compared;
        compared_identical_ = false;
        const bool decided = ballot.decided();
        return ballot.cast(id(slot), [&](ReplicaId holder) {
            EXPECT_FALSE(compared.contains(holder)) << "compared twice: " << text();
            EXPECT_TRUE(ballot.asked().contains(id(slot))) << text();
            if (decided) {
                EXPECT_EQ(ballot.verdict(), Verdict::agreed) << text();
                EXPECT_EQ(holder, ballot.winner().holder) << text();
            }
            compared.insert(holder);
            const Reply held = first_reply(holder.value)->reply;
            compared_identical_ = held == reply;
            if (compared_identical_) return Likeness::identical;
            return held.meaning == reply.meaning ? Likeness::same : Likeness::different;
        });
    }

    // --- The list ---

    std::span<const Event> events() const { return std::span(events_).first(events_count_); }
    unsigned count(Kind kind) const {
        return static_cast<unsigned>(std::ranges::count(events(), kind, &Event::kind));
    }
    bool has(Kind kind) const { return count(kind) > 0; }
    const Event* first_reply(unsigned slot) const {
        for (const Event& event : events()) {
            if (event.kind == Kind::reply && event.slot == slot) return &event;
        }
        return nullptr;
    }
    bool spoken(unsigned slot) const { return first_reply(slot) != nullptr; }
    // Does anybody who counts say this?
    bool said_before(std::uint8_t meaning) const {
        for (unsigned slot = 0; slot < slots_; ++slot) {
            const Event* reply = ModelVoter::counting_reply(events(), slot);
            if (reply != nullptr && reply->reply.meaning == meaning) return true;
        }
        return false;
    }
    bool joined_late(unsigned slot) const {
        const auto at = static_cast<std::size_t>(first_reply(slot) - events_.data());
        return model_.judge(events().first(at)).verdict == Verdict::agreed;
    }
    std::string text() const {
        std::string text = "n=" + std::to_string(slots_) +
                           " quorum=" + std::to_string(rules_.quorum) +
                           (rules_.release == Release::all ? " all:" : " quorum:");
        for (const Event& event : events()) {
            const std::string slot = std::to_string(event.slot);
            switch (event.kind) {
                case Kind::reply:
                    text += " " + slot + "=" + static_cast<char>('A' + event.reply.meaning) +
                            std::to_string(event.reply.bytes);
                    break;
                case Kind::deadline:
                    text += " deadline";
                    break;
                case Kind::withdrawal:
                    text += " -" + slot;
                    break;
            }
        }
        return text;
    }

    unsigned slots_;
    unsigned withdrawals_max_;
    Order order_;
    Rules rules_;
    ModelVoter model_;
    std::array<Event, events_max> events_{};
    std::size_t events_count_ = 0;
    bool compared_identical_ = false;
    std::uint64_t nodes_ = 0;
    std::uint64_t decided_ = 0;
};

void walk(unsigned slots, unsigned quorum, unsigned withdrawals_max, Order order = Order::any) {
    for (const Release release : {Release::quorum, Release::all}) {
        Walk walk(slots, Rules{static_cast<std::uint8_t>(quorum), release}, withdrawals_max, order);
        walk.run();
        if (testing::Test::HasFailure()) return;
        EXPECT_GT(walk.decided(), 0u);
        std::cout << "n " << slots << ", quorum " << quorum << ", release "
                  << (release == Release::all ? "all" : "quorum") << ", withdrawals to "
                  << withdrawals_max << ": " << walk.nodes() << " lists\n";
    }
}

TEST(BallotOrders, OneToThreeSlotsEveryQuorumEveryWithdrawal) {
    for (unsigned slots = 1; slots <= 3; ++slots) {
        for (unsigned quorum = 1; quorum <= slots; ++quorum) walk(slots, quorum, slots);
    }
}
TEST(BallotOrders, FourSlotsEveryQuorumTwoWithdrawals) {
    for (unsigned quorum = 1; quorum <= 4; ++quorum) walk(4, quorum, 2);
}
TEST(BallotOrders, FiveSlotsOneWithdrawal) { walk(5, 3, 1); }
TEST(BallotOrders, SevenSlotsUpToRenaming) {
    walk(7, 4, 1, Order::upwards);
    walk(7, 4, 1, Order::downwards);
}

}  // namespace
