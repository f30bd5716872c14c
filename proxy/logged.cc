// Groups with state: what is asked of them, and what their votes are worth. A request is in the log
// before the first clone leaves; one that is repeated is absorbed, and answered with the reply that
// was kept, if there is one.
//
// A replica is *in doubt* when it may have missed a request: we were killed while giving it one, or
// it was silent while a quorum answered. Two replicas that each missed a request agree with each
// other and are wrong, and so are one of them and a liar. Therefore a replica in doubt may confirm
// an agreement but not make it: a reply leaves when a quorum that is not in doubt sent it. Agreeing
// with that reply ends the doubt; so does the right answer to what it was silent on, however late.
// Differing means that the replica did miss something: it is lost until it is restarted, and not to
// blame. Where doubt and contradiction meet, or doubt leaves no quorum, the group is halted: it
// answers nothing until restarted replicas have replayed the log.
//
// Known limit: a reply that does not show the state ends a doubt that should have stayed. And
// replicas that miss requests without our doing are faulty like any others: f of them are masked.
#include "proxy/crash_point.hh"
#include "proxy/pipeline.hh"

namespace proxy {

using voter::ReplicaId;
using voter::SlotSet;
using voter::Verdict;
using wire::DropReason;

SlotSet StatefulGroup::unsure_at(std::uint64_t order) const {
    SlotSet unsure = lost;
    doubted.for_each([&](ReplicaId slot) {
        if (log.marks(slot).doubt.load(std::memory_order_relaxed) < order) unsure.insert(slot);
    });
    return unsure;
}

void StatefulGroup::doubt(ReplicaId slot, std::uint64_t order) {
    LogMarks& marks = log.marks(slot);
    if (marks.doubt.load(std::memory_order_relaxed) < order) {
        marks.doubt.store(order, std::memory_order_relaxed);
    }
    doubted.insert(slot);
}

void StatefulGroup::trust(ReplicaId slot) {
    log.marks(slot).doubt.store(0, std::memory_order_relaxed);
    doubted.erase(slot);
}

// Why a request is not a new one, or cannot be taken: a repetition is answered here.
DropReason Worker::log_refuses(std::uint8_t port, const Arrival& arrival) {
    const PlanService& service = plan_->services[arrival.service];
    const StatefulGroup* state = stateful_[service.group].get();
    if (state == nullptr) return DropReason::request_log_full;
    if (state->log.halted()) return DropReason::group_halted;
    if (state->short_since != 0) return DropReason::no_quorum;
    const wire::Bytes payload = arrival.frame.payload(bytes_of(arrival.packet));
    const std::uint64_t window =
        plan_->groups[service.group].deadline_ticks * repeats_for_deadlines;
    const std::uint64_t order = state->repeats.find(arrival.hash, [&](std::uint64_t candidate) {
        const LogEntry* entry = state->log.entry(candidate);
        return entry != nullptr && entry->key == arrival.key && now_ - entry->ticks < window &&
               service.matcher.repeats(entry->payload(), payload);
    });
    if (order == 0) return DropReason::none;
    GroupCounters& counters = counters_.groups[service.group];
    counters.absorbed.add(1);
    const wire::Bytes reply = state->log.reply(order);
    if (!reply.empty() && send_datagram(return_path(port, arrival.frame), arrival.key, reply)) {
        counters.repeated.add(1);
    }
    return DropReason::retransmission_absorbed;
}

// Who has been given everything and has room for one more.
SlotSet Worker::log_ask(std::uint8_t group, std::uint32_t room) const {
    SlotSet ask;
    if (stateful_[group] == nullptr) return ask;
    stateful_[group]->live.for_each([&](ReplicaId slot) {
        if (inflight_[group][slot.value] < room) ask.insert(slot);
    });
    return ask;
}

// Before the first clone.
void Worker::log_request(Record& record) {
    StatefulGroup& state = *stateful_[record.group];
    RequestLog::Request request;
    request.key = record.key;
    request.ticks = now_;
    request.frame = bytes_of(record.request);
    request.l3_offset = record.request_l3_offset;
    request.payload_offset = record.request_offset();
    request.payload_length = record.request_length;
    record.order = state.log.append(request);
    state.repeats.insert(record.hash, record.order);
    crash_point(CrashPoint::appended);
}

// What to do with a reply that a quorum has agreed on.
Worker::Word Worker::log_agreed(Record& record) {
    StatefulGroup& state = *stateful_[record.group];
    if (state.log.halted()) return Word::refuse;
    const SlotSet winners = record.ballot.winner().members;
    const SlotSet unsure = state.unsure_at(record.order);
    const SlotSet sure = winners - unsure;
    if (sure.size() < record.ballot.rules().quorum) {
        const bool all_said = record.ballot.complete() ||
                              now_ - record.opened_at >= plan_->groups[record.group].deadline_ticks;
        if (!all_said) return Word::wait;
        if (!record.ballot.dissenters().empty()) halt(record.group);
        return Word::refuse;
    }
    record.vouched = true;
    (winners & unsure & state.doubted).for_each([&](ReplicaId slot) { state.trust(slot); });
    const Answer& answer = record.answers[record.ballot.winner().holder.value];
    if (!answer.icmp && record.key.unit == 0) {
        const voter::Comparator& comparator = plan_->services[record.key.service].comparator;
        const voter::Fingerprint fingerprint =
            comparator.fingerprint(record.answer_payload(record.ballot.winner().holder),
                                   state.log.digest_key(), *workspace_);
        state.log.agree(record.order, fingerprint.canonical);
    }
    crash_point(CrashPoint::agreed);
    return Word::release;
}

// What is about to leave, for the case that the client asks again. Replies of several datagrams are
// not kept.
void Worker::log_reply(const Record& record, wire::Bytes payload) {
    const auto key = plan_->services[record.key.service].matcher.reply_key(payload);
    if (!key || key->units != 1) return;
    stateful_[record.group]->log.keep_reply(record.order, payload);
}

// The ballot is over. False: nobody is to be blamed for how it went.
bool Worker::log_closed(const Record& record) {
    StatefulGroup& state = *stateful_[record.group];
    const voter::Ballot& ballot = record.ballot;
    if (record.superseded) return true;
    if (plan_->groups[record.group].mode == config::Mode::observe) return true;
    const SlotSet unsure = state.unsure_at(record.order);
    if (ballot.verdict() == Verdict::agreed) {
        if (!record.vouched) {
            (ballot.silent() - unsure).for_each([&](ReplicaId slot) { silent(record, slot); });
            return false;
        }
        ballot.winner().members.for_each([&](ReplicaId slot) {
            state.feeds[slot.value].differences_in_a_row = 0;
            if ((unsure & state.doubted).contains(slot)) state.trust(slot);
        });
        return true;
    }
    // Contradiction, and somebody may have missed a request: there is no telling who is right.
    if (ballot.camps() > 1 && !(ballot.asked() & unsure).empty()) {
        halt(record.group);
        return false;
    }
    return true;
}

// A fault that is no lie: whoever missed a request cannot know better.
bool Worker::excused(const Record& record, voter::Fault fault, ReplicaId slot) {
    StatefulGroup& state = *stateful_[record.group];
    Feed& feed = state.feeds[slot.value];
    if (state.lost.contains(slot)) return true;
    if (fault == voter::Fault::dissent) {
        if (state.unsure_at(record.order).contains(slot)) {
            lose(record.group, slot, Event::Why::differs);
            return true;
        }
        if (const std::uint64_t missed = missed_before(record, slot)) {
            state.doubt(slot, missed);
            return true;
        }
        // A liar, or it missed a request without our noticing: either way a restart is the cure.
        feed.differences_in_a_row += 1;
        if (feed.differences_in_a_row >= differences_in_a_row_max) {
            lose(record.group, slot, Event::Why::differs);
        }
        return false;
    }
    return silent(record, slot);
}

// It did not answer in time. True: because it was given the request late, or not yet. Else it is in
// doubt, and its answer is still welcome.
bool Worker::silent(const Record& record, ReplicaId slot) {
    StatefulGroup& state = *stateful_[record.group];
    Feed& feed = state.feeds[slot.value];
    const bool from_the_log =
        std::any_of(feed.unanswered.begin(), feed.unanswered.begin() + feed.unanswered_len,
                    [&](const Feed::Unanswered& one) { return one.order == record.order; });
    if (feed.given < record.order || from_the_log) {
        counters_.groups[record.group].replicas[slot.value].skipped.add(1);
        return true;
    }
    state.doubt(slot, record.order);
    const bool in_order =
        feed.unanswered_len == 0 || feed.unanswered[feed.unanswered_len - 1u].order < record.order;
    if (record.key.unit == 0 && in_order && feed.unanswered_len < catch_up_window) {
        feed.unanswered[feed.unanswered_len++] = {record.order, now_, record.hash};
    }
    return false;
}

// An earlier request that this replica has not answered although it answered this one; 0: none
// among the oldest. It has probably missed it, and its deadline has not come yet.
std::uint64_t Worker::missed_before(const Record& record, ReplicaId slot) {
    const Record* earlier = records_.oldest(record.group);
    for (unsigned i = 0; i < probes_max && earlier != nullptr; ++i) {
        if (earlier->order >= record.order) return 0;
        if (earlier->ballot.missing().contains(slot)) return earlier->order;
        earlier = records_.next(*earlier);
    }
    return 0;
}

// Nobody can tell who is right. Those in doubt have to begin anew; until they have, the group
// answers nothing.
void Worker::halt(std::uint8_t group) {
    StatefulGroup& state = *stateful_[group];
    if (state.log.halted() || plan_->groups[group].mode == config::Mode::observe) return;
    state.log.halt(true);
    counters_.groups[group].halted.set(1);
    (state.doubted - state.lost).for_each([&](ReplicaId slot) {
        lose(group, slot, Event::Why::in_doubt);
    });
    report({Event::Kind::halted, group, {}, {}, {}, state.last_order()});
}

// With every new plan: is there a quorum again that nothing is held against?
void Worker::resume(std::uint8_t group) {
    StatefulGroup& state = *stateful_[group];
    const PlanGroup& planned = plan_->groups[group];
    const bool was_halted = state.log.halted();
    const SlotSet unsure = (state.doubted | state.lost) & planned.admitted;
    if (was_halted) {
        // There are no votes that could end a doubt.
        (unsure - state.lost).for_each([&](ReplicaId slot) {
            lose(group, slot, Event::Why::in_doubt);
        });
    }
    if (was_halted && unsure.empty() && planned.admitted.size() >= planned.rules.quorum) {
        state.log.halt(false);
        report({Event::Kind::resumed, group, {}, {}, {}, state.last_order()});
    }
    counters_.groups[group].halted.set(state.log.halted() ? 1 : 0);
}

// Whether doubt has left fewer than a quorum. What was silent may still answer; then it halts.
void Worker::watch_doubt(std::uint8_t group) {
    StatefulGroup& state = *stateful_[group];
    const PlanGroup& planned = plan_->groups[group];
    const SlotSet sure = planned.admitted - state.doubted - state.lost;
    const bool is_short = !(state.doubted & planned.admitted).empty() &&
                          sure.size() < planned.rules.quorum &&
                          planned.mode != config::Mode::observe;
    if (!is_short || state.log.halted()) {
        state.short_since = 0;
    } else if (state.short_since == 0) {
        state.short_since = now_;
    } else if (now_ - state.short_since >= planned.deadline_ticks * catch_up_deadlines) {
        halt(group);
    }
}

}  // namespace proxy
