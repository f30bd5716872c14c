#include "proxy/pipeline.hh"

namespace proxy {

// The map: a turn of the loop, stage by stage.
unsigned Worker::run_once(std::uint64_t now) {
    now_ = now;
    take_up_plan();

    unsigned packets = 0;
    for (std::uint8_t port = 0; port < plan_->ports_count; ++port) {
        if (plan_->ports[port].role == PlanPort::Role::client) packets += receive(port);
    }
    packets += receive_handoffs();
    flush_role(PlanPort::Role::replica);  // the clones leave
    if (around_.netback != nullptr) around_.netback->exchange();

    for (std::uint8_t port = 0; port < plan_->ports_count; ++port) {
        if (plan_->ports[port].role == PlanPort::Role::replica) packets += receive(port);
    }
    release_decided();
    expire();
    give_deferred();
    replay();
    flush_role(PlanPort::Role::client);  // the replies leave
    flush_role(PlanPort::Role::replica);
    if (around_.netback != nullptr) around_.netback->commit();

    if (dropped_len_ != 0) free_dropped();
    account(packets);
    return packets;
}

// Once a turn: the allowances of a new second, and what readers of the counters see.
void Worker::account(unsigned packets) {
    if (now_ - second_started_ >= settings_.ticks_per_second) {
        second_started_ = now_;
        answers_left_ = own_answers_per_second_max;
        evidence_left_ = settings_.evidence_per_second_max;
    }
    counters_.held.set(held_);
    counters_.turns.add(1);
    if (packets != 0) {
        counters_.busy_turns.add(1);
        counters_.busy_ticks.add(clock() - now_);
    }
}

}  // namespace proxy
