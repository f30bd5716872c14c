#include "proxy/runtime/replay_input.hh"

#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

namespace proxy {
namespace {

constexpr std::size_t buffer_len = 256 * 1024;

}  // namespace

ReplayInput::ReplayInput(int descriptor) : descriptor_(descriptor), buffer_(buffer_len) {
    ::fcntl(descriptor_, F_SETFL, ::fcntl(descriptor_, F_GETFL) | O_NONBLOCK);
}

ReplayInput::~ReplayInput() { close(); }

void ReplayInput::close() {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
    begin_ = end_ = 0;
    looked_ = false;
}

ReplayInput::State ReplayInput::look() {
    if (looked_) return State::record;
    while (true) {
        const std::size_t have = end_ - begin_;
        if (have >= replay_record_len) {
            std::memcpy(&record_, buffer_.data() + begin_, replay_record_len);
            if (record_.length == 0 || record_.length > replay_frame_len_max) return State::broken;
            if (have >= replay_record_len + record_.length) {
                looked_ = true;
                return State::record;
            }
        }
        if (const State state = fill(); state != State::record) return state;
    }
}

std::span<const std::byte> ReplayInput::frame() const {
    return {buffer_.data() + begin_ + replay_record_len, record_.length};
}

void ReplayInput::pop() {
    begin_ += replay_record_len + record_.length;
    looked_ = false;
}

// State::record: there is more than before.
ReplayInput::State ReplayInput::fill() {
    if (descriptor_ < 0) return State::end;
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    const ssize_t got = ::read(descriptor_, buffer_.data() + end_, buffer_.size() - end_);
    if (got > 0) {
        end_ += static_cast<std::size_t>(got);
        return State::record;
    }
    if (got == 0) return end_ == 0 ? State::end : State::broken;
    return errno == EAGAIN || errno == EINTR ? State::nothing_yet : State::broken;
}

}  // namespace proxy
