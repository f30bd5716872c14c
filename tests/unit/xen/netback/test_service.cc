// The slow path's thread: finds the domains it was told to serve, and lets go of them only when the
// workers have.
#include <thread>

#include <gtest/gtest.h>

#include "tests/unit/recovery/temporary_directory.hh"
#include "tests/unit/xen/netback/guest.hh"
#include "xen/netback/service.hh"
#include "xen/store/memory.hh"

namespace xen::netback {
namespace {

const std::string name = "quorate-test-group-0-a-1";

class ServiceTest : public testing::Test {
  protected:
    ~ServiceTest() override { slot_.release(); }

    void domain_appears() {
        memory_.introduce(guest_.domain);
        ASSERT_TRUE(store_.write(guest_.home + "/name", name));
        ASSERT_TRUE(store_.write(guest_.backend + "/state", "1"));
        guest_.write_keys(store_);
        ASSERT_TRUE(store_.write(guest_.frontend + "/state", "4"));
    }
    // The worker's turn, until it sees a queue or none.
    bool worker_sees(bool queue) {
        for (unsigned i = 0; i < 5'000; ++i) {
            if ((slot_.current() != nullptr) == queue) return true;
            // pause: between two looks of up to 5 s of them
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return false;
    }

    test::TemporaryDirectory directory_;
    store::MemoryStore memory_;
    store::Store store_{*store::Store::open(memory_.connect())};
    tests::MemoryHypervisor* hypervisor_ = new tests::MemoryHypervisor;  // the service's
    tests::Guest guest_{DomainId{7}, *hypervisor_};
    QueueSlot slot_;
    std::unique_ptr<Service> service_ =
        std::move(*Service::start({directory_.path(), 1, [] {}, memory_.connect()},
                                  std::unique_ptr<Hypervisor>(hypervisor_)));
};

TEST_F(ServiceTest, ServesADomainThatAppearsLater) {
    service_->open(name, BackendType::quorate, {&slot_, 1});
    EXPECT_EQ(service_->status(name).domain, std::nullopt);
    domain_appears();
    EXPECT_TRUE(worker_sees(true));
    EXPECT_EQ(service_->status(name).domain, guest_.domain);
}

TEST_F(ServiceTest, AClosedDeviceIsGoneWhenItsWorkerHasLetGo) {
    domain_appears();
    service_->open(name, BackendType::quorate, {&slot_, 1});
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
    service_->open(name, BackendType::quorate, {&slot_, 1});
    ASSERT_TRUE(worker_sees(true));
    ASSERT_TRUE(store_.remove(guest_.home + "/name"));
    memory_.release(guest_.domain);
    EXPECT_FALSE(service_->close(name));
    EXPECT_TRUE(worker_sees(false));
    EXPECT_TRUE(service_->close(name));
    EXPECT_EQ(hypervisor_->mapped(), 0u);
}

}  // namespace
}  // namespace xen::netback
