#include <chrono>
#include <cstdlib>
#include <string>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "xen/store/library.hh"
#include "xen/store/memory.hh"
#include "xen/store/store.hh"

namespace xen::store {
namespace {

using namespace std::chrono_literals;

constexpr DomainId guest{7};

struct StoreTest : testing::Test {
    StoreTest() : store(std::move(*Store::open(memory.connect()))) {}

    bool readable() const {
        pollfd ready{store.fd(), POLLIN, 0};
        return ::poll(&ready, 1, 0) == 1;
    }
    std::optional<Event> next() {
        auto event = store.next_event(0ms);
        EXPECT_TRUE(event) << event.error().what;
        return event ? *event : std::nullopt;
    }
    void forget_events() {
        while (next()) {
        }
    }

    MemoryStore memory;
    Store store;
};

TEST_F(StoreTest, ReadsWhatItWrote) {
    ASSERT_TRUE(store.write("/a/b", "value"));
    EXPECT_EQ(*store.read("/a/b"), "value");
    EXPECT_EQ(*store.read("/a"), "");
    EXPECT_EQ(*store.list("/a"), std::vector<std::string>{"b"});
    ASSERT_TRUE(store.remove("/a"));
    EXPECT_EQ(store.read("/a/b").error().failure, Failure::missing);
    EXPECT_EQ(*store.read_if_there("/a/b"), std::nullopt);
    EXPECT_TRUE(store.remove("/a")) << "removing what is not there";
}

TEST_F(StoreTest, BoundsWhatItReads) {
    ASSERT_TRUE(store.write("/a", "12345"));
    EXPECT_EQ(*store.read("/a", 5), "12345");
    EXPECT_EQ(store.read("/a", 4).error().failure, Failure::too_large);
    EXPECT_EQ(store.read_if_there("/a", 4).error().failure, Failure::too_large);
    ASSERT_TRUE(store.write("/a", std::string("1\0002", 3)));
    EXPECT_EQ(store.read("/a").error().failure, Failure::refused) << "a 0 byte";
    ASSERT_TRUE(store.write("/d/1", ""));
    ASSERT_TRUE(store.write("/d/2", ""));
    EXPECT_TRUE(store.list("/d", 2));
    EXPECT_EQ(store.list("/d", 1).error().failure, Failure::too_large);
}

TEST_F(StoreTest, RefusesBadPaths) {
    EXPECT_FALSE(store.write("", "x"));
    EXPECT_FALSE(store.write("/a/", "x"));
    EXPECT_FALSE(store.write("/a//b", "x"));
    EXPECT_FALSE(store.write("/a b", "x"));
    EXPECT_FALSE(store.write("/" + std::string(path_bytes_max, 'a'), "x"));
}

TEST_F(StoreTest, WritesSeveralOrNone) {
    const Permissions narrow{domain_0, Access::none, {{guest, Access::read}}};
    const std::vector<Node> good{{"/a", "1", narrow}, {"/a/b", "2", {}}};
    ASSERT_TRUE(store.write(good));
    EXPECT_EQ(*store.permissions("/a"), narrow);
    EXPECT_EQ(*store.permissions("/a/b"), narrow) << "as the parent's";
    const std::vector<Node> bad{{"/c", "1", {}}, {"/c//", "2", {}}};
    EXPECT_FALSE(store.write(bad));
    EXPECT_FALSE(store.read("/c"));
}

TEST_F(StoreTest, TransactionsAreTriedAgain) {
    memory.conflict_next(3);
    unsigned runs = 0;
    ASSERT_TRUE(store.transaction([&](Transaction& transaction) {
        ++runs;
        return transaction.write("/count", std::to_string(runs));
    }));
    EXPECT_EQ(runs, 4u);
    EXPECT_EQ(*store.read("/count"), "4");
}

TEST_F(StoreTest, TransactionsAreNotTriedForEver) {
    unsigned runs = 0;
    Store other = std::move(*Store::open(memory.connect()));
    const auto done = store.transaction([&](Transaction& transaction) {
        ++runs;
        EXPECT_TRUE(other.write("/mine", std::to_string(runs)));
        return transaction.write("/count", "x");
    });
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().failure, Failure::conflict);
    EXPECT_EQ(runs, transaction_attempts_max);
    EXPECT_FALSE(store.read("/count"));
}

TEST_F(StoreTest, AFailedBodyUndoesItsTransaction) {
    unsigned runs = 0;
    const auto done = store.transaction([&](Transaction& transaction) -> Result<void> {
        ++runs;
        EXPECT_TRUE(transaction.write("/half", "x"));
        EXPECT_EQ(*transaction.read("/half"), "x");
        return tl::unexpected(Error{Failure::refused, "I do not like it"});
    });
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().what, "I do not like it");
    EXPECT_EQ(runs, 1u);
    EXPECT_FALSE(store.read("/half"));
}

