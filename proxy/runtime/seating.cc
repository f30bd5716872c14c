// Who sits where: the roster followed, ports opened and closed for it, and the plan that the
// workers get; a replica suspended or lagging because of what the workers report.
#include <algorithm>
#include <thread>

#include "proxy/ports/netback.hh"
#include "proxy/runtime/appliance.hh"

namespace proxy {

using recovery::Standing;

std::string Appliance::follow_roster() {
    std::string trouble;
    // What nobody sits at any more is retired with the plan that no longer has it.
    for (std::uint8_t index = 0; index < ports_max; ++index) {
        PortTable::Entry& entry = ports_.entries[index];
        if (!entry.open || entry.role != PlanPort::Role::replica) continue;
        const recovery::GroupRoster* group = roster_.group(config_.groups[entry.group].name);
        const recovery::Seat* seat = group != nullptr && entry.slot.value < group->seats.size()
                                         ? &group->seats[entry.slot.value]
                                         : nullptr;
        const bool stays = seat != nullptr && seat->incarnation == entry.incarnation &&
                           seat->standing != Standing::absent &&
                           interface_state(entry.port) != InterfaceState::gone;
        if (stays) continue;
        entry.role = PlanPort::Role::none;
        retired_.push_back({plan_epoch_ + 1, index});
    }
    for (std::uint8_t group = 0; group < config_.groups.size(); ++group) {
        const recovery::GroupRoster* seats = roster_.group(config_.groups[group].name);
        if (seats == nullptr) continue;
        const std::size_t slots =
            std::min(seats->seats.size(), config_.groups[group].replicas.size());
        for (std::uint8_t slot = 0; slot < slots; ++slot) {
            const recovery::Seat& seat = seats->seats[slot];
            // A domain's network comes up while it starts, so its port is there by then.
            const bool early = config_.groups[group].replicas[slot].xen.has_value();
            if (seat.standing == Standing::absent) continue;
            if (seat.standing == Standing::starting && !early) continue;
            const std::string error = open_seat(group, slot, seat);
            if (!error.empty() && trouble.empty()) trouble = error;
        }
    }
    return trouble;
}

std::string Appliance::open_seat(std::uint8_t group, std::uint8_t slot,
                                 const recovery::Seat& seat) {
    for (const PortTable::Entry& entry : ports_.entries) {
        if (entry.open && entry.role == PlanPort::Role::replica && entry.group == group &&
            entry.slot.value == slot && entry.incarnation == seat.incarnation) {
            return {};
        }
    }
    const std::string who =
        config_.groups[group].name + "/" + config_.groups[group].replicas[slot].name;
    const auto spec = config::seat_port(config_, group, voter::ReplicaId{slot},
                                        seat.place == recovery::Place::b, seat.incarnation);
    if (!spec) return who + ": the roster seats it in a place the configuration does not have";
    std::uint8_t index = ports_.next;
    for (unsigned tried = 0; ports_.entries[index].open; ++tried) {
        if (tried == ports_max) return who + ": all ports are in use";
        index = static_cast<std::uint8_t>((index + 1) % ports_max);
    }
    auto port = open_port(*spec, static_cast<std::uint16_t>(config_.workers), pools_.packets);
    if (!port) return who + ": " + port.error();
    PortTable::Entry& entry = ports_.entries[index];
    entry.open = true;
    entry.port = std::move(*port);
    entry.role = PlanPort::Role::replica;
    entry.group = group;
    entry.slot = voter::ReplicaId{slot};
    entry.incarnation = seat.incarnation;
    ports_.next = static_cast<std::uint8_t>((index + 1) % ports_max);
    return {};
}

// A new plan from what is known now, handed to every worker.
void Appliance::publish() {
    plan_epoch_ += 1;
    plans_.push_back(build_plan(config_, roster_, ports_, plan_epoch_, ticks_per_second_,
                                options_.measure_without_voting));
    for (std::size_t i = 0; i < threads_.size(); ++i) {
        std::vector<int> descriptors;
        bool polled = false;
        for (const PortTable::Entry& entry : ports_.entries) {
            if (!entry.open || entry.role == PlanPort::Role::none) continue;
            if (i < entry.port.wake_descriptors.size()) {
                // Ports to domains share one.
                const int descriptor = entry.port.wake_descriptors[i];
                if (std::find(descriptors.begin(), descriptors.end(), descriptor) ==
                    descriptors.end()) {
                    descriptors.push_back(descriptor);
                }
            } else if (i < entry.port.rx_queues) {
                polled = true;
            }
        }
        threads_[i]->watch(plan_epoch_, std::move(descriptors), polled);
        workers_[i]->offer(plans_.back().get());
        threads_[i]->wake();
    }
    close_retired(true);
}

bool Appliance::all_have_taken_up(std::uint64_t epoch) const {
    return std::all_of(workers_.begin(), workers_.end(),
                       [&](const auto& worker) { return worker->taken_up() >= epoch; });
}

// Closes what no worker uses any more. Waits a little for the workers, because a successor often
// wants the same interface; what is not ready then is closed at a later tick.
void Appliance::close_retired(bool wait) {
    if (retired_.empty() && plans_.size() == 1) return;
    const auto deadline = std::chrono::steady_clock::now() + take_up_timeout;
    while (wait && !threads_.empty() && !all_have_taken_up(plan_epoch_) &&
           std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    std::erase_if(retired_, [&](const Retired& retired) {
        if (!all_have_taken_up(retired.epoch)) return false;
        PortTable::Entry& entry = ports_.entries[retired.port];
        missed_[static_cast<std::size_t>(entry.role)] += take_missed(entry.port);
        close_port(entry.port);
        entry = {};
        return true;
    });
    if (all_have_taken_up(plan_epoch_)) plans_.erase(plans_.begin(), plans_.end() - 1);
}

// What netback reports: queues that came or went, and domains that break its protocol. The latter
// is evidence of its own kind, seen without a vote: such a replica is suspended at once.
void Appliance::look_at_domains() {
    if (!netback_runs()) return;
    if (const unsigned changes = netback_changes(); changes != domain_changes_) {
        domain_changes_ = changes;
        publish();
    }
    for (PortTable::Entry& entry : ports_.entries) {
        if (!entry.open || entry.role != PlanPort::Role::replica || !entry.port.data.is_netback()) {
            continue;
        }
        const NetbackStatus status = netback_status(entry.port.data.lane());
        if (status.violation == xen::netback::Violation::none || entry.violation_told) continue;
        entry.violation_told = true;
        const config::Group& group = config_.groups[entry.group];
        const std::string what = std::string(xen::netback::text_of(status.violation).text) +
                                 (status.device.trouble.empty() ? "" : ": ") +
                                 status.device.trouble;
        say(group.name + "/" + group.replicas[entry.slot.value].name + " (" + status.domain_name +
            ") breaks the network protocol: " + what);
        suspects_[entry.group][entry.slot.value] = true;
        const PlanSeat& seat = plans_.back()->groups[entry.group].seats[entry.slot.value];
        if (group.suspend == config::Suspend::manual || seat.standing != Standing::admitted ||
            !may_suspend(entry.group, entry.slot.value)) {
            continue;
        }
        (void)stand(entry.group, entry.slot.value, Standing::suspended, "netback: " + what,
                    entry.incarnation);
    }
}

// Durably first, then in the plan.
tl::expected<void, std::string> Appliance::stand(std::uint8_t group, std::uint8_t slot,
                                                 Standing standing, const std::string& reason,
                                                 voter::Incarnation incarnation) {
    const std::string& name = config_.groups[group].name;
    auto updated = recovery::update_roster(config_.roster_file(), [&](recovery::Roster& roster) {
        recovery::Seat& seat =
            roster.group_of(name, config_.groups[group].replicas.size()).seats[slot];
        if (seat.standing == Standing::absent)
            return std::string("nobody sits there: start it first");
        if (incarnation.value != 0 && seat.incarnation != incarnation) {
            return std::string("another incarnation sits there by now");
        }
        seat.standing = standing;
        seat.reason = reason;
        return std::string();
    });
    if (!updated) return tl::unexpected(updated.error());
    roster_ = *updated;
    if (standing == Standing::admitted) suspects_[group][slot] = false;
    std::string trouble = follow_roster();
    publish();
    if (!trouble.empty()) return tl::unexpected(trouble);
    return {};
}

// One liar must not be able to take the service away: a suspect goes only while a quorum stays.
bool Appliance::may_suspend(std::uint8_t group, std::uint8_t slot) const {
    const PlanGroup& plan = plans_.back()->groups[group];
    voter::SlotSet left = plan.admitted;
    left.erase(voter::ReplicaId{slot});
    unsigned trusted = 0;
    left.for_each(
        [&](voter::ReplicaId other) { trusted += suspects_[group][other.value] ? 0 : 1; });
    return trusted >= plan.rules.quorum;
}

}  // namespace proxy
