// Accusation as a game: clients, honest replicas, liars and those who would frame somebody, played
// with many seeds. What is checked is who becomes a suspect, never how it was counted.
#include <map>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "voter/accusation.hh"

namespace {

using namespace voter;

constexpr std::uint64_t second = 1'000'000'000;
constexpr std::uint64_t window = 10 * second;
constexpr ReplicaId slot(unsigned n) { return ReplicaId{static_cast<std::uint8_t>(n)}; }
constexpr RequestKind kind(unsigned n) { return RequestKind{n}; }

AccusationRules rules(unsigned faults = 1) {
    AccusationRules rules;
    rules.window = Ticks{window};
    rules.faults = faults;
    return rules;
}

// One group under test, and what was found.
struct Game {
    explicit Game(std::uint64_t seed, AccusationRules r = rules()) : accusation(r), random(seed) {}

    // A ballot of `source` on `kind` ends agreed, with these slots at fault.
    void ballot(std::uint64_t source, RequestKind asked, SlotSet dissent, SlotSet silent = {}) {
        const SourceId id{source * 0x9e3779b97f4a7c15 + 1};
        accusation.agreed(id, Ticks{now});
        const auto settle = [&](Fault fault, SlotSet slots) {
            slots.for_each([&](ReplicaId at) {
                const Finding found = accusation.record(fault, at, id, asked, Ticks{now});
                if (found.suspect) suspects[at.value].push_back(now);
                marked += found.kind_marked;
                rotations += found.rotates;
                discounted += found.discounted;
            });
        };
        settle(Fault::dissent, dissent);
        settle(Fault::silence, silent);
    }
    std::uint64_t below(std::uint64_t n) { return random() % n; }
    bool chance(double p) { return static_cast<double>(random() % 1'000'000) < p * 1e6; }
    SlotSet any_of(unsigned n) { return SlotSet::of(slot(static_cast<unsigned>(below(n)))); }

    Accusation accusation;
    std::mt19937_64 random;
    std::uint64_t now = 5 * second;
    std::map<unsigned, std::vector<std::uint64_t>> suspects;
    unsigned marked = 0;
    unsigned rotations = 0;
    unsigned discounted = 0;
};

constexpr unsigned seeds = 10;
#define FOR_SEEDS(seed)                                 \
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) \
        if (SCOPED_TRACE("seed " + std::to_string(seed)); true)

TEST(Accusation, ALiarSeenBySeveralSourcesIsFoundAtTheLeastCount) {
    Game game(1);
    for (unsigned i = 0; i < 19; ++i) game.ballot(i % 3, kind(1), SlotSet::of(slot(2)));
    EXPECT_TRUE(game.suspects.empty());
    EXPECT_FALSE(game.accusation.standing(slot(2), Ticks{game.now}).suspect);
    game.ballot(1, kind(1), SlotSet::of(slot(2)));
    EXPECT_EQ(game.suspects.size(), 1u);
    EXPECT_EQ(game.suspects[2].size(), 1u);
    const auto standing = game.accusation.standing(slot(2), Ticks{game.now});
    EXPECT_TRUE(standing.suspect);
    EXPECT_EQ(standing.dissents, 20u);
    EXPECT_EQ(standing.silences, 0u);
    EXPECT_EQ(standing.sources, 3u);
}

TEST(Accusation, ASilentReplicaNeedsItsOwnCount) {
    Game game(1);
    for (unsigned i = 0; i < 49; ++i) game.ballot(i % 5, kind(1), {}, SlotSet::of(slot(0)));
    EXPECT_TRUE(game.suspects.empty());
    // Dissents do not make up for silences that are missing.
    for (unsigned i = 0; i < 19; ++i) game.ballot(i % 5, kind(1), SlotSet::of(slot(0)));
    EXPECT_TRUE(game.suspects.empty());
    game.ballot(4, kind(1), {}, SlotSet::of(slot(0)));
    EXPECT_EQ(game.suspects[0].size(), 1u);
}