TEST_F(StoreTest, WatchesFireAtOnceAndOnChanges) {
    EXPECT_EQ(next(), std::nullopt);
    ASSERT_TRUE(store.watch("/a", "token"));
    EXPECT_TRUE(readable());
    EXPECT_EQ(next(), (Event{"/a", "token"}));
    EXPECT_EQ(next(), std::nullopt);
    EXPECT_FALSE(readable());
    ASSERT_TRUE(store.write("/a/b", "1"));
    ASSERT_TRUE(store.write("/ab", "1"));
    EXPECT_EQ(next(), (Event{"/a/b", "token"}));
    EXPECT_EQ(next(), std::nullopt);
    ASSERT_TRUE(store.remove("/a"));
    EXPECT_EQ(next(), (Event{"/a", "token"}));
    ASSERT_TRUE(store.unwatch("/a", "token"));
    ASSERT_TRUE(store.write("/a/b", "1"));
    EXPECT_EQ(next(), std::nullopt);
}

TEST_F(StoreTest, WaitsForAnEvent) {
    ASSERT_TRUE(store.watch("/a", "token"));
    EXPECT_TRUE(*store.next_event(10s));
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(*store.next_event(20ms), std::nullopt);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 20ms);
}

TEST_F(StoreTest, EqualEventsAreOne) {
    ASSERT_TRUE(store.watch("/a", "token"));
    ASSERT_TRUE(store.watch("/other", "2"));
    forget_events();
    for (int i = 0; i < 1'000; ++i) ASSERT_TRUE(store.write("/a", std::to_string(i)));
    ASSERT_TRUE(store.write("/other", ""));
    EXPECT_EQ(next(), (Event{"/a", "token"}));
    EXPECT_EQ(next(), (Event{"/other", "2"}));
    EXPECT_EQ(next(), std::nullopt);
}

TEST_F(StoreTest, AFloodOfEventsBecomesOneOfEachWatch) {
    ASSERT_TRUE(store.watch("/a", "token"));
    ASSERT_TRUE(store.watch("/other", "2"));
    forget_events();
    for (std::size_t i = 0; i <= events_waiting_max; ++i) {
        ASSERT_TRUE(store.write("/a/" + std::to_string(i), ""));
    }
    EXPECT_EQ(next(), (Event{"/a", "token"}));
    EXPECT_EQ(next(), (Event{"/other", "2"}));
    EXPECT_EQ(next(), std::nullopt);
}

TEST_F(StoreTest, SurvivesADeadXenstored) {
    const int descriptor = store.fd();
    ASSERT_TRUE(store.watch("/a", "token"));
    forget_events();
    memory.set_alive(false);
    EXPECT_EQ(store.read("/a").error().failure, Failure::unreachable);
    EXPECT_FALSE(store.connected());
    EXPECT_EQ(store.write("/a", "").error().failure, Failure::unreachable);
    EXPECT_EQ(store.next_event(0ms).error().failure, Failure::unreachable);
    memory.set_alive(true);
    // It connects when its pause has passed, and every watch fires.
    const auto event = store.next_event(10s);
    ASSERT_TRUE(event) << event.error().what;
    EXPECT_EQ(*event, (Event{"/a", "token"}));
    EXPECT_EQ(store.fd(), descriptor);
    EXPECT_TRUE(store.write("/a", "again"));
    EXPECT_TRUE(readable());
    EXPECT_EQ(next(), (Event{"/a", "token"}));
}

// A xenstored that takes connections and never says a word.
struct SilentXenstored {
    SilentXenstored() {
        path = testing::TempDir() + "silent-" + std::to_string(::getpid()) + ".socket";
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        ::unlink(path.c_str());
        EXPECT_EQ(::bind(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(::listen(descriptor, 16), 0);
        ::setenv("XENSTORED_PATH", path.c_str(), 1);
    }
    ~SilentXenstored() {
        ::unsetenv("XENSTORED_PATH");
        ::unlink(path.c_str());
        ::close(descriptor);
    }
    int descriptor = ::socket(AF_UNIX, SOCK_STREAM, 0);
    std::string path;
};

TEST(Library, AClosedConnectionIsNoted) {
    const SilentXenstored xenstored;
    auto store = Store::open(by_library());
    ASSERT_TRUE(store) << store.error().what;
    const int accepted = ::accept(xenstored.descriptor, nullptr, nullptr);
    ASSERT_GE(accepted, 0);
    ::close(accepted);
    EXPECT_EQ(store->read("/a").error().failure, Failure::unreachable);
}

TEST(Library, WithoutXenItSaysSo) {
    auto store = Store::open();
    if (store) GTEST_SKIP() << "this machine has a xenstored";
    EXPECT_EQ(store.error().failure, Failure::unreachable);
    EXPECT_NE(store.error().what.find("is this Dom0"), std::string::npos) << store.error().what;
}

TEST(Library, ASilentXenstoredIsNotWaitedForForEver) {
    const SilentXenstored xenstored;
    // Those left behind stay: no test after this one can open a connection in this process.
    for (unsigned i = 0; i < abandoned_max; ++i) {
        auto store = Store::open(by_library(200ms));
        ASSERT_TRUE(store) << store.error().what;
        EXPECT_EQ(store->read("/a").error().failure, Failure::unreachable);
        EXPECT_FALSE(store->connected());
    }
    auto store = Store::open(by_library(200ms));
    ASSERT_FALSE(store);
    EXPECT_NE(store.error().what.find("still hang"), std::string::npos) << store.error().what;
}

}  // namespace
}  // namespace xen::store
