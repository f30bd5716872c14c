// Whole ways through a worker: what a client sees, whom the counters blame, what is left behind.
#include "tests/appliance/environment.hh"
#include "tests/unit/voter/dns_builder.hh"

namespace {

using namespace appliance_test;
using wire::DropReason;

const Endpoint client{mac("02:cc:00:00:00:01"), address("198.51.100.9"), 4000};
const Endpoint client6{mac("02:cc:00:00:00:02"), address("2001:db8:1::9"), 4001};

// Key (0:4) and body of a request or reply.
Octets body(unsigned key, std::string_view rest) {
    Octets out{std::byte{0}, std::byte{0}, static_cast<std::byte>(key >> 8),
               static_cast<std::byte>(key & 0xff)};
    const Octets more = text(rest);
    out.insert(out.end(), more.begin(), more.end());
    return out;
}

Octets payload_of(const Octets& frame) {
    wire::Frame parsed;
    if (wire::parse_frame(frame, parsed) != DropReason::none) return {};
    const wire::Bytes payload = parsed.payload(frame);
    return {payload.begin(), payload.end()};
}

void ask(Appliance& appliance, const Endpoint& who, const Octets& payload) {
    ASSERT_TRUE(appliance.from_client(appliance.request(who, payload)));
    ASSERT_TRUE(appliance.step());
}
void answer(Appliance& appliance, std::initializer_list<unsigned> slots, const Endpoint& who,
            const Octets& payload) {
    for (const unsigned slot : slots) {
        ASSERT_TRUE(appliance.from_replica(slot, appliance.reply(who, payload)));
    }
}

TEST(Pipeline, QuorumReleasesOnceAndAllHearTheRequest) {
    for (const Endpoint& who : {client, client6}) {
        Appliance appliance{Shape{}};
        ask(appliance, who, body(1, "what"));
        for (unsigned slot = 0; slot < 3; ++slot) {
            const auto heard = appliance.to_replica(slot);
            ASSERT_EQ(heard.size(), 1u);
            EXPECT_EQ(payload_of(heard[0]), body(1, "what"));
        }
        answer(appliance, {0}, who, body(1, "right"));
        ASSERT_TRUE(appliance.step());
        EXPECT_TRUE(appliance.to_client().empty());
        answer(appliance, {1}, who, body(1, "wrong"));
        answer(appliance, {2}, who, body(1, "right"));
        ASSERT_TRUE(appliance.step());
        const auto out = appliance.to_client();
        ASSERT_EQ(out.size(), 1u);
        EXPECT_EQ(payload_of(out[0]), body(1, "right"));
        EXPECT_TRUE(sums_are_right(out[0]));
        EXPECT_EQ(appliance.group().agreed.get(), 1u);
        EXPECT_EQ(appliance.group().replicas[1].dissent.get(), 1u);
        EXPECT_TRUE(appliance.finish());
    }
}

// What a benchmark divides by requests: the time of turns that found something, from head to end.
TEST(Pipeline, OnlyTurnsThatBroughtPacketsCountAsBusy) {
    static std::uint64_t clock_now = 0;
    Shape setup;
    setup.clock = [] { return clock_now; };
    Appliance appliance(setup);
    clock_now = appliance.now() + 1 + 40;  // a turn begins one tick after the last, and takes 40
    ASSERT_TRUE(appliance.step(1));
    EXPECT_EQ(appliance.counters().busy_ticks.get(), 0u);
    ASSERT_TRUE(appliance.from_client(appliance.request(client, body(1, "what"))));
    clock_now += 1;
    ASSERT_TRUE(appliance.step(1));
    EXPECT_EQ(appliance.counters().busy_turns.get(), 1u);
    EXPECT_EQ(appliance.counters().busy_ticks.get(), 40u);
    EXPECT_TRUE(appliance.finish());
}

// Every repetition of an unanswered request once took a place in the replicas' windows for good.
TEST(Pipeline, RepetitionsTakeNoPlaceInTheWindow) {
    Shape setup;
    setup.inflight_max = 8;
    setup.stranger_inflight_max = 6;
    Appliance appliance(setup);
    for (unsigned round = 0; round < 50; ++round) {
        ask(appliance, client, body(round, "again"));
        ask(appliance, client, body(round, "again"));
        answer(appliance, {0, 1, 2}, client, body(round, "yes"));
        ASSERT_TRUE(appliance.step());
        ASSERT_EQ(appliance.to_client().size(), 1u) << "round " << round;
        appliance.discard_output();
    }
    EXPECT_EQ(appliance.dropped(DropReason::strangers_full), 0u);
}

// A reply is first held against the request after the one this replica answered last. That is a
// guess: in whatever order replies come, each belongs to its own request.
TEST(Pipeline, RepliesMayComeInAnyOrder) {
    Appliance appliance{Shape{}};
    constexpr unsigned requests = 6;
    for (unsigned round = 0; round < 20; ++round) {
        const auto number = [&](unsigned i) { return round * requests + i; };
        for (unsigned i = 0; i < requests; ++i) ask(appliance, client, body(number(i), "what"));
        ASSERT_TRUE(appliance.step());
        for (unsigned i = 0; i < requests; ++i) {
            const unsigned backwards = requests - 1 - i;
            const unsigned mixed = (i * 5 + round) % requests;
            const std::pair<unsigned, unsigned> order[] = {{0, i}, {1, backwards}, {2, mixed}};
            for (const auto& [slot, which] : order) {
                answer(appliance, {slot}, client,
                       body(number(which), "answer " + std::to_string(number(which))));
            }
            if (round % 2 != 0) {
                ASSERT_TRUE(appliance.step());
            }
        }
        ASSERT_TRUE(appliance.step());
        ASSERT_EQ(appliance.to_client().size(), requests) << "round " << round;
        appliance.discard_output();
    }
    EXPECT_EQ(appliance.group().agreed.get(), 20u * requests);
    for (unsigned slot = 0; slot < 3; ++slot) {
        EXPECT_EQ(appliance.group().replicas[slot].dissent.get(), 0u);
        EXPECT_EQ(appliance.group().replicas[slot].replies.get(), 20u * requests);
    }
    EXPECT_EQ(appliance.dropped(DropReason::reply_unmatched), 0u);
    EXPECT_TRUE(appliance.finish());
}

// A liar beside a slow honest replica: what the slow one has no room for waits for it, because its
// vote decides. What the others agree on meanwhile is not asked of it any more.
TEST(Pipeline, ASlowReplicaIsWaitedForWhereItsVoteDecides) {
    Shape setup;
    setup.inflight_max = 8;
    setup.stranger_inflight_max = 8;
    Appliance appliance(setup);
    const auto truth = [](unsigned i) { return body(i, "right"); };
    constexpr unsigned agreed_first = 20;
    constexpr unsigned requests = 24;  // of the last four one liar and one honest answer come first
    for (unsigned i = 0; i < requests; ++i) {
        ask(appliance, client, body(i, "what"));
        ASSERT_TRUE(appliance.step());
        answer(appliance, {0}, client, truth(i));
        answer(appliance, {1}, client, i < agreed_first ? truth(i) : body(i, "wrong"));
        ASSERT_TRUE(appliance.step());
    }
    EXPECT_EQ(appliance.to_client().size(), agreed_first);
    EXPECT_EQ(appliance.to_replica(2).size(), setup.inflight_max);
    EXPECT_EQ(appliance.group().replicas[2].skipped.get(), agreed_first - setup.inflight_max);

    // It answers what it has, and is given what is undecided, no more.
    for (unsigned i = 0; i < setup.inflight_max; ++i) answer(appliance, {2}, client, truth(i));
    ASSERT_TRUE(appliance.step());
    EXPECT_EQ(appliance.to_replica(2).size(), requests - agreed_first);
    for (unsigned i = agreed_first; i < requests; ++i) answer(appliance, {2}, client, truth(i));
    ASSERT_TRUE(appliance.step());
    EXPECT_EQ(appliance.to_client().size(), requests - agreed_first);
    EXPECT_EQ(appliance.group().agreed.get(), requests);
    EXPECT_EQ(appliance.group().split.get(), 0u);
    EXPECT_EQ(appliance.group().replicas[1].dissent.get(), requests - agreed_first);
    EXPECT_EQ(appliance.group().replicas[2].silence.get(), 0u);
    EXPECT_TRUE(appliance.finish());
}

// Who has not been given the request cannot answer it, and is not to blame when it never is.
TEST(Pipeline, WhoWaitsForRoomHasNoVoteYet) {
    Shape setup;
    setup.inflight_max = 2;
    setup.stranger_inflight_max = 2;
    Appliance appliance(setup);
    for (unsigned i = 0; i < 3; ++i) {
        ask(appliance, client, body(i, "what"));
        ASSERT_TRUE(appliance.step());
        answer(appliance, {0}, client, body(i, "right"));
        answer(appliance, {1}, client, body(i, i < 2 ? "right" : "wrong"));
    }
    answer(appliance, {2}, client, body(2, "wrong"));
    ASSERT_TRUE(appliance.step());
    EXPECT_EQ(appliance.to_client().size(), 2u);
    EXPECT_EQ(appliance.dropped(DropReason::reply_stranger), 1u);
    ASSERT_TRUE(appliance.step(300'001));
    EXPECT_EQ(appliance.group().split.get(), 1u);
    EXPECT_EQ(appliance.group().replicas[2].skipped.get(), 1u);
    EXPECT_EQ(appliance.group().replicas[2].silence.get(), 2u);
    EXPECT_TRUE(appliance.finish());
}

// Closed and opened anew, a record is not taken for the one that waited.
TEST(Pipeline, WhatWaitedAndIsOverIsNotAsked) {
    Shape setup;
    setup.inflight_max = 1;
    setup.stranger_inflight_max = 1;
    Appliance appliance(setup);
    for (unsigned i = 0; i < 200; ++i) {
        ask(appliance, client, body(i, "what"));
        ASSERT_TRUE(appliance.step());
        answer(appliance, {0, 1}, client, body(i, "right"));
        ASSERT_TRUE(appliance.step());
    }
    EXPECT_EQ(appliance.to_replica(2).size(), 1u);
    answer(appliance, {2}, client, body(0, "right"));
    ASSERT_TRUE(appliance.step());
    EXPECT_TRUE(appliance.to_replica(2).empty());
    EXPECT_EQ(appliance.group().agreed.get(), 200u);
    EXPECT_TRUE(appliance.finish());
}

// fifo knows requests by their order alone: with one decided and not yet closed (somebody is late),
// the replies to the next belong to the next.
TEST(Pipeline, FifoRepliesGoToTheRequestThatWaitsForThem) {
    Shape setup;
    setup.matcher = voter::Matcher(voter::MatcherKind::fifo);
    Appliance appliance(setup);
    ask(appliance, client, text("one"));
    answer(appliance, {0, 1}, client, text("eins"));
    ASSERT_TRUE(appliance.step());
    ASSERT_EQ(appliance.to_client().size(), 1u);
    ask(appliance, client, text("two"));
    answer(appliance, {0, 1}, client, text("zwei"));
    answer(appliance, {2}, client, text("eins"));
    answer(appliance, {2}, client, text("zwei"));
    ASSERT_TRUE(appliance.step());
    const auto out = appliance.to_client();
    ASSERT_EQ(out.size(), 1u);
    EXPECT_EQ(payload_of(out[0]), text("zwei"));
    EXPECT_EQ(appliance.group().agreed.get(), 2u);
    for (unsigned slot = 0; slot < 3; ++slot) {
        EXPECT_EQ(appliance.group().replicas[slot].dissent.get(), 0u);
    }
    EXPECT_TRUE(appliance.finish());
}

Octets memcached(unsigned id, unsigned sequence, unsigned total, std::string_view rest) {
    Octets out(8);
    put16(out, 0, id);
    put16(out, 2, sequence);
    put16(out, 4, total);
    const Octets more = text(rest);
    out.insert(out.end(), more.begin(), more.end());
    return out;
}

// The datagrams of one reply may come turns apart.
TEST(Pipeline, EveryDatagramOfAReplyIsVoted) {
    Shape setup;
    setup.matcher = voter::Matcher(voter::MatcherKind::memcached);
    Appliance appliance(setup);
    ask(appliance, client, memcached(7, 0, 1, "get k\r\n"));
    for (unsigned sequence = 0; sequence < 3; ++sequence) {
        const Octets datagram = memcached(7, sequence, 3, "part" + std::to_string(sequence));
        answer(appliance, {0, 1, 2}, client, datagram);
        ASSERT_TRUE(appliance.step(100));
        const auto out = appliance.to_client();
        ASSERT_EQ(out.size(), 1u) << sequence;
        EXPECT_EQ(payload_of(out[0]), datagram);
    }
    ASSERT_TRUE(appliance.step(300'000));
    ASSERT_TRUE(appliance.step());
    EXPECT_EQ(appliance.counters().held.get(), 0u);
    EXPECT_EQ(appliance.group().expired.get(), 0u);
    EXPECT_EQ(appliance.group().agreed.get(), 3u);
    for (unsigned slot = 0; slot < 3; ++slot) {
        EXPECT_EQ(appliance.group().replicas[slot].silence.get(), 0u);
    }
}

// A liar that announces datagrams which do not come takes no place in the others' windows.
TEST(Pipeline, InventedDatagramsTakeNoPlaceInTheWindow) {
    Shape setup;
    setup.matcher = voter::Matcher(voter::MatcherKind::memcached);
    setup.inflight_max = 8;
    setup.stranger_inflight_max = 6;
    Appliance appliance(setup);
    for (unsigned round = 1; round <= 20; ++round) {
        ask(appliance, client, memcached(round, 0, 1, "get k\r\n"));
        for (unsigned sequence = 1; sequence < 20; ++sequence) {
            answer(appliance, {2}, client, memcached(round, sequence, 20, "x"));
        }
        answer(appliance, {0, 1}, client, memcached(round, 0, 1, "right"));
        answer(appliance, {2}, client, memcached(round, 0, 20, "x"));
        ASSERT_TRUE(appliance.step(10));
        ASSERT_EQ(appliance.to_client().size(), 1u) << round;
        appliance.discard_output();
    }
    EXPECT_TRUE(appliance.finish());
}

// Of five, four can differ before the primary has said anything.
TEST(Pipeline, OpenToAPrimaryThatComesLast) {
    Shape setup;
    setup.replicas = 5;
    setup.rules.quorum = 3;
    setup.quorum_lost = config::QuorumLost::open;
    Appliance appliance(setup);
    ask(appliance, client, body(3, "what"));
    for (unsigned slot = 1; slot < 5; ++slot) {
        answer(appliance, {slot}, client, body(3, "answer " + std::to_string(slot)));
    }
    ASSERT_TRUE(appliance.step());
    EXPECT_TRUE(appliance.to_client().empty());
    answer(appliance, {0}, client, body(3, "the primary's"));
    ASSERT_TRUE(appliance.step());
    const auto out = appliance.to_client();
    ASSERT_EQ(out.size(), 1u);
    EXPECT_EQ(payload_of(out[0]), body(3, "the primary's"));
    EXPECT_EQ(appliance.group().opened.get(), 1u);
    EXPECT_TRUE(appliance.finish());
}

}  // namespace
