// Two workers in threads of their own: packets handed over on rings both ways, plans that change
// under them, events to a third thread, counters read by a fourth. ThreadSanitizer watches the
// memory; this program watches that every request is answered once and nothing is lost.
//
// Ports have one queue, worker 0's: so half of the flows, and all that worker 1 sends, go through
// the rings. DPDK's rings are compiled into this program by their headers, mempool caches as well.
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>

#include <rte_lcore.h>
#include <rte_ring.h>

#include "tests/appliance/environment.hh"

// A packet comes back to its pool in DPDK's library, or by a relaxed look at its reference count
// (enough on x86): ThreadSanitizer cannot know that nobody reads it any more when it is used again.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
    return "race:appliance_test::Appliance::from_client\n"
           "race:appliance_test::Appliance::from_replica\n";
}

namespace {

using namespace appliance_test;

constexpr unsigned workers_count = 2;
constexpr unsigned requests_count = 2000;
constexpr unsigned plans_count = 200;
const Endpoint client{mac("02:cc:00:00:00:01"), address("198.51.100.9"), 4000};

TEST(Stress, TwoWorkersHandOverAndPlansChange) {
    // Its plan and its frames are wanted; its worker rests.
    Shape shape;
    shape.deadline_us = 1'000'000'000'000;  // turns are its clock, and nobody knows how many
    Appliance model(shape);
    proxy::Plan plans[3];
    for (proxy::Plan& plan : plans) plan = model.next_plan();

    proxy::Handoff handoff;
    const unsigned flags = RING_F_SP_ENQ | RING_F_SC_DEQ;
    handoff.rings[0][1] = rte_ring_create("h01", proxy::handoff_len, SOCKET_ID_ANY, flags);
    handoff.rings[1][0] = rte_ring_create("h10", proxy::handoff_len, SOCKET_ID_ANY, flags);
    ASSERT_NE(handoff.rings[0][1], nullptr);
    ASSERT_NE(handoff.rings[1][0], nullptr);

    auto counters = std::make_unique<std::array<proxy::WorkerCounters, workers_count>>();
    auto events = std::make_unique<std::array<proxy::EventQueue, workers_count>>();
    std::array<std::unique_ptr<proxy::Worker>, workers_count> workers;
    for (unsigned i = 0; i < workers_count; ++i) {
        proxy::WorkerSettings settings;
        settings.index = i;
        settings.workers = workers_count;
        settings.records = 4096;
        settings.hash_secrets = {1, 0x1234567812345671u, 0xabcdef0123456789u, 0x3141592653589793u};
        settings.ticks_per_second = ticks_per_second;
        settings.accusation[0].dissents_min = 5;
        settings.accusation[0].sources_min = 1;
        proxy::WorkerSurroundings around;
        around.packets = pool().packets;
        around.jumbos = pool().jumbos;
        around.counters = &(*counters)[i];
        around.handoff = &handoff;
        around.events = &(*events)[i];
        workers[i] = std::make_unique<proxy::Worker>(settings, around);
        workers[i]->offer(&plans[0]);
    }

    // The ring ports' driver is a library that ThreadSanitizer has not compiled: it does not see
    // that a packet is handed over there. So the far ends and worker 0, which alone has the ports'
    // queues, take turns; what the workers do with each other is not ordered by it.
    std::mutex ports;
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> events_seen{0};
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < workers_count; ++i) {
        threads.emplace_back([&, i] {
            rte_thread_register();
            std::uint64_t now = 1'000'000;
            while (!stop.load(std::memory_order_acquire)) {
                unsigned packets = 0;
                if (i == 0) {
                    const std::lock_guard turn(ports);
                    packets = workers[i]->run_once(++now);
                } else {
                    packets = workers[i]->run_once(++now);
                }
                if (packets == 0) std::this_thread::yield();
                workers[i]->take_handed_to();
            }
            rte_thread_unregister();
        });
    }
    // The control thread: a plan may be used again once both have left it.
    threads.emplace_back([&] {
        std::uint64_t epoch = plans[0].epoch;
        for (unsigned i = 1; i <= plans_count && !stop.load(std::memory_order_acquire); ++i) {
            proxy::Plan& plan = plans[i % 3];
            plan.epoch = ++epoch;
            // The third slot is replaced time and again.
            plan.groups[0].seats[2].incarnation = voter::Incarnation{100 + i};
            for (auto& worker : workers) worker->offer(&plan);
            for (auto& worker : workers) {
                while (worker->taken_up() != epoch && !stop.load(std::memory_order_acquire)) {
                    std::this_thread::yield();
                }
            }
            for (auto& queue : *events) {
                while (queue.pop()) events_seen.fetch_add(1, std::memory_order_relaxed);
            }
            std::uint64_t total = 0;
            for (auto& each : *counters) total += each.received.get() + each.groups[0].agreed.get();
            EXPECT_LT(total, UINT64_MAX / 2);
        }
    });

    // Clients and replicas, here: the first two say the same, the third lies.
    unsigned sent = 0;
    unsigned answered = 0;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (answered < requests_count && std::chrono::steady_clock::now() < deadline) {
        std::unique_lock turn(ports);
        if (sent < requests_count && sent - answered < 64) {
            Endpoint from = client;
            from.port = static_cast<std::uint16_t>(1024 + sent);
            if (model.from_client(model.request(from, text("0001 what")))) ++sent;
        }
        for (unsigned slot = 0; slot < 3; ++slot) {
            for (const Octets& frame : model.to_replica(slot)) {
                wire::Frame parsed;
                if (wire::parse_frame(frame, parsed) != wire::DropReason::none) continue;
                Endpoint from = client;
                from.port = parsed.source_port;
                EXPECT_TRUE(model.from_replica(
                    slot, model.reply(from, text(slot == 2 ? "0001 lies" : "0001 that"))));
            }
        }
        for (const Octets& frame : model.to_client()) {
            wire::Frame parsed;
            ASSERT_EQ(wire::parse_frame(frame, parsed), wire::DropReason::none);
            EXPECT_EQ(hex(parsed.payload(frame)), hex(text("0001 that")));
            answered += 1;
        }
        turn.unlock();
        std::this_thread::yield();
    }
    stop.store(true, std::memory_order_release);
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(answered, requests_count);
    std::uint64_t handed = 0;
    std::uint64_t taken = 0;
    for (unsigned i = 0; i < workers_count; ++i) workers[i]->drain();
    for (unsigned i = 0; i < workers_count; ++i) {
        workers[i]->drain();
        EXPECT_TRUE((*counters)[i].balanced()) << "worker " << i;
        handed += (*counters)[i].handed_over.get();
        taken += (*counters)[i].taken_over.get();
    }
    EXPECT_GT(handed, requests_count / 2) << "nothing went through the rings";
    EXPECT_EQ(handed, taken);
    for (auto& worker : workers) worker.reset();
    for (rte_ring* ring : {handoff.rings[0][1], handoff.rings[1][0]}) rte_ring_free(ring);
}

}  // namespace
