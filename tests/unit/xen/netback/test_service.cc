// The slow path's thread: finds the domains it was told to serve, and lets go of them only when the
// workers have.
#include <filesystem>
#include <thread>

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/unit/xen/netback/frontend.hh"
#include "tests/unit/xen/netback/memory_hypervisor.hh"
#include "xen/netback/service.hh"
#include "xen/store/memory.hh"

namespace xen::netback {
namespace {

constexpr DomainId guest{7};
const std::string backend = "/local/domain/0/backend/quorate/7/0";
const std::string home = "/local/domain/7";
const std::string name = "quorate-test-group-0-a-1";

class ServiceTest : public testing::Test {
  protected:
    ServiceTest()
        : directory_(std::filesystem::temp_directory_path() /
                     ("netback-service-" + std::to_string(::getpid()))),
          store_(*store::Store::open(memory_.connect())) {
        std::filesystem::create_directories(directory_);
        auto hypervisor = std::make_unique<tests::MemoryHypervisor>();
        hypervisor_ = hypervisor.get();
        hypervisor->grant(8, tx_.page());
        hypervisor->grant(9, rx_.page());
        hypervisor->add_channel(3);
        hypervisor->add_channel(4);
        service_ = std::move(
            *Service::start({directory_, 1, [] {}, memory_.connect()}, std::move(hypervisor)));
    }
    ~ServiceTest() override {
        slot_.release();
        service_.reset();
        std::filesystem::remove_all(directory_);
    }

    void domain_appears() {
        memory_.introduce(guest);
        const std::string frontend = home + "/device/vif/0/";
        for (const auto& [path, value] : {std::pair{home + "/name", name},
                                          {backend + "/state", "1"},
                                          {frontend + "tx-ring-ref", "8"},
                                          {frontend + "rx-ring-ref", "9"},
                                          {frontend + "event-channel-tx", "3"},
                                          {frontend + "event-channel-rx", "4"},
                                          {frontend + "request-rx-copy", "1"},
                                          {frontend + "feature-rx-notify", "1"},
                                          {frontend + "state", "4"}}) {
            ASSERT_TRUE(store_.write(path, value)) << path;
        }
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

    std::filesystem::path directory_;
    store::MemoryStore memory_;
    store::Store store_;
    tests::FrontRing<TxRing> tx_;
    tests::FrontRing<RxRing> rx_;
    tests::MemoryHypervisor* hypervisor_ = nullptr;  // the service's
    QueueSlot slot_;
    std::unique_ptr<Service> service_;
};

TEST_F(ServiceTest, ServesADomainThatAppearsLater) {
    service_->open(name, BackendType::quorate, {&slot_, 1});
    EXPECT_EQ(service_->status(name).domain, std::nullopt);
    domain_appears();
    EXPECT_TRUE(worker_sees(true));
    EXPECT_EQ(service_->status(name).domain, guest);
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
    ASSERT_TRUE(store_.remove(home + "/name"));
    memory_.release(guest);
    EXPECT_FALSE(service_->close(name));
    EXPECT_TRUE(worker_sees(false));
    EXPECT_TRUE(service_->close(name));
    EXPECT_EQ(hypervisor_->mapped(), 0u);
}

}  // namespace
}  // namespace xen::netback
