// The slow path of netback: one thread that serves the network devices of those domains that it was
// told to, wherever and whenever they appear in xenstore. A dead xenstored stops nothing that is
// connected; what waits for it is done when it is back.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>

#include "xen/netback/device.hh"

namespace xen::netback {

// Which of a domain's devices: ours, made while the domain was paused, or libxl's own.
enum class BackendType : std::uint8_t { quorate, vif };

struct DeviceOptions {
    BackendType type = BackendType::quorate;
    Offer offer;
};

struct DeviceStatus {
    std::optional<DomainId> domain;  // nothing: no such domain has been seen
    unsigned queues = 0;             // connected
    unsigned changes = 0;            // grows with each connect and disconnect
    RingCounts rings;                // at the latest look, which comes within 2 s
    std::string trouble;
    Violation violation = Violation::none;
};

class Service {
  public:
    struct Settings {
        std::filesystem::path state_dir;  // for what outlives the process
        unsigned queues = 1;              // offered to each frontend
        std::function<void()> wake;       // has workers look at their slots; any thread
        store::Connect connect;           // to xenstore; empty: the machine's
    };
    // The error says what to do.
    static tl::expected<std::unique_ptr<Service>, std::string> start(
        Settings settings, std::unique_ptr<Hypervisor> hypervisor);
    ~Service();  // lets go of all rings, and leaves them for a successor
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;

    // From now on, serve the first network device of the domain of that name. `slots` outlive
    // close().
    void open(const std::string& name, const DeviceOptions& options, std::span<QueueSlot> slots);
    // It is not served any more, by a successor neither. True: nothing of it is mapped any more;
    // false: that will be later, see closed(), and its slots are nobody else's until then.
    bool close(const std::string& name);
    bool closed(const std::string& name) const;
    DeviceStatus status(const std::string& name) const;
    // Grows with every change of any device.
    unsigned changes() const { return changes_.load(std::memory_order_acquire); }

  private:
    struct Served {
        DeviceOptions options;
        std::span<QueueSlot> slots;
        std::unique_ptr<Device> device;  // once its domain was found
        bool closing = false;
        Clock::time_point due;  // its next look, where nothing happens before; the thread's own
        DeviceStatus status;
    };

    Service(Settings settings, std::unique_ptr<Hypervisor> hypervisor, store::Store store);
    void run();
    bool wait(Clock::time_point until);
    void poke() const;
    Clock::time_point work(bool all);
    std::filesystem::path shadow_file(const std::string& name) const {
        return settings_.state_dir / ("netback-" + name);
    }
    // The thread's own; `served` is locked by nobody else while it is not closing.
    void find(const std::string& name, Served& served);
    void look(const std::string& name, Served& served);
    // Of one that is closing. False: a worker still uses it.
    bool end(const std::string& name, Served& served);

    Settings settings_;
    std::unique_ptr<Hypervisor> hypervisor_;
    store::Store store_;
    int poked_ = -1;  // eventfd
    std::atomic<bool> stop_{false};
    std::atomic<unsigned> changes_{0};

    mutable std::mutex mutex_;  // of what follows
    std::map<std::string, Served> served_;

    std::thread thread_;
};

}  // namespace xen::netback
