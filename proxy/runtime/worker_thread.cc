#include "proxy/runtime/worker_thread.hh"

#include <algorithm>

#include <pthread.h>
#include <rte_cycles.h>
#include <rte_lcore.h>
#include <sched.h>
#include <signal.h>

#include "proxy/ports/privileges.hh"

namespace proxy {

namespace {

constexpr std::uint32_t sleep_us_max = 100'000;
constexpr std::uint32_t sleep_us_polled = 100;  // with a port that cannot wake us

}  // namespace

WorkerThread::WorkerThread(Worker& worker, WorkerCounters& counters, Sleeper sleeper,
                           const ThreadSettings& settings)
    : worker_(worker), counters_(counters), sleeper_(std::move(sleeper)), settings_(settings) {}

WorkerThread::~WorkerThread() { stop(); }

void WorkerThread::start(std::vector<WorkerThread*> peers) {
    peers_ = std::move(peers);
    // Signals are the control thread's.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void WorkerThread::stop() {
    if (!thread_.joinable()) return;
    stop_.store(true, std::memory_order_release);
    sleeper_.wake();
    thread_.join();
}

void WorkerThread::watch(std::uint64_t epoch, std::vector<int> descriptors, bool polled) {
    const std::lock_guard lock(mutex_);
    offered_epoch_ = epoch;
    offered_descriptors_ = std::move(descriptors);
    offered_polled_ = polled;
}

std::string WorkerThread::privileges_error() {
    const std::lock_guard lock(mutex_);
    return privileges_error_;
}

void WorkerThread::run() {
    if (settings_.cpu) {
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        CPU_SET(*settings_.cpu, &cpus);
        pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus);
    }
    rte_thread_register();  // an lcore id: the mempool's cache for this thread
    if (!settings_.keep_privileges) {
        if (const auto dropped = drop_thread_privileges(); !dropped) {
            const std::lock_guard lock(mutex_);
            privileges_error_ = dropped.error();
        }
    }
    const std::uint64_t idle_ticks = settings_.ticks_per_second * settings_.idle_us / 1'000'000;
    std::uint64_t last_packet = rte_rdtsc();
    // Partner: the release store in stop().
    while (!stop_.load(std::memory_order_acquire)) {
        const std::uint64_t now = rte_rdtsc();
        if (worker_.run_once(now) != 0) {
            last_packet = now;
            if (peers_.size() > 1) wake_peers();
        } else if (now - last_packet > idle_ticks) {
            idle(now);
        }
        if (worker_.taken_up() != watched_epoch_) take_up_descriptors();
    }
    worker_.drain();
    rte_thread_unregister();
}

// Arm, look once more, sleep: nothing that comes in between is lost.
void WorkerThread::idle(std::uint64_t now) {
    sleeper_.arm();
    if (worker_.listen() || worker_.run_once(now) != 0 || worker_.handoff_waits() ||
        stop_.load(std::memory_order_acquire)) {
        sleeper_.disarm();
        wake_peers();
        return;
    }
    const std::uint64_t deadline = worker_.next_deadline();
    std::uint64_t us = polled_ ? sleep_us_polled : sleep_us_max;
    if (deadline != UINT64_MAX) {
        const std::uint64_t ticks = deadline > now ? deadline - now : 0;
        us = std::min(us, ticks * 1'000'000 / settings_.ticks_per_second + 1);
    }
    counters_.sleeps.add(1);
    if (sleeper_.sleep(static_cast<std::uint32_t>(us)) == Woke::trouble) {
        trouble_.store(true, std::memory_order_relaxed);
    }
    worker_.woke();
}

void WorkerThread::take_up_descriptors() {
    const std::lock_guard lock(mutex_);
    if (offered_epoch_ != worker_.taken_up()) return;
    watched_epoch_ = offered_epoch_;
    polled_ = !sleeper_.watch(offered_descriptors_) || offered_polled_;
}

void WorkerThread::wake_peers() {
    std::uint32_t handed_to = worker_.take_handed_to();
    for (; handed_to != 0; handed_to &= handed_to - 1) {
        peers_[static_cast<unsigned>(std::countr_zero(handed_to))]->wake();
    }
}

}  // namespace proxy
