// A worker's thread: turns of the loop while there is work, sleep on the ports' descriptors when
// there is none. It gives up its privileges before the first packet.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "proxy/pipeline.hh"
#include "proxy/ports/sleeper.hh"

namespace proxy {

struct ThreadSettings {
    std::optional<unsigned> cpu;
    std::uint32_t idle_us = 50;
    std::uint64_t ticks_per_second = 0;
    bool keep_privileges = false;  // tests only
};

class WorkerThread {
  public:
    WorkerThread(Worker& worker, WorkerCounters& counters, Sleeper sleeper,
                 const ThreadSettings& settings);
    ~WorkerThread();
    WorkerThread(const WorkerThread&) = delete;
    WorkerThread& operator=(const WorkerThread&) = delete;

    // `peers`: all threads by worker index; woken when this one hands them packets.
    void start(std::vector<WorkerThread*> peers);
    void stop();  // and join
    void wake() { sleeper_.wake(); }

    // Control thread: the descriptors that belong to the plan with this epoch; `polled`: a port has
    // none, so sleeps stay short.
    void watch(std::uint64_t epoch, std::vector<int> descriptors, bool polled);

    // Once after a port's descriptor reported trouble.
    bool take_trouble() { return trouble_.exchange(false, std::memory_order_relaxed); }
    // Why privileges could not be given up; empty: they were.
    std::string privileges_error();

  private:
    void run();
    void idle(std::uint64_t now);
    void take_up_descriptors();
    void wake_peers();

    Worker& worker_;
    WorkerCounters& counters_;
    Sleeper sleeper_;
    ThreadSettings settings_;
    std::vector<WorkerThread*> peers_;
    std::thread thread_;
    std::atomic<bool> stop_{false};
    std::atomic<bool> trouble_{false};

    std::mutex mutex_;  // of what follows; taken when a plan changes, never per packet
    std::uint64_t offered_epoch_ = 0;
    std::vector<int> offered_descriptors_;
    bool offered_polled_ = false;
    std::string privileges_error_;

    std::uint64_t watched_epoch_ = 0;  // the thread's own
    bool polled_ = true;
};

}  // namespace proxy
