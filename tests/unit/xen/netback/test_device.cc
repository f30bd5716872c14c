// A device against a frontend in memory: what Linux's netfront does, and what it never would.
#include <filesystem>

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/unit/xen/netback/frontend.hh"
#include "tests/unit/xen/netback/memory_hypervisor.hh"
#include "xen/netback/device.hh"
#include "xen/store/memory.hh"

namespace xen::netback {
namespace {

using std::chrono::milliseconds;

constexpr DomainId guest{7};
const std::string backend = "/local/domain/0/backend/quorate/7/0";
const std::string frontend = "/local/domain/7/device/vif/0";

class DeviceTest : public testing::Test {
  protected:
    DeviceTest()
        : directory_(std::filesystem::temp_directory_path() /
                     ("netback-test-" + std::to_string(::getpid()))),
          store_(*store::Store::open(memory_.connect())) {
        std::filesystem::create_directories(directory_);
        memory_.introduce(guest);
        hypervisor_.grant(8, tx_.page());
        hypervisor_.grant(9, rx_.page());
        hypervisor_.add_channel(3);
        hypervisor_.add_channel(4);
        write(backend + "/state", "1");
        write(frontend + "/state", "1");
        open();
    }
    ~DeviceTest() override { std::filesystem::remove_all(directory_); }

    void open() {
        device_ = std::move(*Device::open({guest, backend, frontend, directory_ / "shadow", 1},
                                          hypervisor_, {&slot_, 1}, [this] { ++woken_; }));
    }
    void write(const std::string& path, const std::string& value) {
        ASSERT_TRUE(store_.write(path, value));
    }
    std::string state() { return *store_.read(backend + "/state"); }
    void frontend_goes(const char* state) {
        write(frontend + "/state", state);
        look();
    }
    void look() { ASSERT_TRUE(device_->look(store_, now_)); }
    void write_keys() {
        for (const auto& [key, value] : {std::pair{"tx-ring-ref", "8"},
                                         {"rx-ring-ref", "9"},
                                         {"event-channel-tx", "3"},
                                         {"event-channel-rx", "4"},
                                         {"request-rx-copy", "1"},
                                         {"feature-rx-notify", "1"}}) {
            write(frontend + "/" + key, value);
        }
    }
    void connect() {
        look();
        write_keys();
        frontend_goes("4");
        ASSERT_EQ(state(), "4") << device_->trouble();
    }

