// What a status becomes, as an object and in words.
#include <gtest/gtest.h>

#include "tests/unit/tools/replay/fixture.hh"
#include "tools/replay/summary.hh"

namespace {

using nlohmann::json;

json status() {
    return json::parse(R"({
        "replay": {"state": "done", "sent": 2000, "bytes": 150000, "answers": 1990,
                   "seconds": 0.5, "late_us_max": 12.5},
        "groups": [{"name": "dns", "requests": 1995, "agreed": 1990, "split": 3, "expired": 2,
                    "latency_us": {"samples": 1990, "p50": 200.5, "p90": 300, "p99": 1500,
                                   "p999": 2500, "max": 2600},
                    "replicas": [{"name": "a", "standing": "admitted", "asked": 1995,
                                  "replies": 1990, "dissent": 40, "silence": 2, "skipped": 1}]}],
        "drops": {"consumed": 9000, "reply_not_released": 3000, "inflight_full": 5,
                  "reply_twice": 6},
        "evidence": {"directory": "/e", "file": "/e/1.pcapng", "records": 42, "lost": 0}})");
}

replay::Outcome outcome() {
    replay::Outcome out;
    out.capture = "some.pcap";
    out.speed.per_second = 4'000;
    out.passes = 2;
    out.tally.taken[0] = 1'000;
    out.tally.skip(replay::Skip::fragment, 3);
    out.tally.skip(replay::Skip::other_port, 12);
    return out;
}

TEST(ReplaySummary, RatesAreOfWhatWasSent) {
    const auto config = replay_test::configuration();
    const auto found = replay::summary(config, outcome(), status());
    EXPECT_EQ(found["actual"],
              (replay::Json{{"packets", 2000}, {"bytes", 150000}, {"seconds", 0.5}}));
    EXPECT_EQ(found["rated"],
              (replay::Json{{"bytes_per_s", 300000.0}, {"mbps", 2.4}, {"pps", 4000.0}}));
    EXPECT_EQ(found["answered"], 1990);
    EXPECT_EQ(found["unanswered"], 10);
    EXPECT_EQ(found["taken"], (replay::Json{{"dns", 1000}}));
    EXPECT_EQ(found["skipped"], (replay::Json{{"fragment", 3}, {"other_port", 12}}));
}

TEST(ReplaySummary, OrdinaryEndsOfPacketsAreNoDrops) {
    const auto found = replay::summary(replay_test::configuration(), outcome(), status());
    EXPECT_EQ(found["refused"], (replay::Json{{"inflight_full", 5}}));
    EXPECT_EQ(found["dropped"], (replay::Json{{"reply_twice", 6}}));
}

TEST(ReplaySummary, InWords) {
    const auto text =
        replay::summary_text(replay::summary(replay_test::configuration(), outcome(), status()));
    for (const char* words :
         {"some.pcap, at 4000 a second: 1,000 requests taken, 2 passes\n",
          "skipped: 3 fragments, 12 not for a service\n",
          "Actual: 2000 packets (150000 bytes) sent in 0.50 seconds\n",
          "Rated: 300000.0 bytes/s, 2.40 Mbps, 4000.00 pps\n", "answered: 1,990, unanswered: 10\n",
          "dns: 1,995 requests voted on: 1,990 agreed, 3 split, 2 expired\n", "p99.9 2.50 ms",
          "5 inflight_full (", "6 reply_twice (",
          "evidence: 42 records in /e, the last in /e/1.pcapng\n"}) {
        EXPECT_NE(text.find(words), std::string::npos) << words << "in:\n" << text;
    }
}

TEST(ReplaySummary, WhatAStatusLacksIsNothing) {
    for (const json& empty : {json(), json::object(), json{{"replay", 3}, {"groups", "x"}}}) {
        const auto found = replay::summary(replay_test::configuration(), {}, empty);
        EXPECT_EQ(found["actual"]["packets"], 0);
        EXPECT_EQ(found["rated"]["pps"], 0.0);
        EXPECT_NE(replay::summary_text(found), "");
    }
}

TEST(ReplaySummary, OneBurstHasNoRate) {
    json at_once = status();
    at_once["replay"]["seconds"] = 0;
    const auto found = replay::summary(replay_test::configuration(), outcome(), at_once);
    EXPECT_EQ(found["rated"]["pps"], 0.0);
}

}  // namespace
