// A sleeper on a real port: wakes, loses nothing, and is not kept awake by what went away.
#include <atomic>
#include <thread>

#include <rte_ring.h>
#include <sys/resource.h>

#include "proxy/ports/sleeper.hh"
#include "tests/unit/proxy/veth_fixture.hh"

namespace {

using namespace port_test;
using Kind = config::PortSpec::Kind;
using Clock = std::chrono::steady_clock;

proxy::Woke rest(proxy::Sleeper& sleeper, std::uint32_t timeout_us) {
    return sleeper.sleep(timeout_us);  // pause: it is what is tested
}

void a_moment() {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // pause: the other is to sleep
}

std::int64_t elapsed_ms(Clock::time_point since) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - since).count();
}

TEST(Sleeper, IsBoundedAndWoken) {
    auto sleeper = proxy::Sleeper::make();
    ASSERT_TRUE(sleeper) << sleeper.error();
    const auto start = Clock::now();
    sleeper->arm();
    EXPECT_EQ(rest(*sleeper, 20'000), proxy::Woke::timeout);
    EXPECT_GE(elapsed_ms(start), 19);
    // A wake-up is kept from arm() on, and does not linger.
    sleeper->arm();
    sleeper->wake();
    EXPECT_EQ(rest(*sleeper, 5'000'000), proxy::Woke::woken);
    sleeper->wake();  // not armed: nothing
    sleeper->arm();
    EXPECT_EQ(rest(*sleeper, 1'000), proxy::Woke::timeout);
    std::thread other([&] {
        a_moment();
        sleeper->wake();
    });
    sleeper->arm();
    EXPECT_EQ(rest(*sleeper, 5'000'000), proxy::Woke::woken);
    other.join();
}

TEST_F(Veth, PacketsEndASleep) {
    auto port = proxy::open_port(spec(Kind::af_packet, "qa"), 1, Environment::pool());
    ASSERT_TRUE(port) << port.error();
    auto sleeper = proxy::Sleeper::make();
    ASSERT_TRUE(sleeper) << sleeper.error();
    ASSERT_TRUE(sleeper->watch(port->wake_descriptors));
    const Peer peer("qb");
    // One that waits already, for as long as it is not taken.
    peer.send(frame(60, 1));
    for (int i = 0; i < 2; ++i) {
        sleeper->arm();
        EXPECT_EQ(rest(*sleeper, 1'000'000), proxy::Woke::packets);
    }
    rte_mbuf* packet = receive(*port);
    ASSERT_NE(packet, nullptr);
    rte_pktmbuf_free(packet);
    // One that comes later.
    std::thread sender([&] {
        a_moment();
        peer.send(frame(60, 2));
    });
    const auto start = Clock::now();
    while ((packet = nullptr, port->data.rx_burst(0, &packet, 1)) == 0 || !is_ours(packet)) {
        rte_pktmbuf_free(packet);
        sleeper->arm();
        ASSERT_LT(elapsed_ms(start), 4000);
        rest(*sleeper, 5'000'000);
    }
    EXPECT_LT(elapsed_ms(start), 4000);
    rte_pktmbuf_free(packet);
    sender.join();
    // None any more once it is not watched.
    ASSERT_TRUE(sleeper->watch({}));
    peer.send(frame(60, 3));
    sleeper->arm();
    EXPECT_EQ(rest(*sleeper, 10'000), proxy::Woke::timeout);
    discard(*port);
    proxy::close_port(*port);
}

// Ping-pong of one frame at a time with a sleep before each: a lost wake-up would cost five
// seconds.
TEST_F(Veth, NoWakeUpIsLostBetweenLookAndSleep) {
    auto port = proxy::open_port(spec(Kind::af_packet, "qa"), 1, Environment::pool());
    ASSERT_TRUE(port) << port.error();
    auto sleeper = proxy::Sleeper::make();
    ASSERT_TRUE(sleeper) << sleeper.error();
    ASSERT_TRUE(sleeper->watch(port->wake_descriptors));
    constexpr int rounds = 3000;
    std::atomic<bool> stop{false};
    std::thread worker([&] {
        while (!stop.load()) {
            rte_mbuf* packet = nullptr;
            if (port->data.rx_burst(0, &packet, 1) == 0) {
                sleeper->arm();
                if (port->data.rx_burst(0, &packet, 1) == 0) {
                    if (stop.load()) break;
                    rest(*sleeper, 5'000'000);
                    continue;
                }
                sleeper->disarm();
            }
            if (!is_ours(packet) || port->data.tx_burst(0, &packet, 1) == 0) {
                rte_pktmbuf_free(packet);
            }
        }
    });
    const Peer peer("qb");
    const auto start = Clock::now();
    int answered = 0;
    for (int i = 0; i < rounds && elapsed_ms(start) < 20'000; ++i) {
        peer.send(frame(60, static_cast<std::uint8_t>(i)));
        if (!peer.receive().empty()) ++answered;
    }
    EXPECT_EQ(answered, rounds);
    stop.store(true);
    sleeper->wake();
    worker.join();
    discard(*port);
    proxy::close_port(*port);
}

// The same for wake(): one thread sleeps whenever there is nothing, the other puts the next thing
// down at about the same moment, so that it falls on every instruction between look and sleep.
// A stress, no proof: with a plain store and load in place of the exchanges (x86 lets a load pass
// an earlier store) it finds a sleeper that missed it in some runs, not in all.
TEST(Sleeper, NoWakeUpOfAnotherThreadIsLost) {
    auto sleeper = proxy::Sleeper::make();
    ASSERT_TRUE(sleeper) << sleeper.error();
    constexpr std::uint32_t items = 100'000;
    alignas(64) std::atomic<std::uint32_t> put{0};
    alignas(64) std::atomic<std::uint32_t> taken{0};
    std::atomic<int> late{0};
    std::thread consumer([&] {
        std::uint32_t next = 1;
        while (next <= items && late.load(std::memory_order_relaxed) == 0) {
            for (std::uint32_t pause = next * 7 % 512; pause > 0; --pause) asm volatile("nop");
            if (put.load(std::memory_order_acquire) < next) {
                sleeper->arm();
                if (put.load(std::memory_order_acquire) < next) {
                    if (rest(*sleeper, 3'000'000) == proxy::Woke::timeout) late.fetch_add(1);
                    continue;
                }
                sleeper->disarm();
            }
            taken.store(next++, std::memory_order_release);
        }
    });
    const auto start = Clock::now();
    for (std::uint32_t i = 1; i <= items && late.load() == 0; ++i) {
        for (std::uint32_t pause = i % 128; pause > 0; --pause) asm volatile("nop");
        put.store(i, std::memory_order_release);
        sleeper->wake();
        for (int spins = 0; taken.load(std::memory_order_acquire) < i && late.load() == 0;
             ++spins) {
            if (spins > 2000) std::this_thread::yield();
        }
        if (elapsed_ms(start) > 20'000) {
            late.store(-1);  // a busy machine, not a lost wake-up
            put.store(items + 1);
            sleeper->wake();
        }
    }
    consumer.join();
    EXPECT_LE(late.load(), 0);
}

double processor_seconds() {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

TEST_F(Veth, WhatWentAwayIsToldOnceAndKeepsNobodyAwake) {
    for (const Kind kind : {Kind::af_packet, Kind::tap}) {
        SCOPED_TRACE(static_cast<int>(kind));
        auto port =
            proxy::open_port(spec(kind, kind == Kind::tap ? "qtap" : "qa"), 1, Environment::pool());
        if (!port && kind == Kind::tap) GTEST_SKIP() << port.error();
        ASSERT_TRUE(port) << port.error();
        ASSERT_FALSE(port->wake_descriptors.empty());
        auto sleeper = proxy::Sleeper::make();
        ASSERT_TRUE(sleeper) << sleeper.error();
        ASSERT_TRUE(sleeper->watch(port->wake_descriptors));
        ASSERT_TRUE(run(kind == Kind::tap ? "ip link del qtap" : "ip link del qb"));
        discard(*port);
        int troubles = 0;
        const double before = processor_seconds();
        const auto start = Clock::now();
        while (elapsed_ms(start) < 300) {
            sleeper->arm();
            if (rest(*sleeper, 50'000) == proxy::Woke::trouble) ++troubles;
            discard(*port);
        }
        EXPECT_GE(troubles, 1);
        EXPECT_LE(troubles, 3);
        EXPECT_LT(processor_seconds() - before, 0.1);
        proxy::close_port(*port);
    }
}

}  // namespace
