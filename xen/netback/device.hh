// The backend of one network device of one domain: follows the frontend's state, connects and
// disconnects its queues. Slow path, one thread; a worker meets it in QueueSlot only.
//
// Where the device is found, and whose it is, comes from our own records. From what the guest can
// write it takes the state and the keys, as bounded numbers.
//
// A queue that is withdrawn stays mapped until its worker has come to the head of a turn, however
// long that takes; nothing else happens to the device before.
#pragma once

#include <array>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "xen/netback/handshake.hh"
#include "xen/netback/hypervisor.hh"
#include "xen/netback/keys.hh"
#include "xen/netback/queue.hh"
#include "xen/netback/shadow.hh"
#include "xen/store/store.hh"

namespace xen::netback {

using Clock = std::chrono::steady_clock;

// How long a withdrawn queue is waited for on the spot.
constexpr std::chrono::milliseconds release_wait{20};
// And where there is no later, at the end of the process: a worker that still runs then keeps it.
constexpr std::chrono::milliseconds release_timeout{2'000};
// A frontend may connect so often at once, and once more in each pause.
constexpr unsigned reconnects_at_once_max = 5;
constexpr std::chrono::milliseconds reconnect_pause{2'000};

struct DeviceSettings {
    DomainId domain;
    std::string backend;   // directory in xenstore
    std::string frontend;  // the same
    std::filesystem::path shadow_file;
    unsigned queues = 1;  // offered: one for each worker
    Offer offer;
};

class Device {
  public:
    // `slots`: settings.queues of them, of the workers in order. They and `hypervisor` outlive it.
    // `wake`: has sleeping workers look at their slots.
    static tl::expected<std::unique_ptr<Device>, std::string> open(const DeviceSettings& settings,
                                                                   Hypervisor& hypervisor,
                                                                   std::span<QueueSlot> slots,
                                                                   std::function<void()> wake);
    // Unmaps, and tells the frontend nothing: a successor goes on with its rings.
    ~Device();
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    // Compares the two states and does what is to be done. An error is xenstore's: try again later.
    store::Result<void> look(store::Store& store, Clock::time_point now);
    // Disconnects, and nothing of it is to be adopted: the domain is gone, or served no more.
    // False: a worker still uses a queue of it; again later, and until then this stays.
    bool forget();
    // Are there withdrawn queues that a worker still uses? look() is then due soon.
    bool lets_go() const { return !withdrawn_.empty(); }

    const DeviceSettings& settings() const { return settings_; }
    unsigned connected_queues() const { return static_cast<unsigned>(queues_.size()); }
    // Grows with each connect and disconnect.
    unsigned changes() const { return changes_; }
    RingCounts ring_counts() const { return shadow_.device().counts(); }
    // Why it does not connect, for people; empty: nothing is wrong.
    const std::string& trouble() const { return trouble_; }
    Violation violation() const { return violation_; }

  private:
    // Declared in the order of their lives: the queue goes before what it points to.
    struct Connected {
        std::unique_ptr<MappedPage> tx_page;
        std::unique_ptr<MappedPage> rx_page;
        std::unique_ptr<EventChannels> channels;
        Queue queue;
    };

    Device(const DeviceSettings& settings, Hypervisor& hypervisor, std::span<QueueSlot> slots,
           std::function<void()> wake, ShadowFile shadow);
    store::Result<void> offer(store::Store& store);
    // False: refused, for a reason that is the frontend's or the machine's.
    store::Result<bool> connect(store::Store& store, Clock::time_point now);
    bool may_connect(Clock::time_point now);
    std::string map_queue(const QueueKeys& keys, unsigned number, const FrontendKeys& frontend,
                          bool adopt);
    bool refuse(Violation violation, std::string why);
    void disconnect();
    // Unmaps what was withdrawn. False: some of it is still in use.
    bool let_go();
    void let_go_within(Clock::duration wait);

    DeviceSettings settings_;
    Hypervisor& hypervisor_;
    std::span<QueueSlot> slots_;
    std::function<void()> wake_;
    ShadowFile shadow_;
    std::vector<std::unique_ptr<Connected>> queues_;
    std::vector<std::unique_ptr<Connected>> withdrawn_;  // in the order of slots_
    bool refused_ = false;                               // until the frontend's state changes
    unsigned changes_ = 0;
    std::string trouble_;
    Violation violation_ = Violation::none;
    unsigned connects_left_ = reconnects_at_once_max;
    Clock::time_point refilled_;
};

}  // namespace xen::netback
