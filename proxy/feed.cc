// How the replicas of a stateful group get all requests, in order and once. Each has a position in
// the log. Whoever is at its end gets requests as they come; whoever is not gets copies from the
// log, a window at a time, until it is. What a port did not take, what a slow replica has no room
// for, what had surely not left when we were killed, and everything, for a newcomer: all come from
// the log. What is uncertain (the port had been told, and we died) is never repeated.
//
// Replies to copies are compared with what was agreed, and counted only where a ballot still waits
// for them.
#include <algorithm>

#include "proxy/crash_point.hh"
#include "proxy/pipeline.hh"
#include "wire/checksum.hh"

namespace proxy {

using recovery::Standing;
using voter::ReplicaId;
using voter::SlotSet;
using wire::DropReason;

void Feed::forget_unanswered(unsigned index) {
    std::move(unanswered.begin() + index + 1, unanswered.begin() + unanswered_len,
              unanswered.begin() + index);
    --unanswered_len;
}

void Feed::forget_unanswered_from(std::uint64_t order) {
    while (unanswered_len != 0 && unanswered[unanswered_len - 1u].order >= order) --unanswered_len;
}

// At the start: what can be repeated is found again.
void Worker::open_logs() {
    for (std::uint8_t group = 0; group < groups_max; ++group) {
        if (around_.logs[group] == nullptr) continue;
        stateful_[group] = std::make_unique<StatefulGroup>(*around_.logs[group]);
        StatefulGroup& state = *stateful_[group];
        const std::uint64_t next = state.log.next_order();
        const std::uint64_t newest = next > repeats_max ? next - repeats_max : 1;
        for (std::uint64_t order = std::max(state.log.first_order(), newest); order < next;
             ++order) {
            state.repeats.insert(key_hash_(state.log.entry(order)->key), order);
        }
    }
}

void Worker::adopt_seats(std::uint8_t group) {
    for (std::uint8_t slot = 0; slot < plan_->groups[group].replicas; ++slot) {
        adopt_seat(group, ReplicaId{slot});
        catch_up(group, ReplicaId{slot});
    }
    resume(group);
}

// Who sits there now, and from where on it has to be fed.
void Worker::adopt_seat(std::uint8_t group, ReplicaId slot) {
    StatefulGroup& state = *stateful_[group];
    const PlanSeat& seat = plan_->groups[group].seats[slot.value];
    Feed& feed = state.feeds[slot.value];
    LogMarks& marks = state.log.marks(slot);
    feed.report_at = 0;
    const bool same = feed.incarnation == seat.incarnation &&
                      marks.incarnation.load(std::memory_order_relaxed) == seat.incarnation.value;
    const bool seated =
        (seat.standing == Standing::admitted || seat.standing == Standing::lagging) &&
        seat.port != UINT8_MAX;
    if (same && seated && feed.mode != Feed::Mode::out) return;
    feed.mode = Feed::Mode::out;
    feed.unanswered_len = 0;
    state.live.erase(slot);
    state.doubted.erase(slot);
    state.lost.erase(slot);
    if (!seated) return;
    if (marks.incarnation.load(std::memory_order_relaxed) != seat.incarnation.value) {
        // A newcomer, empty as all were before the first request.
        state.log.seat(slot, seat.incarnation);
        feed = Feed{};
    } else if (!same) {
        feed = Feed{};
        feed.given = take_over(state, slot, seat.standing);
    }
    feed.incarnation = seat.incarnation;
    if (marks.doubt.load(std::memory_order_relaxed) != 0) state.doubted.insert(slot);
    if (marks.lost.load(std::memory_order_relaxed) != 0) {
        state.lost.insert(slot);
    } else {
        fall_behind(state, slot);
    }
}

// From the process before us. Between the marks lies what may have left or not; and of one that was
// being brought up, it is not known what it has answered. Returns up to where it has been fed.
std::uint64_t Worker::take_over(StatefulGroup& state, ReplicaId slot, Standing standing) {
    LogMarks& marks = state.log.marks(slot);
    const std::uint64_t intent = marks.intent.load(std::memory_order_relaxed);
    const bool uncertain = intent > marks.delivered.load(std::memory_order_relaxed);
    if (uncertain || (standing == Standing::lagging && intent != 0)) state.doubt(slot, intent);
    std::atomic_thread_fence(std::memory_order_release);
    marks.delivered.store(intent, std::memory_order_relaxed);
    return intent;
}

void Worker::fall_behind(StatefulGroup& state, ReplicaId slot) {
    Feed& feed = state.feeds[slot.value];
    if (feed.mode != Feed::Mode::behind) feed.behind_since = now_;
    feed.mode = Feed::Mode::behind;
    state.live.erase(slot);
}

// A request as it comes, to those that have all before it. Whoever has no room for it now gets it
// from the log.
void Worker::give_logged(Record& record, SlotSet ask) {
    StatefulGroup& state = *stateful_[record.group];
    const PlanGroup& group = plan_->groups[record.group];
    rte_mbuf* packet = record.request;
    const bool whole = packet->pkt_len - record.request_l3_offset <= mtu_default;
    const std::uint16_t pieces = whole ? 1 : fragments_max;
    (state.live - ask).for_each([&](ReplicaId slot) { fall_behind(state, slot); });
    ask.for_each([&](ReplicaId slot) {
        const std::uint8_t port = group.seats[slot.value].port;
        Feed& feed = state.feeds[slot.value];
        // In one transmission, or a crash between two would leave half a request.
        if ((*tx_)[port].length + pieces > tx_buffer_len_max) flush(port);
        if (feed.mode != Feed::Mode::live) return;  // that flush found the port full
        if (whole) {
            rte_mbuf_refcnt_update(packet, 1);
            counters_.made.add(1);
            send(port, packet, records_.id_of(record), record.order);
        } else if (!send_fragmented(port, packet, record.request_l3_offset, records_.id_of(record),
                                    record.order)) {
            return fall_behind(state, slot);
        }
        counters_.groups[record.group].replicas[slot.value].asked.add(1);
        feed.given = record.order;
        crash_point(CrashPoint::cloned);
    });
}

// Before the port sees them: whatever happens from here on, these may have left.
void Worker::log_intent(const PlanPort& port, const TxBuffer& buffer) {
    const std::uint64_t* orders = buffer.orders.data();
    const std::uint64_t highest = *std::max_element(orders, orders + buffer.length);
    if (highest == 0) return;
    stateful_[port.group]->log.marks(port.slot).intent.store(highest, std::memory_order_release);
    crash_point(CrashPoint::intent);
}

// The port has taken `sent` of them; the rest, and what comes after, is given from the log.
void Worker::log_delivered(const PlanPort& port, const TxBuffer& buffer, std::uint16_t sent) {
    const std::uint64_t* orders = buffer.orders.data();
    const std::uint64_t highest = *std::max_element(orders, orders + buffer.length);
    if (highest == 0) return;
    crash_point(CrashPoint::sent);
    StatefulGroup& state = *stateful_[port.group];
    LogMarks& marks = state.log.marks(port.slot);
    const auto* untaken =
        std::find_if(orders + sent, orders + buffer.length, [](std::uint64_t o) { return o != 0; });
    if (untaken == orders + buffer.length) {
        marks.delivered.store(highest, std::memory_order_release);
    } else {
        marks.delivered.store(*untaken - 1, std::memory_order_release);
        marks.intent.store(*untaken - 1, std::memory_order_release);
        Feed& feed = state.feeds[port.slot.value];
        feed.given = *untaken - 1;
        feed.forget_unanswered_from(*untaken);
        feed.retry_at = now_ + port_retry_ticks();
        if (feed.mode == Feed::Mode::live) fall_behind(state, port.slot);
    }
    crash_point(CrashPoint::delivered);
}

// Once a turn, for whoever is not at the end of the log.
void Worker::replay() {
    for (std::uint8_t group = 0; group < plan_->groups_count; ++group) {
        if (stateful_[group] == nullptr) continue;
        StatefulGroup& state = *stateful_[group];
        for (std::uint8_t i = 0; i < plan_->groups[group].replicas; ++i) {
            const ReplicaId slot{i};
            give_up_waiting(group, slot);
            catch_up(group, slot);
            report_feed(group, slot);
        }
        if (!state.doubted.empty() || state.short_since != 0) watch_doubt(group);
        std::exchange(state.to_leave, {}).for_each([&](ReplicaId slot) { withdraw(group, slot); });
    }
    release_decided();
}

void Worker::catch_up(std::uint8_t group, ReplicaId slot) {
    StatefulGroup& state = *stateful_[group];
    Feed& feed = state.feeds[slot.value];
    const std::uint8_t port = plan_->groups[group].seats[slot.value].port;
    while (feed.mode == Feed::Mode::behind) {
        if (feed.given == state.last_order()) {
            feed.mode = Feed::Mode::live;
            state.live.insert(slot);
            return;
        }
        if (now_ < feed.retry_at || feed.unanswered_len == catch_up_window) return;
        const LogEntry* entry = state.log.entry(feed.given + 1);
        if (entry == nullptr) return lose(group, slot, Event::Why::overrun);
        // Two requests of one key at a time could have their replies taken for each other's.
        const std::uint32_t hash = key_hash_(entry->key);
        for (unsigned i = 0; i < feed.unanswered_len; ++i) {
            if (feed.unanswered[i].hash == hash) return;
        }
        if ((*tx_)[port].length + fragments_max > tx_buffer_len_max) {
            flush(port);
            if (now_ < feed.retry_at) return;
        }
        if (!give_copy(port, *entry)) {
            feed.retry_at = now_ + port_retry_ticks();
            return;
        }
        feed.given += 1;
        feed.unanswered[feed.unanswered_len++] = {feed.given, now_, hash};
        counters_.groups[group].replayed.add(1);
        counters_.groups[group].replicas[slot.value].asked.add(1);
        crash_point(CrashPoint::replayed);
    }
}

// False: no packet memory.
bool Worker::give_copy(std::uint8_t port, const LogEntry& entry) {
    const wire::Bytes frame = entry.frame();
    rte_mbuf* packet =
        frame.size() <= frame_len_max ? new_packet() : rte_pktmbuf_alloc(around_.jumbos);
    if (packet == nullptr) return false;
    counters_.made.add(1);
    std::memcpy(rte_pktmbuf_mtod(packet, std::byte*), frame.data(), frame.size());
    set_length(packet, entry.frame_length);
    if (entry.frame_length - entry.l3_offset <= mtu_default) {
        send(port, packet, no_record, entry.order);
        return true;
    }
    const bool sent = send_fragmented(port, packet, entry.l3_offset, no_record, entry.order);
    drop(packet, DropReason::consumed);
    return sent;
}

// Whether a reply answers a copy from the log, or comes too late, and no ballot waits for it. Takes
// the packet if so.
bool Worker::replayed_reply(std::uint8_t index, const Arrival& arrival, const Record* record) {
    const PlanPort& port = plan_->ports[index];
    StatefulGroup* state = stateful_[port.group].get();
    if (state == nullptr) return false;
    const PlanSeat& seat = plan_->groups[port.group].seats[port.slot.value];
    Feed& feed = state->feeds[port.slot.value];
    if (feed.unanswered_len == 0 || seat.port != index) return false;
    const PlanService& service = plan_->services[arrival.service];
    const wire::Bytes payload = arrival.frame.payload(bytes_of(arrival.packet));
    RecordKey key = arrival.key;
    key.unit = 0;
    const std::uint32_t hash = key.unit == arrival.key.unit ? arrival.hash : key_hash_(key);
    const LogEntry* entry = nullptr;
    unsigned at = 0;
    for (; at < feed.unanswered_len; ++at) {
        if (feed.unanswered[at].hash != hash) continue;
        entry = state->log.entry(feed.unanswered[at].order);
        if (entry == nullptr) break;  // overwritten since
        if (entry->key == key && service.matcher.answers(entry->payload(), payload)) break;
    }
    if (at == feed.unanswered_len) return false;
    const bool awaited = record != nullptr && record->ballot.missing().contains(port.slot);
    if (!port.rx_checksum_trusted &&
        !wire::l4_checksum_right(bytes_of(arrival.packet), arrival.frame)) {
        drop(arrival.packet, DropReason::bad_l4_checksum);
        return true;
    }
    if (arrival.key.unit == 0) feed.forget_unanswered(at);
    if (awaited) return false;
    if (arrival.key.unit == 0 && entry != nullptr &&
        entry->agreed.load(std::memory_order_acquire) != 0) {
        const voter::Fingerprint found =
            service.comparator.fingerprint(payload, state->log.digest_key(), *workspace_);
        const bool unsure =
            state->doubted.contains(port.slot) && state->log.marks(port.slot).doubt <= entry->order;
        if (found.canonical != entry->digest) {
            // Who may have missed a request is not to blame for it.
            ReplicaCounters& counters = counters_.groups[port.group].replicas[port.slot.value];
            if (!unsure) counters.dissent.add(1);
            lose(port.group, port.slot, Event::Why::differs);
        } else if (unsure) {
            state->trust(port.slot);
        }
    }
    drop(arrival.packet, DropReason::consumed);
    return true;
}

// No answer to a copy. Where a quorum had one, the replica may have missed it.
void Worker::give_up_waiting(std::uint8_t group, ReplicaId slot) {
    StatefulGroup& state = *stateful_[group];
    Feed& feed = state.feeds[slot.value];
    const std::uint64_t patience = plan_->groups[group].deadline_ticks * catch_up_deadlines;
    while (feed.unanswered_len != 0 && now_ - feed.unanswered[0].sent_at >= patience) {
        const std::uint64_t order = feed.unanswered[0].order;
        feed.forget_unanswered(0);
        const LogEntry* entry = state.log.entry(order);
        if (entry == nullptr || entry->agreed.load(std::memory_order_acquire) == 0) continue;
        if (plan_->groups[group].seats[slot.value].standing == Standing::lagging) {
            return lose(group, slot, Event::Why::silent);
        }
        state.doubt(slot, order);
    }
}

// Its state is not the group's any more, and only a new incarnation can help. Its votes stop
// counting with the end of the turn; the roster follows.
void Worker::lose(std::uint8_t group, ReplicaId slot, Event::Why why) {
    StatefulGroup& state = *stateful_[group];
    if (state.lost.contains(slot)) return;
    const PlanSeat& seat = plan_->groups[group].seats[slot.value];
    Feed& feed = state.feeds[slot.value];
    state.log.marks(slot).lost.store(1, std::memory_order_relaxed);
    state.lost.insert(slot);
    state.live.erase(slot);
    state.to_leave.insert(slot);
    feed.mode = Feed::Mode::out;
    feed.unanswered_len = 0;
    feed.report_at = now_ + settings_.ticks_per_second;
    const auto kind =
        seat.standing == Standing::lagging ? Event::Kind::replay_failed : Event::Kind::lagging;
    report({kind, group, slot, seat.incarnation, {}, feed.given, why});
}

// When the control thread has to be told (again: a report may find the queue full) what the roster
// does not say yet.
std::uint64_t Worker::report_due(std::uint8_t group, ReplicaId slot) const {
    const StatefulGroup& state = *stateful_[group];
    const PlanGroup& planned = plan_->groups[group];
    const Feed& feed = state.feeds[slot.value];
    switch (planned.seats[slot.value].standing) {
        case Standing::admitted:
            if (state.lost.contains(slot)) return feed.report_at;
            if (feed.mode != Feed::Mode::behind) return UINT64_MAX;
            return std::max(feed.report_at,
                            feed.behind_since + planned.deadline_ticks * behind_deadlines);
        case Standing::lagging:
            return state.live.contains(slot) && feed.unanswered_len == 0 ? feed.report_at
                                                                         : UINT64_MAX;
        default:
            return UINT64_MAX;
    }
}

void Worker::report_feed(std::uint8_t group, ReplicaId slot) {
    if (now_ < report_due(group, slot)) return;
    StatefulGroup& state = *stateful_[group];
    const PlanSeat& seat = plan_->groups[group].seats[slot.value];
    Feed& feed = state.feeds[slot.value];
    Event event{Event::Kind::lagging, group, slot, seat.incarnation, {}, feed.given};
    if (seat.standing == Standing::lagging) {
        event.kind = Event::Kind::caught_up;
    } else {
        event.why = state.lost.contains(slot) ? Event::Why::in_doubt : Event::Why::slow;
    }
    feed.report_at = now_ + settings_.ticks_per_second;
    report(event);
}

// When replay() has something to do though nothing has come.
std::uint64_t Worker::next_feed_deadline(std::uint8_t group) const {
    const StatefulGroup& state = *stateful_[group];
    const PlanGroup& planned = plan_->groups[group];
    std::uint64_t next = UINT64_MAX;
    if (state.short_since != 0) {
        next = state.short_since + planned.deadline_ticks * catch_up_deadlines;
    }
    for (std::uint8_t slot = 0; slot < planned.replicas; ++slot) {
        const Feed& feed = state.feeds[slot];
        next = std::min(next, report_due(group, ReplicaId{slot}));
        // Behind, and not for want of room at its port: it waits for answers.
        if (feed.mode == Feed::Mode::behind && feed.retry_at > now_) {
            next = std::min(next, feed.retry_at);
        }
        if (feed.unanswered_len != 0) {
            next = std::min(
                next, feed.unanswered[0].sent_at + planned.deadline_ticks * catch_up_deadlines);
        }
    }
    return next;
}

}  // namespace proxy
