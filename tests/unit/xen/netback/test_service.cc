// The slow path's thread: finds the domains it was told to serve, and lets go of them only when the
// workers have.
#include <functional>
#include <thread>

#include <gtest/gtest.h>

#include "tests/unit/recovery/temporary_directory.hh"
#include "tests/unit/xen/netback/guest.hh"
#include "xen/netback/service.hh"
#include "xen/store/memory.hh"

namespace xen::netback {
namespace {

const std::string name = "quorate-test-group-0-a-1";
const std::string other_name = "quorate-test-group-1-a-1";

class ServiceTest : public testing::Test {
  protected:
    ~ServiceTest() override {
        slot_.release();
        other_slot_.release();
    }

    void domain_appears() { domain_appears(guest_, name); }
    void domain_appears(const tests::Guest& guest, const std::string& called) {
        memory_.introduce(guest.domain);
        ASSERT_TRUE(store_.write(guest.home + "/name", called));
        ASSERT_TRUE(store_.write(guest.backend + "/state", "1"));
        guest.write_keys(store_);
        ASSERT_TRUE(store_.write(guest.frontend + "/state", "4"));
    }
    static bool comes(const std::function<bool()>& what) {
        for (unsigned i = 0; i < 5'000; ++i) {
            if (what()) return true;
            // pause: between two looks of up to 5 s of them
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return false;
    }
    // The worker's turn, until it sees a queue or none.
    bool worker_sees(bool queue) {
        return comes([&] { return (slot_.current() != nullptr) == queue; });
    }

    test::TemporaryDirectory directory_;
    store::MemoryStore memory_;
    store::Store store_{*store::Store::open(memory_.connect())};
    tests::MemoryHypervisor* hypervisor_ = new tests::MemoryHypervisor;  // the service's
    tests::Guest guest_{DomainId{7}, *hypervisor_};
    QueueSlot slot_;
    tests::Guest other_{DomainId{8}, *hypervisor_};
    QueueSlot other_slot_;
    std::unique_ptr<Service> service_ =
        std::move(*Service::start({directory_.path(), 1, [] {}, memory_.connect()},
                                  std::unique_ptr<Hypervisor>(hypervisor_)));
};

TEST_F(ServiceTest, ServesADomainThatAppearsLater) {
    service_->open(name, {}, {&slot_, 1});
    EXPECT_EQ(service_->status(name).domain, std::nullopt);
    domain_appears();
    EXPECT_TRUE(worker_sees(true));
    EXPECT_EQ(service_->status(name).domain, guest_.domain);
}

TEST_F(ServiceTest, AClosedDeviceIsGoneWhenItsWorkerHasLetGo) {
    domain_appears();
    service_->open(name, {}, {&slot_, 1});
    ASSERT_TRUE(worker_sees(true));
    EXPECT_FALSE(service_->close(name)) << "the worker is away";
    EXPECT_FALSE(service_->closed(name));
    EXPECT_TRUE(worker_sees(false));
    EXPECT_TRUE(service_->close(name));
    EXPECT_EQ(hypervisor_->mapped(), 0u);
    EXPECT_EQ(hypervisor_->bound(), 0u);
}

TEST_F(ServiceTest, ADomainThatEndsIsKeptWhileAWorkerIsAway) {
    domain_appears();
    service_->open(name, {}, {&slot_, 1});
    ASSERT_TRUE(worker_sees(true));
    ASSERT_TRUE(store_.remove(guest_.home + "/name"));
    memory_.release(guest_.domain);
    EXPECT_FALSE(service_->close(name));
    EXPECT_TRUE(worker_sees(false));
    EXPECT_TRUE(service_->close(name));
    EXPECT_EQ(hypervisor_->mapped(), 0u);
}

TEST_F(ServiceTest, OnlyTheDeviceWhoseWorkerIsAwayIsLookedAtOften) {
    domain_appears();
    domain_appears(other_, other_name);
    service_->open(name, {}, {&slot_, 1});
    service_->open(other_name, {}, {&other_slot_, 1});
    ASSERT_TRUE(worker_sees(true));
    ASSERT_TRUE(comes([&] { return other_slot_.current() != nullptr; }));
    // Each look reads the domain's name.
    const auto looks_at = [&](const tests::Guest& guest) {
        return memory_.reads(guest.home + "/name");
    };
    const unsigned before = looks_at(guest_);
    const unsigned before_of_other = looks_at(other_);
    ASSERT_TRUE(store_.write(guest_.frontend + "/state", "5"));
    ASSERT_TRUE(comes([&] { return looks_at(guest_) >= before + 40; }));
    EXPECT_LT(looks_at(other_), before_of_other + 20);
}

}  // namespace
}  // namespace xen::netback
