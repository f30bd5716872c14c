#include "proxy/ports/sleeper.hh"

#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace proxy {
namespace {

constexpr int events_max = 16;
constexpr std::uint32_t error_events = EPOLLERR | EPOLLHUP;

bool add(int epoll, int descriptor) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = descriptor;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

}  // namespace

tl::expected<Sleeper, std::string> Sleeper::make() {
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (epoll < 0 || event < 0 || !add(epoll, event)) {
        const std::string cause = std::strerror(errno);
        if (epoll >= 0) close(epoll);
        if (event >= 0) close(event);
        return tl::unexpected("cannot make what a worker sleeps on (" + cause +
                              "): the limit of open files may be too low (ulimit -n)");
    }
    return Sleeper(epoll, event);
}

Sleeper::Sleeper(Sleeper&& other) noexcept
    : epoll_(std::exchange(other.epoll_, -1)),
      event_(std::exchange(other.event_, -1)),
      watched_(std::exchange(other.watched_, 0)) {
    std::memcpy(descriptors_, other.descriptors_, sizeof descriptors_);
}

Sleeper::~Sleeper() {
    if (epoll_ >= 0) close(epoll_);
    if (event_ >= 0) close(event_);
}

bool Sleeper::watch(std::span<const int> descriptors) {
    for (std::uint32_t i = 0; i < watched_; ++i) {
        epoll_ctl(epoll_, EPOLL_CTL_DEL, descriptors_[i], nullptr);
    }
    watched_ = 0;
    bool all = true;
    for (const int descriptor : descriptors) {
        if (watched_ < wake_descriptors_max && add(epoll_, descriptor)) {
            descriptors_[watched_++] = descriptor;
        } else {
            all = false;
        }
    }
    return all;
}

// arm() and wake() each change armed_ in one step, so one of them is first. Was it arm(), then
// wake() finds true and writes the event. Was it wake(), then arm() reads what wake() wrote, and
// with it all that the waker had put down before: the owner's last look finds it.
// (Read-modify-write instead of fences, which cost the same here: ThreadSanitizer does not know
// fences.)
void Sleeper::arm() { armed_.exchange(true, std::memory_order_acq_rel); }  // partner: wake()

// An exchange too: a plain store would part a wake() before it from the arm() after it.
void Sleeper::disarm() { armed_.exchange(false, std::memory_order_acq_rel); }

void Sleeper::wake() {
    if (!armed_.exchange(false, std::memory_order_acq_rel)) return;  // partner: arm()
    const std::uint64_t one = 1;
    // Fails only when the counter is full: then it is readable already.
    [[maybe_unused]] const ssize_t written = write(event_, &one, sizeof one);
}

// An error condition ends every sleep at once until it is taken: take it. What stays is no longer
// watched, so that it cannot keep the worker awake.
bool Sleeper::settle(int descriptor) {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error != 0) {
        return true;
    }
    return epoll_ctl(epoll_, EPOLL_CTL_DEL, descriptor, nullptr) == 0;
}

Woke Sleeper::sleep(std::uint32_t timeout_us) {
    timespec timeout{};
    timeout.tv_sec = timeout_us / 1'000'000;
    timeout.tv_nsec = static_cast<long>(timeout_us % 1'000'000) * 1000;
    epoll_event events[events_max];
    const int count = epoll_pwait2(epoll_, events, events_max, &timeout, nullptr);
    disarm();
    Woke woke = Woke::timeout;
    for (int i = 0; i < count; ++i) {
        const int descriptor = events[i].data.fd;
        if (descriptor == event_) {
            std::uint64_t times = 0;
            [[maybe_unused]] const ssize_t got = read(event_, &times, sizeof times);
            if (woke == Woke::timeout) woke = Woke::woken;
        } else if ((events[i].events & error_events) != 0) {
            settle(descriptor);
            woke = Woke::trouble;
        } else if (woke != Woke::trouble) {
            woke = Woke::packets;
        }
    }
    return woke;
}

}  // namespace proxy
