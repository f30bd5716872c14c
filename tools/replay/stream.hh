// A capture's requests as replay records into a descriptor, pass after pass: the file is read as it
// is needed, never held. A thread of its own, which the reader of the descriptor holds back.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tools/replay/schedule.hh"
#include "tools/replay/selection.hh"

namespace replay {

struct StreamSettings {
    std::filesystem::path capture;
    Wanted wanted;
    Speed speed;
    std::uint64_t passes = 1;  // 0: until somebody stops reading
};

class Stream {
  public:
    // Takes over `descriptor`, closed at the end. `config` outlives the stream.
    Stream(const config::Config& config, StreamSettings settings, int descriptor);
    ~Stream() { abandon(); }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    // Waits until all is written, or nobody reads any more.
    void finish();
    // Ends at once, also where it waits for a capture that comes through a pipe. Uses SIGUSR1.
    void abandon();

    std::uint64_t passes_begun() const { return passes_begun_.load(std::memory_order_relaxed); }

    // After finish(). Of the first pass; the others have the same.
    const Tally& tally() const { return tally_; }
    // Why not everything was sent, other than that nobody read it; empty: all was.
    const std::string& complaint() const { return complaint_; }

  private:
    void run();
    bool pass(Schedule& schedule, Tally& tally);
    bool put(std::uint64_t due_ns, wire::Bytes frame);
    bool flush();

    Selector selector_;
    StreamSettings settings_;
    int descriptor_;
    std::vector<std::byte> buffer_;
    std::uint64_t written_ = 0;
    Tally tally_;
    std::string complaint_;
    std::atomic<std::uint64_t> passes_begun_{0};  // writer: the thread; reader: who asks
    std::atomic<bool> abandoned_{false};          // writer: who ends it; reader: the thread
    std::atomic<bool> ended_{false};              // writer: the thread; reader: who ends it
    std::thread thread_;
};

}  // namespace replay