    std::filesystem::path directory_;
    store::MemoryStore memory_;
    store::Store store_;
    tests::MemoryHypervisor hypervisor_;
    tests::FrontRing<TxRing> tx_;
    tests::FrontRing<RxRing> rx_;
    QueueSlot slot_;
    unsigned woken_ = 0;
    Clock::time_point now_{milliseconds(1'000'000)};
    std::unique_ptr<Device> device_;
};

TEST_F(DeviceTest, OffersWhatItCanDoAndWaits) {
    look();
    EXPECT_EQ(state(), "2");
    EXPECT_EQ(*store_.read(backend + "/feature-rx-copy"), "1");
    EXPECT_EQ(*store_.read(backend + "/feature-split-event-channels"), "1");
    EXPECT_EQ(*store_.read(backend + "/multi-queue-max-queues"), "1");
    EXPECT_EQ(slot_.current(), nullptr);
}

TEST_F(DeviceTest, ConnectsAndPassesFrames) {
    connect();
    Queue* queue = slot_.current();
    ASSERT_NE(queue, nullptr);
    EXPECT_EQ(hypervisor_.mapped(), 2u);
    EXPECT_EQ(woken_, 1u);
    tx_.put(tests::tx_request(20, 0, 60));
    tx_.publish();
    std::array<FrameFromGuest, 4> frames;
    EXPECT_EQ(queue->tx.take(frames, 100), 1u);
    EXPECT_EQ(device_->ring_counts().requests, 1u);
    EXPECT_EQ(device_->ring_counts().responses, 0u);
    queue->tx.answer(frames[0], true);
    EXPECT_EQ(device_->ring_counts().responses, 0u) << "the guest cannot see it yet";
    queue->tx.publish();
    EXPECT_EQ(device_->ring_counts().responses, 1u);
    slot_.release();
}

TEST_F(DeviceTest, EndsWithTheFrontend) {
    connect();
    frontend_goes("5");
    EXPECT_EQ(state(), "6");
    EXPECT_EQ(hypervisor_.mapped(), 0u);
    EXPECT_EQ(hypervisor_.bound(), 0u);
    frontend_goes("6");
    EXPECT_EQ(state(), "6");
    frontend_goes("1");
    EXPECT_EQ(state(), "2") << "and begins anew";
    connect();
}

TEST_F(DeviceTest, FrontendsThatGoStraightToClosed) {
    connect();
    frontend_goes("6");
    EXPECT_EQ(state(), "6");
    EXPECT_EQ(hypervisor_.mapped(), 0u);
}

TEST_F(DeviceTest, FrontendsThatBeginAnewWithoutAWord) {
    connect();
    frontend_goes("1");
    EXPECT_EQ(state(), "2");
    EXPECT_EQ(hypervisor_.mapped(), 0u);
    frontend_goes("4");
    EXPECT_EQ(state(), "4");
}

TEST_F(DeviceTest, DomainsThatAreGone) {
    connect();
    memory_.release(guest);
    look();
    EXPECT_EQ(hypervisor_.mapped(), 0u);
    EXPECT_EQ(state(), "6");
}

TEST_F(DeviceTest, AToolstackThatClosesUs) {
    connect();
    write(backend + "/state", "5");
    look();
    EXPECT_EQ(state(), "6");
    EXPECT_EQ(hypervisor_.mapped(), 0u);
}

TEST_F(DeviceTest, KeysThatLieCloseItUntilItTriesAgain) {
    look();
    write_keys();
    write(frontend + "/tx-ring-ref", "4000000000");
    frontend_goes("4");
    EXPECT_EQ(state(), "6");
    EXPECT_EQ(device_->violation(), Violation::keys_invalid);
    look();
    EXPECT_EQ(state(), "6") << "not tried again by itself";
    write(frontend + "/tx-ring-ref", "8");
    frontend_goes("1");
    frontend_goes("4");
    EXPECT_EQ(state(), "4");
}

TEST_F(DeviceTest, EverySecondRingIsUnmappedWhenTheNextFails) {
    look();
    write_keys();
    write(frontend + "/event-channel-rx", "99");
    frontend_goes("4");
    EXPECT_EQ(state(), "6");
    EXPECT_EQ(hypervisor_.mapped(), 0u);
    EXPECT_EQ(slot_.current(), nullptr);
}

TEST_F(DeviceTest, ReconnectsAreLimited) {
    look();
    write_keys();
    unsigned connected = 0;
    for (unsigned i = 0; i < 50; ++i) {
        frontend_goes("1");
        frontend_goes("4");
        connected += state() == "4" ? 1 : 0;
        frontend_goes("6");
    }
    EXPECT_EQ(connected, reconnects_at_once_max);
    EXPECT_EQ(device_->violation(), Violation::reconnects_often);
    now_ += reconnect_pause;
    frontend_goes("1");
    frontend_goes("4");
    EXPECT_EQ(state(), "4");
}

TEST_F(DeviceTest, StatesThatDoNotExist) {
    look();
    for (const char* state_text : {"0", "9", "44", "", "connected", "-1"}) {
        frontend_goes(state_text);
        EXPECT_NE(state(), "4");
    }
    frontend_goes(std::string(2000, '4').c_str());
    EXPECT_NE(state(), "4");
}

TEST_F(DeviceTest, ASuccessorAdoptsTheRings) {
    connect();
    Queue* queue = slot_.current();
    for (unsigned i = 0; i < 3; ++i) tx_.put(tests::tx_request(20 + i, 0, 60, 0, i));
    tx_.publish();
    std::array<FrameFromGuest, 4> frames;
    ASSERT_EQ(queue->tx.take(frames, 100), 3u);
    queue->tx.answer(frames[0], true);  // written over the request, and not published
    slot_.release();
    device_.reset();
    EXPECT_EQ(state(), "4") << "the guest notices nothing";

    open();
    look();
    queue = slot_.current();
    ASSERT_NE(queue, nullptr);
    EXPECT_GE(hypervisor_.notified(3), 2u) << "it may have told the one that is gone";
    ASSERT_EQ(queue->tx.take(frames, 100), 3u);
    EXPECT_EQ(frames[0].pieces[0].grant, 20u);
    slot_.release();
}

TEST_F(DeviceTest, ASuccessorDoesNotAdoptRingsOfAnotherConnection) {
    connect();
    slot_.current();
    slot_.release();
    device_.reset();
    // The guest rebooted meanwhile: new rings, fresh indices.
    tests::FrontRing<TxRing> tx;
    tests::FrontRing<RxRing> rx;
    hypervisor_.grant(18, tx.page());
    hypervisor_.grant(19, rx.page());
    write(frontend + "/tx-ring-ref", "18");
    write(frontend + "/rx-ring-ref", "19");
    open();
    look();
    Queue* queue = slot_.current();
    ASSERT_NE(queue, nullptr);
    tx.put(tests::tx_request(30, 0, 60));
    tx.publish();
    std::array<FrameFromGuest, 4> frames;
    EXPECT_EQ(queue->tx.take(frames, 100), 1u);
    slot_.release();
}

TEST_F(DeviceTest, AForgottenDeviceLeavesNothingToAdopt) {
    connect();
    slot_.current();
    slot_.release();
    device_->forget();
    EXPECT_FALSE(std::filesystem::exists(directory_ / "shadow"));
    EXPECT_EQ(hypervisor_.mapped(), 0u);
}

TEST_F(DeviceTest, AWorkerThatUsesAQueueKeepsItMapped) {
    connect();
    ASSERT_NE(slot_.current(), nullptr);
    frontend_goes("5");  // the worker is away
    EXPECT_EQ(hypervisor_.mapped(), 2u);
    EXPECT_TRUE(device_->lets_go());
    EXPECT_EQ(state(), "4") << "not closed before it is";
    frontend_goes("6");
    frontend_goes("1");
    frontend_goes("4");
    EXPECT_EQ(hypervisor_.mapped(), 2u) << "no other queue before that one has gone";
    EXPECT_FALSE(device_->forget());
    EXPECT_EQ(slot_.current(), nullptr);  // and comes back
    EXPECT_TRUE(device_->forget());
    EXPECT_EQ(hypervisor_.mapped(), 0u);
}

TEST_F(DeviceTest, AWorkerThatComesLateIsWaitedFor) {
    connect();
    ASSERT_NE(slot_.current(), nullptr);
    frontend_goes("5");
    slot_.current();
    look();
    EXPECT_EQ(hypervisor_.mapped(), 0u);
    EXPECT_EQ(state(), "6");
    frontend_goes("1");
    frontend_goes("4");
    EXPECT_EQ(state(), "4");
    ASSERT_NE(slot_.current(), nullptr);
    slot_.release();
}

TEST_F(DeviceTest, ADeadXenstoredStopsNothing) {
    connect();
    Queue* queue = slot_.current();
    memory_.set_alive(false);
    EXPECT_FALSE(device_->look(store_, now_));
    EXPECT_EQ(slot_.current(), queue);
    EXPECT_EQ(hypervisor_.mapped(), 2u);
    slot_.release();
}

// Every pair of states has an answer, and what must never happen does not.
TEST(Handshake, EveryPairOfStates) {
    for (unsigned own = 0; own <= 8; ++own) {
        for (unsigned front = 0; front <= 8; ++front) {
            for (const bool rings : {false, true}) {
                const Step step = next_step(static_cast<XenbusState>(own),
                                            static_cast<XenbusState>(front), rings);
                if (step.connect) {
                    EXPECT_EQ(front, 4u);
                    EXPECT_FALSE(rings);
                    EXPECT_NE(own, 5u);
                }
                EXPECT_TRUE(rings || !step.disconnect);
                const bool over = front == 5 || front == 6 || front == 1 || own == 5;
                EXPECT_EQ(step.disconnect, rings && (over || step.disconnect))
                    << own << ' ' << front;
                EXPECT_TRUE(own != 5 || step.state == XenbusState::closed);
            }
        }
    }
}

TEST(Handshake, StatesAsText) {
    EXPECT_EQ(parse_state("4"), XenbusState::connected);
    for (const char* text : {"", "0", "9", "44", " 4", "4 ", "x"}) {
        EXPECT_EQ(parse_state(text), XenbusState::unknown) << text;
    }
}

}  // namespace
}  // namespace xen::netback
