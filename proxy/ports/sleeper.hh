// How an idle worker sleeps: on the sockets below its ports, on a wake-up from another thread, for
// a bounded time.
//
// The order that loses no packet and no wake-up: arm(), poll every queue and ring once more, and
// only if all were empty sleep(); else disarm(). Sockets are level triggered: what came before the
// sleep ends it at once. A wake() between arm() and sleep() ends it too; without arm() it costs
// one atomic exchange, so producers may call it after every burst.
//
// Known limit: ports that have no descriptor (ring, memif, pcap, physical) do not end a sleep;
// their users bound it.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>

#include <tl/expected.hpp>

namespace proxy {

constexpr std::size_t wake_descriptors_max = 256;

enum class Woke : std::uint8_t {
    timeout,
    woken,    // by wake()
    packets,  // a descriptor is readable
    trouble,  // a descriptor reported an error: an interface went down or away. Told once; have
              // the control thread look at the ports' interface_state()
};

class Sleeper {
  public:
    static tl::expected<Sleeper, std::string> make();
    ~Sleeper();
    Sleeper(Sleeper&& other) noexcept;  // before it is shared
    Sleeper(const Sleeper&) = delete;
    Sleeper& operator=(const Sleeper&) = delete;
    Sleeper& operator=(Sleeper&&) = delete;

    // Owner thread. Replaces the set; descriptors are watched, not owned, and must leave the set
    // before they are closed. False: more than wake_descriptors_max, or one cannot be watched; the
    // others are.
    bool watch(std::span<const int> descriptors);
    void arm();
    void disarm();
    Woke sleep(std::uint32_t timeout_us);  // disarms

    void wake();  // any thread

  private:
    Sleeper(int epoll, int event) : epoll_(epoll), event_(event) {}
    bool settle(int descriptor);

    int epoll_;
    int event_;
    std::uint32_t watched_ = 0;
    int descriptors_[wake_descriptors_max] = {};
    // writers: owner and wakers, by exchange
    alignas(64) std::atomic<bool> armed_{false};
};

}  // namespace proxy
