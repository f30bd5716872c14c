#include "xen/netback/device.hh"

#include <algorithm>
#include <thread>
#include <utility>

#include <sys/epoll.h>

namespace xen::netback {

namespace {

constexpr std::size_t number_text_max = 32;

// It leaves the set when it is closed.
void sleep_on(int epoll, int descriptor) {
    if (epoll < 0 || descriptor < 0) return;
    epoll_event event{};
    event.events = EPOLLIN;
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

}  // namespace

tl::expected<std::unique_ptr<Device>, std::string> Device::open(const DeviceSettings& settings,
                                                                Hypervisor& hypervisor,
                                                                std::span<QueueSlot> slots,
                                                                std::function<void()> wake) {
    auto shadow = ShadowFile::open(settings.shadow_file);
    if (!shadow) return tl::unexpected(shadow.error());
    return std::unique_ptr<Device>(
        new Device(settings, hypervisor, slots, std::move(wake), std::move(*shadow)));
}

Device::Device(const DeviceSettings& settings, Hypervisor& hypervisor, std::span<QueueSlot> slots,
               std::function<void()> wake, ShadowFile shadow)
    : settings_(settings),
      hypervisor_(hypervisor),
      slots_(slots),
      wake_(std::move(wake)),
      shadow_(std::move(shadow)),
      refilled_(Clock::time_point::min()) {}

Device::~Device() {
    disconnect();
    let_go_within(release_timeout);
    for (auto& connected : withdrawn_) static_cast<void>(connected.release());
}

bool Device::forget() {
    disconnect();
    shadow_.device().end();
    shadow_.remove();
    return let_go();
}

store::Result<void> Device::look(store::Store& store, Clock::time_point now) {
    if (!let_go()) return {};
    const auto read = [&](const std::string& path) -> store::Result<XenbusState> {
        auto value = store.read_if_there(path + "/state", number_text_max);
        if (!value && value.error().failure == store::Failure::too_large) {
            return XenbusState::unknown;
        }
        if (!value) return tl::unexpected(value.error());
        return parse_state(value->value_or(""));
    };
    const auto own = read(settings_.backend);
    if (!own) return tl::unexpected(own.error());
    const auto frontend = read(settings_.frontend);
    if (!frontend) return tl::unexpected(frontend.error());
    if (*own == XenbusState::unknown) {  // our node is gone: so is the device
        disconnect();
        shadow_.device().end();
        return {};
    }
    if (*frontend != XenbusState::connected) refused_ = false;
    if (refused_) return {};

    const Step step = next_step(*own, *frontend, !queues_.empty());
    if (step.disconnect) {
        disconnect();
        shadow_.device().end();
        if (!let_go()) return {};  // the rest of the step when it has
    }
    if (step.offer) {
        if (auto offered = offer(store); !offered) return offered;
    }
    std::optional<XenbusState> state = step.state;
    if (step.connect) {
        const auto connected = connect(store, now);
        if (!connected) return tl::unexpected(connected.error());
        if (!*connected) state = XenbusState::closed;
    }
    if (!state || *state == *own) return {};
    return store.write(settings_.backend + "/state", std::to_string(static_cast<unsigned>(*state)));
}

store::Result<void> Device::offer(store::Store& store) {
    const store::Permissions readable{
        domain_0, store::Access::none, {{settings_.domain, store::Access::read}}};
    std::vector<store::Node> nodes;
    for (const auto& [key, value] : backend_keys(settings_.queues, settings_.offer)) {
        nodes.push_back({settings_.backend + "/" + key, value, readable});
    }
    return store.write(nodes);
}

bool Device::may_connect(Clock::time_point now) {
    if (refilled_ == Clock::time_point::min()) refilled_ = now;
    while (connects_left_ < reconnects_at_once_max && now - refilled_ >= reconnect_pause) {
        refilled_ += reconnect_pause;
        connects_left_ += 1;
    }
    if (connects_left_ == reconnects_at_once_max) refilled_ = now;
    if (connects_left_ == 0) return false;
    connects_left_ -= 1;
    return true;
}

bool Device::refuse(Violation violation, std::string why) {
    disconnect();
    shadow_.device().end();
    refused_ = true;
    violation_ = violation;
    trouble_ = std::move(why);
    return false;
}

store::Result<bool> Device::connect(store::Store& store, Clock::time_point now) {
    if (!may_connect(now)) {
        return refuse(Violation::reconnects_often,
                      std::string(text_of(Violation::reconnects_often).text));
    }
    std::optional<store::Error> failed;
    const auto keys = read_frontend_keys(
        [&](const std::string& key) -> std::optional<std::string> {
            auto value = store.read_if_there(settings_.frontend + "/" + key, number_text_max);
            if (value) return *value;
            if (value.error().failure == store::Failure::too_large) return "too long";
            failed = value.error();
            return std::nullopt;
        },
        settings_.queues);
    if (failed) return tl::unexpected(*failed);
    if (!keys) return refuse(Violation::keys_invalid, keys.error());

    DeviceShadow& shadow = shadow_.device();
    const bool adopt = shadow.is_of(settings_.domain, *keys);
    if (!adopt) shadow.end();
    for (unsigned i = 0; i < keys->queues.size(); ++i) {
        const std::string wrong = map_queue(keys->queues[i], i, *keys, adopt);
        if (!wrong.empty()) return refuse(Violation::keys_invalid, wrong);
    }
    if (!adopt) shadow.begin(settings_.domain, *keys);
    trouble_.clear();
    changes_ += 1;
    for (unsigned i = 0; i < queues_.size(); ++i) {
        sleep_on(slots_[i].sleep_on, queues_[i]->channels->descriptor());
        slots_[i].offer(&queues_[i]->queue);
        // It may have told a predecessor of ours, who is not there any more, and wait.
        queues_[i]->channels->notify_tx();
        queues_[i]->channels->notify_rx();
    }
    wake_();
    return true;
}

// Empty, or what is wrong.
std::string Device::map_queue(const QueueKeys& keys, unsigned number, const FrontendKeys& frontend,
                              bool adopt) {
    auto connected = std::make_unique<Connected>();
    auto tx = hypervisor_.map(settings_.domain, keys.tx_ring);
    if (!tx) return tx.error();
    auto rx = hypervisor_.map(settings_.domain, keys.rx_ring);
    if (!rx) return rx.error();
    auto channels = hypervisor_.bind(settings_.domain, keys.tx_channel, keys.rx_channel);
    if (!channels) return channels.error();
    connected->tx_page = std::move(*tx);
    connected->rx_page = std::move(*rx);
    connected->channels = std::move(*channels);
    Queue& queue = connected->queue;
    queue.domain = settings_.domain;
    queue.channels = connected->channels.get();
    queue.multicast_control = frontend.multicast_control;
    DeviceShadow::Rings& rings = shadow_.device().rings[number];
    void* tx_page = connected->tx_page->address();
    void* rx_page = connected->rx_page->address();
    if (adopt) {
        const Violation of_tx = queue.tx.adopt(tx_page, &rings.tx);
        const Violation of_rx = queue.rx.adopt(rx_page, &rings.rx, frontend.features);
        if (of_tx != Violation::none) return std::string(text_of(of_tx).text);
        if (of_rx != Violation::none) return std::string(text_of(of_rx).text);
    } else {
        queue.tx.begin(tx_page, &rings.tx);
        queue.rx.begin(rx_page, &rings.rx, frontend.features);
    }
    queues_.push_back(std::move(connected));
    return {};
}

void Device::disconnect() {
    if (queues_.empty()) return;
    changes_ += 1;
    for (unsigned i = 0; i < queues_.size(); ++i) slots_[i].offer(nullptr);
    withdrawn_ = std::move(queues_);
    queues_.clear();
    wake_();
    let_go_within(release_wait);
}

void Device::let_go_within(Clock::duration wait) {
    const auto deadline = Clock::now() + wait;
    while (!let_go() && Clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
}

bool Device::let_go() {
    for (unsigned i = 0; i < withdrawn_.size(); ++i) {
        if (withdrawn_[i] && !slots_[i].uses(&withdrawn_[i]->queue)) withdrawn_[i].reset();
    }
    const bool all = std::all_of(withdrawn_.begin(), withdrawn_.end(),
                                 [](const auto& connected) { return !connected; });
    if (all) withdrawn_.clear();
    return all;
}

}  // namespace xen::netback
