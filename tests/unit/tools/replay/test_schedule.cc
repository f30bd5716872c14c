// The clock here is whatever a test says: schedules are arithmetic.
#include <vector>

#include <gtest/gtest.h>

#include "tools/replay/schedule.hh"

namespace {

using replay::Schedule;
using replay::Speed;

constexpr std::uint64_t second = 1'000'000'000;
constexpr std::uint64_t start = 1'700'000'000 * second;

std::vector<std::uint64_t> due(Schedule& schedule, const std::vector<std::uint64_t>& times) {
    std::vector<std::uint64_t> out;
    for (const std::uint64_t time : times) out.push_back(schedule.due_ns(start + time));
    return out;
}

using Times = std::vector<std::uint64_t>;

TEST(ReplaySchedule, AsRecordedBeginsAtNothing) {
    Schedule schedule{Speed{}};
    EXPECT_EQ(due(schedule, {7, 7, 1'007, second + 7}), (Times{0, 0, 1'000, second}));
}

TEST(ReplaySchedule, AMultiplierDividesTheGaps) {
    Speed speed;
    speed.multiplier = 4;
    Schedule fast{speed};
    EXPECT_EQ(due(fast, {0, 1'000, 10 * second}), (Times{0, 250, 10 * second / 4}));
    speed.multiplier = 0.5;
    Schedule slow{speed};
    EXPECT_EQ(due(slow, {0, 1'000}), (Times{0, 2'000}));
}

TEST(ReplaySchedule, SoManyASecondHeedNoRecordedTime) {
    Speed speed;
    speed.per_second = 1'000;
    Schedule schedule{speed};
    EXPECT_EQ(due(schedule, {5, 0, 9 * second, 2}), (Times{0, 1'000'000, 2'000'000, 3'000'000}));
    schedule.begin_pass();
    EXPECT_EQ(due(schedule, {0}), (Times{4'000'000})) << "passes make no difference";
    // No drift: request n is due at n/rate, not after n rounded gaps.
    speed.per_second = 3;
    Schedule thirds{speed};
    std::uint64_t last = 0;
    for (int i = 0; i <= 3'000'000; ++i) last = thirds.due_ns(0);
    EXPECT_EQ(last, 1'000'000 * second);
}

TEST(ReplaySchedule, AtTopSpeedAllIsDue) {
    Speed speed;
    speed.top = true;
    Schedule schedule{speed};
    EXPECT_EQ(due(schedule, {0, second, 5}), (Times{0, 0, 0}));
}

TEST(ReplaySchedule, APassBeginsOneMeanGapAfterTheLast) {
    Schedule schedule{Speed{}};
    EXPECT_EQ(due(schedule, {0, 100, 200}), (Times{0, 100, 200}));
    schedule.begin_pass();
    EXPECT_EQ(due(schedule, {0, 100, 200}), (Times{300, 400, 500}));
    schedule.begin_pass();
    EXPECT_EQ(due(schedule, {0}), (Times{600}));
    schedule.begin_pass();
    EXPECT_EQ(due(schedule, {0}), (Times{600})) << "one request has no gap";
}

TEST(ReplaySchedule, TimesThatGoBackWait) {
    Schedule schedule{Speed{}};
    EXPECT_EQ(due(schedule, {1'000, 3'000, 2'000, 0, 4'000}),
              (Times{0, 2'000, 2'000, 2'000, 3'000}));
}

TEST(ReplaySchedule, NoTimeOverflows) {
    Speed speed;
    speed.multiplier = 1e-6;
    Schedule schedule{speed};
    std::uint64_t last = schedule.due_ns(0);
    for (int pass = 0; pass < 5; ++pass) {
        for (const std::uint64_t time : {std::uint64_t{0}, UINT64_MAX / 2, UINT64_MAX}) {
            const std::uint64_t next = schedule.due_ns(time);
            ASSERT_GE(next, last);
            ASSERT_LT(next, UINT64_MAX / 2);
            last = next;
        }
        schedule.begin_pass();
    }
}

}  // namespace
