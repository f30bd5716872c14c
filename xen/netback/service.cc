#include "xen/netback/service.hh"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "xen/store/library.hh"

namespace xen::netback {

namespace {

constexpr std::chrono::milliseconds look_again{2'000};  // also where no watch has fired
constexpr std::chrono::milliseconds look_soon{5};       // where a worker is to let go of a queue
constexpr unsigned events_at_once_max = 256;
constexpr std::size_t name_bytes_max = 256;
constexpr std::string_view backends = "/local/domain/0/backend/";
// How long close() waits for the thread and the workers.
constexpr std::chrono::milliseconds close_wait{1'000};

std::string directory_of(BackendType type) {
    return std::string(backends) + (type == BackendType::vif ? "vif" : "quorate");
}

std::string home_of(DomainId domain) { return "/local/domain/" + std::to_string(domain.value); }

std::optional<DomainId> parse_domain(const std::string& text) {
    DomainId domain;
    const char* end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data(), end, domain.value);
    if (error != std::errc() || at != end) return std::nullopt;
    return domain;
}

}  // namespace

tl::expected<std::unique_ptr<Service>, std::string> Service::start(
    Settings settings, std::unique_ptr<Hypervisor> hypervisor) {
    auto store = store::Store::open(settings.connect ? settings.connect : store::by_library());
    if (!store) return tl::unexpected(store.error().what);
    for (const BackendType type : {BackendType::quorate, BackendType::vif}) {
        if (auto watched = store->watch(directory_of(type), "backends"); !watched) {
            return tl::unexpected(watched.error().what);
        }
    }
    std::unique_ptr<Service> service(
        new Service(std::move(settings), std::move(hypervisor), std::move(*store)));
    service->thread_ = std::thread([self = service.get()] { self->run(); });
    return service;
}

Service::Service(Settings settings, std::unique_ptr<Hypervisor> hypervisor, store::Store store)
    : settings_(std::move(settings)),
      hypervisor_(std::move(hypervisor)),
      store_(std::move(store)),
      poked_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Service::~Service() {
    stop_.store(true, std::memory_order_release);
    poke();
    if (thread_.joinable()) thread_.join();
    served_.clear();
    if (poked_ >= 0) ::close(poked_);
}

void Service::poke() const {
    const std::uint64_t one = 1;
    static_cast<void>(!::write(poked_, &one, sizeof one));
}

void Service::open(const std::string& name, const DeviceOptions& options,
                   std::span<QueueSlot> slots) {
    {
        const std::lock_guard lock(mutex_);
        Served& served = served_[name];
        served.options = options;
        served.slots = slots;
    }
    poke();
}

bool Service::close(const std::string& name) {
    const auto deadline = Clock::now() + close_wait;
    {
        const std::lock_guard lock(mutex_);
        const auto found = served_.find(name);
        if (found == served_.end()) return true;
        found->second.closing = true;
    }
    poke();
    while (!closed(name)) {
        if (Clock::now() >= deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

bool Service::closed(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    return !served_.contains(name);
}

DeviceStatus Service::status(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    const auto found = served_.find(name);
    return found == served_.end() ? DeviceStatus{} : found->second.status;
}

void Service::run() {
    bool told = true;
    while (!stop_.load(std::memory_order_acquire)) {
        const Clock::time_point next = work(told);
        told = wait(next);
    }
}

// True: something was said meanwhile, by our own side or by xenstored.
bool Service::wait(Clock::time_point until) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
    pollfd waiting[2] = {{store_.fd(), POLLIN, 0}, {poked_, POLLIN, 0}};
    ::poll(waiting, 2, std::max(0, static_cast<int>(left.count())));
    std::uint64_t pokes = 0;
    bool told = ::read(poked_, &pokes, sizeof pokes) > 0;
    for (unsigned i = 0; i < events_at_once_max; ++i) {
        const auto event = store_.next_event(store::milliseconds(0));
        if (!event || !*event) break;  // what was missed is seen at the next look
        told = true;
    }
    return told;
}

// Looks at those devices that are due, or at every one: there are few, and a watch says little that
// a look would not. Gives the time of the next look.
Clock::time_point Service::work(bool all) {
    const Clock::time_point now = Clock::now();
    Clock::time_point next = now + look_again;
    std::vector<std::string> names;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [name, served] : served_) names.push_back(name);
    }
    for (const std::string& name : names) {
        Served* served = nullptr;
        bool closing = false;
        {
            // Elements of a map stay where they are, and only this thread removes them.
            const std::lock_guard lock(mutex_);
            served = &served_.at(name);
            closing = served->closing;
        }
        if (all || served->due <= now) {
            if (closing) {
                if (end(name, *served)) continue;
            } else {
                if (!served->device) find(name, *served);
                if (served->device) look(name, *served);
            }
            const bool soon = served->device && served->device->lets_go();
            served->due = now + (soon ? look_soon : look_again);
        }
        next = std::min(next, served->due);
    }
    return next;
}

void Service::find(const std::string& name, Served& served) {
    const std::string directory = directory_of(served.options.type);
    const auto domains = store_.list(directory);
    if (!domains) return;
    for (const std::string& text : *domains) {
        const auto domain = parse_domain(text);
        if (!domain) continue;
        const auto called = store_.read_if_there(home_of(*domain) + "/name", name_bytes_max);
        if (!called || !*called || **called != name) continue;
        DeviceSettings settings;
        settings.domain = *domain;
        settings.backend = directory + "/" + text + "/0";
        settings.frontend = home_of(*domain) + "/device/vif/0";
        settings.shadow_file = shadow_file(name);
        settings.queues = static_cast<unsigned>(served.slots.size());
        settings.offer = served.options.offer;
        auto device = Device::open(settings, *hypervisor_, served.slots, settings_.wake);
        const std::lock_guard lock(mutex_);
        if (!device) {
            served.status.trouble = device.error();
            return;
        }
        served.device = std::move(*device);
        served.status.domain = domain;
        if (const auto watched = store_.watch(settings.frontend + "/state", name); !watched) {
            served.status.trouble = watched.error().what;  // looked at every now and then
        }
        if (served.options.type == BackendType::vif) {
            // What libxl waits for before it goes on; our part needs no script.
            static_cast<void>(store_.write(settings.backend + "/hotplug-status", "connected"));
        }
        return;
    }
}

void Service::look(const std::string& name, Served& served) {
    Device& device = *served.device;
    const unsigned before = device.changes();
    const auto looked = device.look(store_, Clock::now());
    // The domain's home goes with the domain.
    const auto called =
        store_.read_if_there(home_of(device.settings().domain) + "/name", name_bytes_max);
    const bool gone = called && (!*called || **called != name);
    const bool done = gone && device.forget();
    if (done) {
        static_cast<void>(store_.unwatch(device.settings().frontend + "/state", name));
    }
    const bool changed = device.changes() != before;
    {
        const std::lock_guard lock(mutex_);
        served.status.queues = device.connected_queues();
        served.status.rings = device.ring_counts();
        served.status.changes += device.changes() - before;
        served.status.trouble = looked ? device.trouble() : looked.error().what;
        served.status.violation = device.violation();
        if (done) {
            served.device.reset();
            served.status.domain.reset();
        }
    }
    if (changed) changes_.fetch_add(1, std::memory_order_release);
}

bool Service::end(const std::string& name, Served& served) {
    if (served.device && !served.device->forget()) return false;
    served.device.reset();
    std::error_code ignored;
    std::filesystem::remove(shadow_file(name), ignored);
    const std::lock_guard lock(mutex_);
    served_.erase(name);
    return true;
}

}  // namespace xen::netback
