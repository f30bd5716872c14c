// The store in memory must refuse a guest what xenstored would refuse it.
#include <gtest/gtest.h>

#include "xen/store/memory.hh"

namespace xen::store {
namespace {

constexpr DomainId guest{7};
constexpr DomainId other{8};

struct MemoryStoreTest : testing::Test {
    MemoryStoreTest()
        : ours(std::move(*Store::open(memory.connect()))),
          theirs(std::move(*Store::open(memory.connect(guest)))) {
        memory.introduce(guest);
        memory.introduce(other);
    }

    MemoryStore memory;
    Store ours;
    Store theirs;
};

TEST_F(MemoryStoreTest, AGuestWritesItsOwnDataOnly) {
    EXPECT_TRUE(theirs.write("data/quorate/health", "healthy"));
    EXPECT_EQ(*ours.read("/local/domain/7/data/quorate/health"), "healthy");
    EXPECT_EQ(theirs.write("device/vif/0/state", "4").error().failure, Failure::denied);
    EXPECT_EQ(theirs.write("/local/domain/8/data/x", "1").error().failure, Failure::denied);
    EXPECT_EQ(theirs.read("/local/domain/8/data").error().failure, Failure::denied);
    EXPECT_EQ(theirs.remove("/local/domain/7").error().failure, Failure::denied);
    EXPECT_EQ(theirs.write("/quorate", "").error().failure, Failure::denied);
}

TEST_F(MemoryStoreTest, PermissionsOpenOneNodeForOneDomain) {
    const Node node{"/backend/x", "1",
                    Permissions{domain_0, Access::none, {{guest, Access::read}}}};
    ASSERT_TRUE(ours.write(std::span(&node, 1)));
    EXPECT_EQ(*theirs.read("/backend/x"), "1");
    EXPECT_EQ(theirs.write("/backend/x", "2").error().failure, Failure::denied);
    EXPECT_EQ(theirs.read("/backend").error().failure, Failure::denied);
    Store third = std::move(*Store::open(memory.connect(other)));
    EXPECT_EQ(third.read("/backend/x").error().failure, Failure::denied);
    EXPECT_EQ(theirs.set_permissions("/backend/x", {guest, Access::none, {}}).error().failure,
              Failure::denied);
    ASSERT_TRUE(ours.set_permissions("/backend/x", {guest, Access::none, {}}));
    EXPECT_TRUE(theirs.write("/backend/x", "2"));
}

TEST_F(MemoryStoreTest, ReleaseRemovesTheHomeAndTells) {
    ASSERT_TRUE(ours.watch("@releaseDomain", "gone"));
    ASSERT_TRUE(ours.watch("/local/domain/7/data", "data"));
    while (*ours.next_event(milliseconds(0))) {
    }
    memory.release(guest);
    EXPECT_EQ(**ours.next_event(milliseconds(0)), (Event{"/local/domain/7/data", "data"}));
    EXPECT_EQ(**ours.next_event(milliseconds(0)), (Event{"@releaseDomain", "gone"}));
    EXPECT_EQ(ours.read("/local/domain/7").error().failure, Failure::missing);
    EXPECT_TRUE(ours.read("/local/domain/8"));
}

}  // namespace
}  // namespace xen::store