// Whatever one source sees, in whatever mixture of kinds and slots, it suspends nobody; nor do two.
TEST(Accusation, FewSourcesSuspendNobodyWhateverTheySee) {
    FOR_SEEDS(seed) {
        Game game(seed);
        const std::uint64_t sources = 1 + seed % 2;
        const std::uint64_t kinds = 1 + game.below(2000);
        for (unsigned i = 0; i < 20'000; ++i) {
            game.now += window / 5000;
            const SlotSet bad = game.chance(0.7) ? SlotSet::of(slot(1)) : game.any_of(3);
            const auto asked = kind(static_cast<unsigned>(game.below(kinds)));
            if (game.chance(0.5)) {
                game.ballot(game.below(sources), asked, bad);
            } else {
                game.ballot(game.below(sources), asked, {}, bad);
            }
        }
        EXPECT_TRUE(game.suspects.empty());
    }
}

// Honest replicas differ on a kind; the odd one out is skewed, as where one is slower.
void rotating_kind_suspends_nobody(std::uint64_t sources, bool once_each) {
    FOR_SEEDS(seed) {
        Game game(seed);
        std::uint64_t next = 100;
        for (unsigned i = 0; i < 30'000; ++i) {
            game.now += window / 10'000;
            const std::uint64_t source = once_each ? ++next : game.below(sources);
            const SlotSet odd =
                game.chance(0.65) ? SlotSet::of(slot(0)) : SlotSet::of(slot(1 + game.random() % 2));
            if (game.chance(0.5)) {
                game.ballot(source, kind(7), odd);
            } else {
                game.ballot(source, kind(8), {});
            }
        }
        EXPECT_TRUE(game.suspects.empty());
        EXPECT_EQ(game.marked, 1u);
        std::array<RequestKind, 4> marked;
        ASSERT_EQ(game.accusation.marked_kinds(marked), 1u);
        EXPECT_EQ(marked[0], kind(7));
        EXPECT_GT(game.discounted, 5'000u);
    }
}
TEST(Accusation, AKindThatRotatesBeforeAFewSourcesSuspendsNobody) {
    rotating_kind_suspends_nobody(3, false);
}
TEST(Accusation, AKindThatRotatesBeforeManySourcesSuspendsNobody) {
    rotating_kind_suspends_nobody(200, false);
}
TEST(Accusation, AKindThatRotatesBeforeSourcesUsedOnceSuspendsNobody) {
    rotating_kind_suspends_nobody(0, true);
}

TEST(Accusation, OneSourceThatSeesRotationMarksTheKindForItselfOnly) {
    Game game(3);
    for (unsigned i = 0; i < 1000; ++i) game.ballot(1, kind(7), game.any_of(3));
    EXPECT_EQ(game.rotations, 1u);
    EXPECT_EQ(game.marked, 0u);
    std::array<RequestKind, 4> marked;
    EXPECT_EQ(game.accusation.marked_kinds(marked), 0u);
    const unsigned before = game.discounted;
    EXPECT_GT(before, 990u);
    game.ballot(2, kind(7), SlotSet::of(slot(0)));
    EXPECT_EQ(game.discounted, before) << "another source's testimony stands";
}

// A liar lies to everybody on one kind; its friend, one client, provokes every honest replica's
// dissent on that kind and others, and floods the group with requests on which all agree.
TEST(Accusation, ALiarIsNotShieldedByOneFriendlyClient) {
    FOR_SEEDS(seed) {
        Game game(seed);
        for (unsigned i = 0; i < 40'000; ++i) {
            game.now += window / 40'000;
            if (game.chance(0.02)) {
                game.ballot(1 + game.below(10), kind(1), SlotSet::of(slot(2)));
            } else if (game.chance(0.3)) {
                game.ballot(0, kind(game.chance(0.2) ? 1 : static_cast<unsigned>(game.below(5000))),
                            game.any_of(3));
            } else {
                game.ballot(0, kind(1), {});
            }
        }
        EXPECT_EQ(game.suspects.size(), 1u);
        EXPECT_EQ(game.suspects[2].size(), 1u);
    }
}

// A little noise, of a kind that differs seldom or of packets lost, does not hide a liar or a
// death.
TEST(Accusation, ALiarAmongNaturalNoiseIsFoundAndNobodyElse) {
    FOR_SEEDS(seed) {
        Game game(seed);
        const std::uint64_t sources = 4 + game.below(500);
        for (unsigned i = 0; i < 20'000; ++i) {
            game.now += window / 20'000;
            SlotSet bad = game.chance(0.4) ? SlotSet::of(slot(1)) : SlotSet{};
            if (game.chance(0.01)) bad = game.any_of(3);
            game.ballot(game.below(sources), kind(0), bad);
        }
        EXPECT_EQ(game.suspects.size(), 1u);
        EXPECT_EQ(game.suspects[1].size(), 1u);
    }
}
TEST(Accusation, ADeadReplicaAmongLossIsFoundAndOverloadIsNot) {
    FOR_SEEDS(seed) {
        Game loss(seed);
        Game overload(seed);
        for (unsigned i = 0; i < 20'000; ++i) {
            loss.now += window / 20'000;
            loss.ballot(loss.below(50), kind(0), {},
                        loss.chance(0.02) ? loss.any_of(3) : SlotSet::of(slot(0)));
            overload.now += window / 20'000;
            if (overload.chance(0.5)) {
                overload.ballot(overload.below(50), kind(0), {},
                                overload.chance(0.5) ? SlotSet::of(slot(0)) : overload.any_of(3));
            } else {
                overload.ballot(overload.below(50), kind(0), {});
            }
        }
        EXPECT_EQ(loss.suspects.size(), 1u);
        EXPECT_EQ(loss.suspects[0].size(), 1u);
        EXPECT_TRUE(overload.suspects.empty());
    }
}

TEST(Accusation, BelowTheShareNobodyIsASuspect) {
    FOR_SEEDS(seed) {
        Game rare(seed);
        Game often(seed);
        for (unsigned i = 0; i < 20'000; ++i) {
            rare.now = often.now += window / 20'000;
            const std::uint64_t source = seed % 2 ? i : rare.below(30);
            rare.ballot(source, kind(1), rare.chance(0.03) ? SlotSet::of(slot(0)) : SlotSet{});
            often.ballot(source, kind(1), often.chance(0.2) ? SlotSet::of(slot(0)) : SlotSet{});
        }
        EXPECT_TRUE(rare.suspects.empty());
        EXPECT_EQ(often.suspects[0].size(), 1u);
    }
}

TEST(Accusation, TwoLiarsOfFiveAreBothFoundWithFTwo) {
    FOR_SEEDS(seed) {
        Game game(seed, rules(2));
        for (unsigned i = 0; i < 5'000; ++i) {
            game.now += window / 5'000;
            SlotSet bad;
            if (game.chance(0.5)) bad.insert(slot(1));
            if (game.chance(0.3)) bad.insert(slot(4));
            game.ballot(game.below(20), kind(1), bad);
        }
        EXPECT_EQ(game.suspects.size(), 2u);
        EXPECT_EQ(game.suspects[1].size(), 1u);
        EXPECT_EQ(game.suspects[4].size(), 1u);
    }
}

// A liar that lies only where honest replicas differ too, always to the same one's disadvantage
// where it can, makes rotation uneven; it does not make others suspects while theirs is within the
// factor.
TEST(Accusation, ALiarCannotTurnUnevenNoiseIntoAnAccusation) {
    FOR_SEEDS(seed) {
        Game game(seed);
        for (unsigned i = 0; i < 20'000; ++i) {
            game.now += window / 20'000;
            const double who = static_cast<double>(game.below(100));
            const unsigned odd = who < 70 ? 0 : who < 95 ? 1 : 2;
            game.ballot(game.below(40), kind(3), SlotSet::of(slot(odd)));
        }
        EXPECT_TRUE(game.suspects.empty());
    }
}

TEST(Accusation, SaidOncePerWindowWhileItGoesOn) {
    Game game(1);
    const std::uint64_t begin = game.now;
    while (game.now < begin + 10 * window) {
        game.now += window / 1000;
        game.ballot(game.below(9), kind(1), SlotSet::of(slot(1)));
    }
    const auto& found = game.suspects[1];
    EXPECT_GE(found.size(), 9u);
    EXPECT_LE(found.size(), 10u);
    for (std::size_t i = 1; i < found.size(); ++i) EXPECT_GE(found[i] - found[i - 1], window);
}

TEST(Accusation, OldFaultsNoLongerCount) {
    Game game(1);
    // Never more than 19 in any window.
    for (unsigned i = 0; i < 400; ++i) {
        game.now += window / 19 + 1;
        game.ballot(i % 4, kind(1), SlotSet::of(slot(1)));
        EXPECT_LE(game.accusation.standing(slot(1), Ticks{game.now}).dissents, 19u);
    }
    EXPECT_TRUE(game.suspects.empty());
    const auto later = game.accusation.standing(slot(1), Ticks{game.now + window});
    EXPECT_EQ(later.dissents, 0u);
    EXPECT_EQ(later.sources, 0u);
    // In three quarters of a window they always count.
    for (unsigned i = 0; i < 20; ++i) {
        game.now += window * 3 / 4 / 20;
        game.ballot(i % 4, kind(2), SlotSet::of(slot(2)));
    }
    EXPECT_EQ(game.suspects[2].size(), 1u);
}

TEST(Accusation, WithoutAWindowEverythingCounts) {
    AccusationRules forever;
    Game game(1, forever);
    for (unsigned i = 0; i < 40; ++i) {
        game.now += 1'000 * second;
        game.ballot(i % 4, kind(1), SlotSet::of(slot(1)));
    }
    EXPECT_EQ(game.suspects[1].size(), 1u);
    EXPECT_EQ(game.accusation.standing(slot(1), Ticks{game.now}).dissents, 40u);
}

TEST(Accusation, AForgottenSlotStartsEmpty) {
    Game game(1);
    for (unsigned i = 0; i < 30; ++i) game.ballot(i % 4, kind(1), SlotSet::of(slot(1)));
    ASSERT_EQ(game.suspects[1].size(), 1u);
    game.accusation.forget(slot(1));
    const auto standing = game.accusation.standing(slot(1), Ticks{game.now});
    EXPECT_EQ(standing.dissents, 0u);
    EXPECT_EQ(standing.sources, 0u);
    EXPECT_FALSE(standing.suspect);
    for (unsigned i = 0; i < 19; ++i) game.ballot(i % 4, kind(1), SlotSet::of(slot(1)));
    EXPECT_EQ(game.suspects[1].size(), 1u);
    game.ballot(0, kind(1), SlotSet::of(slot(1)));
    EXPECT_EQ(game.suspects[1].size(), 2u);
}

// Two slots differ, the third is never the odd one out. Renewing one must not make the other look
// like the only one that ever dissented.
TEST(Accusation, ForgettingOneSlotDoesNotAccuseTheOther) {
    FOR_SEEDS(seed) {
        Game game(seed);
        for (unsigned i = 0; i < 10'000; ++i) {
            game.now += window / 1'000;
            game.ballot(game.below(seed * 10), kind(1), game.any_of(2));
            if (i % 700 == 0) game.accusation.forget(slot(i / 700 % 2));
        }
        EXPECT_TRUE(game.suspects.empty());
    }
}

// A renewal of an honest slot must not wash a liar clean where there is some noise.
TEST(Accusation, ForgettingAnHonestSlotKeepsTheEvidenceAgainstALiar) {
    Game game(5);
    for (unsigned i = 0; i < 19; ++i) game.ballot(i % 3, kind(1), SlotSet::of(slot(2)));
    for (unsigned i = 0; i < 3; ++i) game.ballot(i % 3, kind(2), SlotSet::of(slot(0)));
    game.accusation.forget(slot(0));
    EXPECT_TRUE(game.suspects.empty());
    game.ballot(1, kind(1), SlotSet::of(slot(2)));
    EXPECT_EQ(game.suspects[2].size(), 1u);
}

// More sources than the table holds, each seen once or twice.
TEST(Accusation, ALiarBeforeAHundredThousandSourcesIsFoundAndAFrameIsNot) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        Game liar(seed);
        Game frame(seed);
        for (unsigned i = 0; i < 100'000; ++i) {
            liar.now = frame.now += window / 50'000;
            const std::uint64_t source = liar.below(100'000);
            liar.ballot(source, kind(1), liar.chance(0.5) ? SlotSet::of(slot(2)) : SlotSet{});
            frame.ballot(source, kind(1), frame.any_of(3));
        }
        EXPECT_EQ(liar.suspects.size(), 1u);
        EXPECT_GE(liar.suspects[2].size(), 1u);
        EXPECT_TRUE(frame.suspects.empty());
    }
}

