#include "tests/sim/domain_replicas.hh"

#include <utility>

namespace sim {

namespace {

using namespace appliance_test;

constexpr unsigned found_out_turns_max = 4;  // of who breaks netback's protocol

}  // namespace

DomainReplicas::DomainReplicas(unsigned replicas, Dom0::Adoption adoption, Around around)
    : replicas_(replicas),
      around_(std::move(around)),
      dom0_(
          pool().packets, replicas * places, around_.random,
          [this](const std::string& what) { around_.checker.complain(what); }, adoption) {}

void DomainReplicas::build(unsigned slot, unsigned place) {
    dom0_.build(lane_of(slot, place), appliance_->now());
}

bool DomainReplicas::send(unsigned slot, unsigned place, const Octets& frame) {
    Domain* domain = dom0_.domain(lane_of(slot, place));
    return domain != nullptr && domain->send(frame);
}

std::vector<Octets> DomainReplicas::receive(unsigned slot, unsigned place) {
    Domain* domain = dom0_.domain(lane_of(slot, place));
    return domain == nullptr ? std::vector<Octets>() : domain->receive();
}

void DomainReplicas::ring_fault(unsigned slot, bool faulty) {
    const auto place = appliance_->place_of(slot);
    if (!place) return;
    const unsigned lane = lane_of(slot, *place);
    Domain* domain = dom0_.domain(lane);
    if (domain == nullptr || !domain->alive()) return;
    if (!faulty) {
        // What befalls the honest: a failed copy, a network interface that is set up again.
        if (chance(50)) return dom0_.fail_next_copy();
        if (domain->reconnects() < 2) domain->reconnect(chance(50));
        return dom0_.take_notice(lane);
    }
    switch (below(8)) {
        case 0:
            return domain->stall(true);
        case 1:
            return domain->stall(false);
        case 2:
            domain->reconnect(chance(50));
            return dom0_.take_notice(lane);
        case 3:
            return domain->flood();
        case 4:
            domain->die();
            return dom0_.take_notice(lane);
        default:
            return domain->attack(static_cast<Attack>(below(attacks_count)));
    }
}

void DomainReplicas::kill() {
    if (chance(40)) {
        kill_after_turn_ = true;
        return;
    }
    dom0_.kill_within_turn(1 + below(8), [this] {
        around_.result.kills_within += 1;
        around_.clients_hear();
        around_.judge_events();
    });
}

void DomainReplicas::heal() {
    dom0_.disarm();
    kill_after_turn_ = false;
}

void DomainReplicas::turn(std::uint64_t us) {
    if (is_down()) {
        appliance_->pass_time(us);
        if (appliance_->now() < up_again_at_) return;
        up_again_at_ = 0;
        dom0_.start_process(appliance_->now());
        appliance_->start_process(dom0_.lanes());
    }
    dom0_.look(appliance_->now());
    dom0_.wake(appliance_->worker());
    if (!appliance_->step(us)) around_.checker.complain("the counters do not balance");
    if (kill_after_turn_ && dom0_.has_notified()) {
        kill_after_turn_ = false;
        around_.clients_hear();
        dom0_.kill(chance(50));
    }
    if (dom0_.killed()) return dies();
    judge();
    if (chance(10)) dom0_.doze(appliance_->worker());
}

void DomainReplicas::dies() {
    around_.result.kills += 1;
    if (!appliance_->end_process()) around_.checker.complain("something is held after a death");
    static_cast<void>(appliance_->events());  // said after it
    dom0_.end_process();
    up_again_at_ = appliance_->now() + 1 + below(15'000);
}

// As the appliance's control thread does: a broken ring is evidence without a vote.
void DomainReplicas::judge() {
    for (unsigned slot = 0; slot < replicas_; ++slot) {
        for (unsigned place = 0; place < places; ++place) {
            const unsigned lane = lane_of(slot, place);
            Domain* domain = dom0_.domain(lane);
            if (domain == nullptr) continue;
            domain->count_turn();
            if (dom0_.violation(lane) != xen::netback::Violation::none) {
                found_out(slot, place, *domain);
            } else if (domain->turns_guilty().value_or(0) > found_out_turns_max) {
                around_.checker.complain("a domain that breaks the protocol is not found out");
            }
        }
    }
}

void DomainReplicas::found_out(unsigned slot, unsigned place, Domain& domain) {
    domain.forget_guilt();
    if (!domain.hostile() && domain.alive()) {
        around_.checker.complain("a correct frontend is said to break the protocol");
    }
    around_.violates(slot, place);
}

}  // namespace sim
