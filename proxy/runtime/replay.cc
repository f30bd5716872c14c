// How an appliance replays: its client ports are rings in the process, and a feeder is behind them.
// Everything else is as ever: the same workers, plan, roster, request logs and evidence.
#include <algorithm>

#include "proxy/runtime/appliance.hh"

namespace proxy {

void Appliance::take_rings_as_client_ports() {
    for (std::size_t i = 0; i < config_.client_ports.size(); ++i) {
        config::PortSpec ring;
        ring.kind = config::PortSpec::Kind::ring;
        ring.what = "replay" + std::to_string(i);
        config_.client_ports[i] = ring;
    }
}

void Appliance::start_replay() {
    ReplaySettings settings;
    settings.descriptor = options_.replay_descriptor;
    settings.window = options_.replay_window;
    for (const config::Group& group : config_.groups) {
        const std::chrono::milliseconds deadline(group.deadline_ms + 100);
        settings.patience = std::max(settings.patience, deadline);
    }
    ReplaySurroundings around;
    for (const PortTable::Entry& entry : ports_.entries) {
        if (!entry.open || entry.role != PlanPort::Role::client) continue;
        const RingEnd far = ring_far_end(entry.port.spec.what);
        if (entry.client != 0) {
            around.passed = far.from_port;
            continue;
        }
        around.client = far;
        around.mac = entry.port.mac;
    }
    around.packets = pools_.packets;
    around.counters = counters_->workers();
    // Ring ports have one queue, and that is the first worker's.
    around.wake = [this] { threads_.front()->wake(); };
    replay_ = std::make_unique<ReplayFeeder>(settings, std::move(around));
}

}  // namespace proxy