TEST(Accusation, MarksAreBoundedLapseAndAreToldOnce) {
    Game game(1);
    for (unsigned k = 0; k < 40; ++k) {
        for (unsigned i = 0; i < 40; ++i) game.ballot(game.below(4), kind(k), game.any_of(3));
    }
    std::array<RequestKind, 64> marked;
    const auto count = game.accusation.marked_kinds(marked);
    EXPECT_GE(count, 8u);
    EXPECT_LE(count, 16u);
    EXPECT_EQ(game.marked, count);
    EXPECT_EQ(game.accusation.marked_kinds(std::span(marked).first(2)), 2u);
    game.now += 2 * window;
    game.ballot(1, kind(0), {});
    EXPECT_EQ(game.accusation.marked_kinds(marked), 0u);
    EXPECT_TRUE(game.suspects.empty());
}

TEST(Accusation, TimeThatStepsBackIsNoHarm) {
    Game game(1);
    game.now = 100 * window;
    game.ballot(0, kind(1), SlotSet::of(slot(1)));
    game.now = 5;
    for (unsigned i = 0; i < 30; ++i) game.ballot(i % 3, kind(1), SlotSet::of(slot(1)));
    EXPECT_EQ(game.suspects[1].size(), 1u);
    EXPECT_EQ(game.accusation.standing(slot(1), Ticks{1}).dissents, 31u);
    game.now = ~std::uint64_t{0};
    game.ballot(0, kind(1), SlotSet::of(slot(1)));
    EXPECT_EQ(game.accusation.standing(slot(1), Ticks{game.now}).dissents, 1u);
}

