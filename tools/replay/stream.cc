#include "tools/replay/stream.hh"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include <signal.h>
#include <unistd.h>

#include "proxy/runtime/replay_record.hh"

namespace replay {
namespace {

constexpr std::size_t buffer_len = 64 * 1024;
static_assert(Selector::frame_len_max <= proxy::replay_frame_len_max);

}  // namespace

Stream::Stream(const config::Config& config, StreamSettings settings, int descriptor)
    : selector_(config, settings.wanted), settings_(std::move(settings)), descriptor_(descriptor) {
    buffer_.reserve(buffer_len);
    struct sigaction interrupt {};
    interrupt.sa_handler = [](int) {};  // and no SA_RESTART: it ends a wait, that is all
    ::sigaction(SIGUSR1, &interrupt, nullptr);
    thread_ = std::thread([this] { run(); });
}

void Stream::finish() {
    if (thread_.joinable()) thread_.join();
}

void Stream::abandon() {
    abandoned_.store(true, std::memory_order_relaxed);
    // Again and again: one that comes just before a wait does not end it.
    while (thread_.joinable() && !ended_.load(std::memory_order_acquire)) {
        ::pthread_kill(thread_.native_handle(), SIGUSR1);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    finish();
}

void Stream::run() {
    // A reader that is gone is an error code here, and nobody else's signals come to this thread.
    sigset_t others;
    sigfillset(&others);
    sigdelset(&others, SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &others, nullptr);
    Schedule schedule(settings_.speed);
    Tally later;
    for (std::uint64_t n = 0; settings_.passes == 0 || n < settings_.passes; ++n) {
        passes_begun_.store(n + 1, std::memory_order_relaxed);
        if (n != 0) schedule.begin_pass();
        if (!pass(schedule, n == 0 ? tally_ : later) || written_ == 0) break;
    }
    flush();
    ::close(descriptor_);
    ended_.store(true, std::memory_order_release);
}

// False: it is over.
bool Stream::pass(Schedule& schedule, Tally& tally) {
    auto reader = tools::CaptureReader::open(settings_.capture);
    if (!reader) {
        complaint_ = reader.error();
        return false;
    }
    std::array<std::byte, Selector::frame_len_max> frame;
    while (const auto captured = reader->next()) {
        if (abandoned_.load(std::memory_order_relaxed)) return false;
        const auto request = selector_.select(*captured, tally);
        if (!request) continue;
        const std::size_t length =
            selector_.write(frame, *request, captured->bytes, static_cast<std::uint16_t>(written_));
        if (!put(schedule.due_ns(captured->time_ns), {frame.data(), length})) return false;
    }
    if (abandoned_.load(std::memory_order_relaxed)) return false;
    tally.skip(Skip::unreadable, reader->skipped());
    complaint_ = reader->complaint();
    return true;
}

bool Stream::put(std::uint64_t due_ns, wire::Bytes frame) {
    const proxy::ReplayRecord record{due_ns, static_cast<std::uint32_t>(frame.size()), 0};
    if (buffer_.size() + sizeof record + frame.size() > buffer_len && !flush()) return false;
    const auto header = std::as_bytes(std::span(&record, 1));
    buffer_.insert(buffer_.end(), header.begin(), header.end());
    buffer_.insert(buffer_.end(), frame.begin(), frame.end());
    ++written_;
    return true;
}

// False: nobody reads any more.
bool Stream::flush() {
    std::size_t done = 0;
    while (done < buffer_.size()) {
        const ssize_t got = ::write(descriptor_, buffer_.data() + done, buffer_.size() - done);
        const bool again = got < 0 && errno == EINTR;
        if (again && !abandoned_.load(std::memory_order_relaxed)) continue;
        if (got < 0) return false;
        done += static_cast<std::size_t>(got);
    }
    buffer_.clear();
    return true;
}

}  // namespace replay
