// Replay records as they come out of a descriptor: a bounded buffer, never a wait.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "proxy/runtime/replay_record.hh"

namespace proxy {

class ReplayInput {
  public:
    enum class State : std::uint8_t { record, nothing_yet, end, broken };

    // Takes over the descriptor.
    explicit ReplayInput(int descriptor);
    ~ReplayInput();
    ReplayInput(const ReplayInput&) = delete;
    ReplayInput& operator=(const ReplayInput&) = delete;

    // Whether there is a record now; then record() and frame() are it, until pop().
    State look();
    const ReplayRecord& record() const { return record_; }
    std::span<const std::byte> frame() const;
    void pop();

    // The writer notices (EPIPE); afterwards there is nothing.
    void close();

  private:
    State fill();

    int descriptor_;
    bool looked_ = false;  // record_ is the one at begin_
    ReplayRecord record_;
    std::vector<std::byte> buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

}  // namespace proxy