// What a source sees rotate is no testimony, so two others remain, and they are too few.
TEST(Accusation, AFramingClientIsNotTheThirdWitness) {
    Game game(1);
    for (unsigned i = 0; i < 300; ++i) game.ballot(0, kind(7), game.any_of(3));
    for (unsigned i = 0; i < 100; ++i) game.ballot(1 + i % 2, kind(1), SlotSet::of(slot(0)));
    EXPECT_TRUE(game.suspects.empty());

    for (unsigned i = 0; i < 60; ++i) game.ballot(3, kind(1), SlotSet::of(slot(0)));
    EXPECT_EQ(game.suspects[0].size(), 1u);
}

TEST(Accusation, SourcesMustBeDistinctEvenWhereFewFaultsAreEnough) {
    AccusationRules few = rules();
    few.dissents_min = 2;
    Game game(1, few);
    for (unsigned i = 0; i < 100; ++i) game.ballot(i % 2, kind(i % 5), SlotSet::of(slot(0)));
    EXPECT_TRUE(game.suspects.empty());
}

TEST(Accusation, AKindOnWhichOthersDissentedTakesFourTimesAsMuch) {
    Game game(1);
    game.ballot(9, kind(1), SlotSet::of(slot(1)));
    for (unsigned i = 0; i < 79; ++i) game.ballot(i % 8, kind(1), SlotSet::of(slot(0)));
    EXPECT_TRUE(game.suspects.empty());
    for (unsigned i = 0; i < 10; ++i) game.ballot(i % 8, kind(1), SlotSet::of(slot(0)));
    EXPECT_EQ(game.suspects[0].size(), 1u);
}

