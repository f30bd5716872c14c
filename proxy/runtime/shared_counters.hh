// The workers' counters in a file that outlives the process (STATE_DIR/counters), so that totals go
// on after a restart. A file of another shape (other workers, other version) starts anew.
//
// writer: each worker its own block; reader: the control thread and telemetry.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include <tl/expected.hpp>

#include "proxy/counters.hh"

namespace proxy {

class SharedCounters {
  public:
    // `fingerprint` of what the numbers are about (groups and replicas); another one starts anew.
    static tl::expected<SharedCounters, std::string> open(const std::filesystem::path& file,
                                                          unsigned workers,
                                                          std::uint64_t fingerprint);
    ~SharedCounters();
    SharedCounters(SharedCounters&& other) noexcept;
    SharedCounters(const SharedCounters&) = delete;
    SharedCounters& operator=(const SharedCounters&) = delete;

    std::span<WorkerCounters> workers() const { return workers_; }
    // Whether an earlier process's totals go on.
    bool adopted() const { return adopted_; }

  private:
    SharedCounters() = default;
    void* memory_ = nullptr;
    std::size_t size_ = 0;
    bool adopted_ = false;
    std::span<WorkerCounters> workers_;
};

}  // namespace proxy
