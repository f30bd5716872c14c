// For gtest programs: DPDK before the first test, and no packet missing after the last.
#pragma once

#include <gtest/gtest.h>

#include "tests/appliance/appliance.hh"

namespace appliance_test {

class Environment : public ::testing::Environment {
  public:
    void SetUp() override { ASSERT_EQ(start_dpdk(), ""); }
    void TearDown() override {
        EXPECT_EQ(pool().in_use(), 0u) << "packets were leaked";
        stop_dpdk();
    }
};
inline ::testing::Environment* const environment =
    ::testing::AddGlobalTestEnvironment(new Environment);

}  // namespace appliance_test