TEST(Accusation, AKindThatRotatedBeforeTakesFourTimesAsMuchAlthoughTheMarkHasLapsed) {
    Game game(1);
    for (unsigned i = 0; i < 200; ++i) game.ballot(i % 8, kind(1), game.any_of(3));
    EXPECT_EQ(game.marked, 1u);
    game.now += 3 * window;
    for (unsigned i = 0; i < 79; ++i) game.ballot(i % 8, kind(1), SlotSet::of(slot(0)));
    EXPECT_TRUE(game.suspects.empty());
    for (unsigned i = 0; i < 10; ++i) game.ballot(i % 8, kind(1), SlotSet::of(slot(0)));
    EXPECT_EQ(game.suspects[0].size(), 1u);
    EXPECT_EQ(game.marked, 1u);
}

// One friend, seeing a liar fail on thousands of kinds, leaves the others their place in the table.
TEST(Accusation, OneSourceDoesNotCrowdOutAnother) {
    for (std::uint64_t other = 1; other <= 300; ++other) {
        Game game(1);
        game.ballot(other, kind(1), SlotSet::of(slot(1)));
        for (unsigned k = 0; k < 100; ++k) {
            game.now += 1;
            game.ballot(0, kind(k), SlotSet::of(slot(2)));
        }
        ASSERT_EQ(game.accusation.standing(slot(1), Ticks{game.now}).sources, 1u) << other;
        ASSERT_EQ(game.accusation.standing(slot(2), Ticks{game.now}).sources, 1u) << other;
    }
}

