// A device against a frontend in memory: what Linux's netfront does, and what it never would.
#include <filesystem>

#include <gtest/gtest.h>

#include "tests/unit/recovery/temporary_directory.hh"
#include "tests/unit/xen/netback/guest.hh"
#include "xen/netback/device.hh"
#include "xen/store/memory.hh"

namespace xen::netback {
namespace {

using std::chrono::milliseconds;

class DeviceTest : public testing::Test {
  protected:
    DeviceTest() {
        memory_.introduce(guest_.domain);
        write(guest_.backend + "/state", "1");
        write(guest_.frontend + "/state", "1");
        open();
    }

    void open(const Offer& offer = {}) {
        device_ = std::move(*Device::open(
            {guest_.domain, guest_.backend, guest_.frontend, directory_ / "shadow", 1, offer},
            hypervisor_, {&slot_, 1}, [this] { ++woken_; }));
    }
    void write(const std::string& path, const std::string& value) {
        ASSERT_TRUE(store_.write(path, value));
    }
    std::string state() { return *store_.read(guest_.backend + "/state"); }
    void frontend_goes(const char* state) {
        write(guest_.frontend + "/state", state);
        look();
    }
    void look() { ASSERT_TRUE(device_->look(store_, now_)); }
    void connect() {
        look();
        guest_.write_keys(store_);
        frontend_goes("4");
        ASSERT_EQ(state(), "4") << device_->trouble();
    }

    test::TemporaryDirectory directory_;
    store::MemoryStore memory_;
    store::Store store_{*store::Store::open(memory_.connect())};
    tests::MemoryHypervisor hypervisor_;
    tests::Guest guest_{DomainId{7}, hypervisor_};
    QueueSlot slot_;
    unsigned woken_ = 0;
    Clock::time_point now_{milliseconds(1'000'000)};
    std::unique_ptr<Device> device_;
};

TEST_F(DeviceTest, OffersWhatItCanDoAndWaits) {
    look();
    EXPECT_EQ(state(), "2");
    EXPECT_EQ(*store_.read(guest_.backend + "/feature-rx-copy"), "1");
    EXPECT_EQ(*store_.read(guest_.backend + "/feature-split-event-channels"), "1");
    EXPECT_EQ(*store_.read(guest_.backend + "/multi-queue-max-queues"), "1");
    EXPECT_EQ(*store_.read(guest_.backend + "/feature-sg"), "0");
    EXPECT_EQ(slot_.current(), nullptr);
}

TEST_F(DeviceTest, OffersSeveralPagesAFrameWhereItIsTold) {
    open({.scatter_gather = true});
    look();
    EXPECT_EQ(*store_.read(guest_.backend + "/feature-sg"), "1");
    EXPECT_EQ(*store_.read(guest_.backend + "/feature-gso-tcpv4"), "0");
    EXPECT_EQ(*store_.read(guest_.backend + "/feature-gso-tcpv6"), "0");
}

TEST_F(DeviceTest, OffersSegmentationWhereItIsTold) {
    open({.segmentation = true});
    look();
    EXPECT_EQ(*store_.read(guest_.backend + "/feature-sg"), "1") << "a segment has several pages";
    EXPECT_EQ(*store_.read(guest_.backend + "/feature-gso-tcpv4"), "1");
    EXPECT_EQ(*store_.read(guest_.backend + "/feature-gso-tcpv6"), "1");
}

TEST_F(DeviceTest, ConnectsAndPassesFrames) {
    connect();
    Queue* queue = slot_.current();
    ASSERT_NE(queue, nullptr);
    EXPECT_EQ(hypervisor_.mapped(), 2u);
    EXPECT_EQ(woken_, 1u);
    guest_.tx.put(tests::tx_request(20, 0, 60));
    guest_.tx.publish();
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
    memory_.release(guest_.domain);
    look();
    EXPECT_EQ(hypervisor_.mapped(), 0u);
    EXPECT_EQ(state(), "6");
}

TEST_F(DeviceTest, AToolstackThatClosesUs) {
    connect();
    write(guest_.backend + "/state", "5");
    look();
    EXPECT_EQ(state(), "6");
    EXPECT_EQ(hypervisor_.mapped(), 0u);
}

TEST_F(DeviceTest, KeysThatLieCloseItUntilItTriesAgain) {
    look();
    guest_.write_keys(store_);
    write(guest_.frontend + "/tx-ring-ref", "4000000000");
    frontend_goes("4");
    EXPECT_EQ(state(), "6");
    EXPECT_EQ(device_->violation(), Violation::keys_invalid);
    look();
    EXPECT_EQ(state(), "6") << "not tried again by itself";
    guest_.write_keys(store_);
    frontend_goes("1");
    frontend_goes("4");
    EXPECT_EQ(state(), "4");
}

TEST_F(DeviceTest, EverySecondRingIsUnmappedWhenTheNextFails) {
    look();
    guest_.write_keys(store_);
    write(guest_.frontend + "/event-channel-rx", "99");
    frontend_goes("4");
    EXPECT_EQ(state(), "6");
    EXPECT_EQ(hypervisor_.mapped(), 0u);
    EXPECT_EQ(slot_.current(), nullptr);
}

TEST_F(DeviceTest, ReconnectsAreLimited) {
    look();
    guest_.write_keys(store_);
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
    for (unsigned i = 0; i < 3; ++i) guest_.tx.put(tests::tx_request(20 + i, 0, 60, 0, i));
    guest_.tx.publish();
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
    EXPECT_GE(hypervisor_.notified(guest_.domain, guest_.tx_channel), 2u)
        << "it may have told the one that is gone";
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
    hypervisor_.grant(guest_.domain, 18, tx.page());
    hypervisor_.grant(guest_.domain, 19, rx.page());
    write(guest_.frontend + "/tx-ring-ref", "18");
    write(guest_.frontend + "/rx-ring-ref", "19");
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