// Six to one is still rotation, and chance must not make it look like eight to one.
TEST(Accusation, SteadilyUnevenRotationNeverAccuses) {
    FOR_SEEDS(seed) {
        Game game(seed);
        for (unsigned i = 0; i < 20'000; ++i) {
            game.now += window / 10'000;
            const SlotSet odd =
                i < 200 || game.chance(0.35) ? game.any_of(3) : SlotSet::of(slot(0));
            game.ballot(i, kind(7), odd);
        }
        EXPECT_TRUE(game.suspects.empty());
    }
}

// However often three sources ask for what rotates before them, a hundred others outweigh them.
TEST(Accusation, FewSourcesThatAskMuchDoNotShieldALiarForMany) {
    Game game(1);
    for (unsigned i = 0; i < 10'000; ++i) game.ballot(i % 3, kind(1), game.any_of(3));
    for (unsigned i = 0; i < 400; ++i) game.ballot(10 + i % 100, kind(1), SlotSet::of(slot(2)));
    EXPECT_EQ(game.suspects.size(), 1u);
    EXPECT_EQ(game.suspects[2].size(), 1u);
}

// A kind that rotates often does not lend its share to dissents that are rare.
TEST(Accusation, NoiseDoesNotCountTowardsTheShare) {
    FOR_SEEDS(seed) {
        Game game(seed);
        for (unsigned i = 0; i < 20'000; ++i) {
            game.now += window / 20'000;
            const std::uint64_t source = game.below(50);
            if (game.chance(0.5)) {
                game.ballot(source, kind(7), game.any_of(3));
            } else {
                game.ballot(source, kind(1), game.chance(0.01) ? SlotSet::of(slot(0)) : SlotSet{});
            }
        }
        EXPECT_TRUE(game.suspects.empty());
    }
}

TEST(Accusation, OneSourceCountsForNoMoreThanItsShare) {
    Game game(1);
    for (unsigned i = 0; i < 100; ++i) game.ballot(0, kind(1), SlotSet::of(slot(0)));
    for (unsigned i = 0; i < 12; ++i) game.ballot(1 + i % 2, kind(1), SlotSet::of(slot(0)));
    EXPECT_TRUE(game.suspects.empty()) << "7 + 6 + 6";
    for (unsigned i = 0; i < 20; ++i) game.ballot(1, kind(1), SlotSet::of(slot(0)));
    EXPECT_EQ(game.suspects[0].size(), 1u) << "7 + 7 + 6";
}

}  // namespace
