// From a replica's packet to a vote: tie it to the request it answers, check what nobody has
// checked yet, and count it. The first reply's checksum is verified; one that equals it byte for
// byte is right as well.
#include <bit>
#include <cstring>

#include "proxy/pipeline.hh"
#include "wire/checksum.hh"

namespace proxy {

using voter::Likeness;
using voter::Outcome;
using voter::ReplicaId;
using wire::DropReason;

// Sorts a parsed UDP packet of a replica: true if it can be a reply and stays in the burst.
bool Worker::is_reply(std::uint8_t index, Arrival& arrival) {
    const wire::Frame& frame = arrival.frame;
    const PlanPort& port = plan_->ports[index];
    arrival.service = find_service(frame.ip_source, frame.source_port);
    if (arrival.service == no_service || plan_->services[arrival.service].group != port.group) {
        drop(arrival.packet, is_service_address(frame.ip_source) ? DropReason::replica_initiated
                                                                 : DropReason::reply_forged_source);
        return false;
    }
    const wire::Bytes payload = frame.payload(bytes_of(arrival.packet));
    const auto key = plan_->services[arrival.service].matcher.reply_key(payload);
    if (!key) {
        drop(arrival.packet, DropReason::reply_unmatched);
        return false;
    }
    arrival.record = next_in_order(port, arrival, *key);
    if (arrival.record != no_record) return true;
    arrival.unit_count = key->units;
    arrival.set_key(frame.ip_destination, frame.destination_port, *key);
    arrival.hash = key_hash_(arrival.key);
    records_.prefetch_index(arrival.hash);
    return true;
}

void Worker::replies(std::uint8_t port, std::span<Arrival> arrivals) {
    for (Arrival& arrival : arrivals) reply(port, arrival);
}

void Worker::reply(std::uint8_t index, Arrival& arrival) {
    const PlanPort& port = plan_->ports[index];
    const PlanGroup& group = plan_->groups[port.group];
    Record* record =
        arrival.record != no_record ? &records_[arrival.record] : record_for(arrival, port.slot);
    if (group.logged && replayed_reply(index, arrival, record)) return;
    if (record == nullptr && arrival.key.unit != 0) record = open_unit(arrival);
    if (record == nullptr) return drop(arrival.packet, DropReason::reply_unmatched);
    if (group.seats[port.slot.value].port != index) {
        return drop(arrival.packet, DropReason::stale_place);
    }
    const wire::Frame& frame = arrival.frame;
    const Answer answer{arrival.packet, frame.payload(bytes_of(arrival.packet)).data(),
                        frame.payload_length, false};
    voter::SlotSet identical_to;
    if (settings_.vote && !port.rx_checksum_trusted) {
        identical_to = equal_checked_reply(*record, answer);
        if (identical_to.empty() && !wire::l4_checksum_right(bytes_of(arrival.packet), frame)) {
            return drop(arrival.packet, DropReason::bad_l4_checksum);
        }
    }
    vote(*record, port.slot, answer, identical_to);
}

// Replicas mostly answer in the order in which they were asked: is it the request after the one
// that this replica answered last (the oldest, where that one is closed)? Then nothing needs to be
// looked up. no_record: it is not. Requests that only their order tells apart, and those of groups
// with state, are always looked up.
std::uint32_t Worker::next_in_order(const PlanPort& port, const Arrival& arrival,
                                    const voter::MatchKey& key) {
    const voter::Matcher& matcher = plan_->services[arrival.service].matcher;
    if (matcher.one_outstanding() || plan_->groups[port.group].logged) return no_record;
    Answered& last = answered_last_[port.group][port.slot.value];
    const bool known = last.record != no_record && records_[last.record].open &&
                       records_[last.record].generation == last.generation;
    const Record* record =
        known ? records_.next(records_[last.record]) : records_.oldest(port.group);
    const wire::Frame& frame = arrival.frame;
    if (record == nullptr || record->key.request != key.request ||
        record->key.client_port != frame.destination_port ||
        record->key.client != frame.ip_destination || record->key.service != arrival.service ||
        record->key.unit != key.unit ||
        !(record->ballot.missing() - record->deferred).contains(port.slot) ||
        !matcher.answers(record->request_payload(), frame.payload(bytes_of(arrival.packet)))) {
        return no_record;
    }
    last = {records_.id_of(*record), record->generation};
    return last.record;
}

// The request it answers: rather one that this replica has not answered yet (where the matcher
// cannot tell, it is the oldest of them). nullptr: none.
Record* Worker::record_for(const Arrival& arrival, ReplicaId slot) {
    const voter::Matcher& matcher = plan_->services[arrival.service].matcher;
    const wire::Bytes payload = arrival.frame.payload(bytes_of(arrival.packet));
    const auto answers = [&](const Record& candidate) {
        return matcher.answers(candidate.request_payload(), payload);
    };
    Record* record = records_.find(arrival.key, arrival.hash, [&](const Record& candidate) {
        return (candidate.ballot.missing() - candidate.deferred).contains(slot) &&
               answers(candidate);
    });
    if (record == nullptr) return records_.find(arrival.key, arrival.hash, answers);
    answered_last_[record->group][slot.value] = {records_.id_of(*record), record->generation};
    return record;
}

// Whose reply it equals: a UDP datagram equal to one that was verified, checksum included, needs no
// sum of its own. The addresses and ports that the sum covers too are equal because both belong to
// one record.
voter::SlotSet Worker::equal_checked_reply(const Record& record, const Answer& answer) const {
    if (record.ballot.camps() == 0) return {};
    const ReplicaId holder = record.ballot.camp(0).holder;
    const Answer& checked = record.answers[holder.value];
    if (checked.packet == nullptr || checked.icmp) return {};
    if (checked.payload_length != answer.payload_length) return {};
    const bool equal =
        std::memcmp(checked.payload - wire::udp_header_len, answer.payload - wire::udp_header_len,
                    answer.payload_length + wire::udp_header_len) == 0;
    return equal ? voter::SlotSet::of(holder) : voter::SlotSet{};
}

// Takes over the packet of `answer`. `identical_to`: whose bytes it is known to equal.
void Worker::vote(Record& record, ReplicaId slot, const Answer& answer,
                  voter::SlotSet identical_to) {
    // It cannot know the request yet.
    if (record.deferred.contains(slot)) return drop(answer.packet, DropReason::reply_stranger);
    ReplicaCounters& counters = counters_.groups[record.group].replicas[slot.value];
    if (record.ballot.missing().contains(slot)) {
        counters.replies.add(1);
        if (record.key.unit == 0) answered(record.group, slot);
    }
    const bool was_decided = record.ballot.decided();
    const Outcome outcome = record.ballot.cast(slot, [&](ReplicaId holder) {
        return identical_to.contains(holder) ? Likeness::identical
                                             : likeness(record, answer, holder);
    });
    // What serves the client by itself is kept, however it compares.
    const bool serves = !record.released && serves_alone(record, slot);
    switch (outcome) {
        case Outcome::first:
        case Outcome::same:
        case Outcome::dissent_late:  // kept as evidence
            keep_answer(record, slot, answer);
            break;
        case Outcome::agreed_late:
            // Others than the winner's own bytes are kept: should the ballot turn into evidence, it
            // has every reply.
            keep_if(
                serves || (!record.by_print && !record.ballot.winner().identical.contains(slot)),
                record, slot, answer);
            break;
        case Outcome::identical:
        case Outcome::too_late:
            keep_if(serves, record, slot, answer);
            break;
        case Outcome::twice:
            return drop(answer.packet, DropReason::reply_twice);
        case Outcome::stranger:
            return drop(answer.packet, DropReason::reply_stranger);
    }
    if (serves) record.primary_answered = true;
    if ((record.ballot.decided() && !was_decided) || record.ballot.complete() || serves) {
        list(record);
    }
}

// Whether the client gets the reply of `slot` without a quorum.
bool Worker::serves_alone(const Record& record, ReplicaId slot) const {
    const PlanGroup& group = plan_->groups[record.group];
    if (slot != group.primary) return false;
    return group.mode == config::Mode::observe ||
           (group.quorum_lost == config::QuorumLost::open &&
            record.ballot.verdict() == voter::Verdict::split);
}

void Worker::keep_if(bool wanted, Record& record, ReplicaId slot, const Answer& answer) {
    if (wanted) return keep_answer(record, slot, answer);
    drop(answer.packet, DropReason::reply_not_released);
}

void Worker::keep_answer(Record& record, ReplicaId slot, const Answer& answer) {
    record.answers[slot.value] = answer;
    held_ += 1;
}

Likeness Worker::likeness(const Record& record, const Answer& answer, ReplicaId holder) {
    if (!settings_.vote) return Likeness::identical;
    const Answer& other = record.answers[holder.value];
    if (other.icmp || answer.icmp) {
        if (!other.icmp || !answer.icmp) return Likeness::different;
        const bool equal =
            other.icmp_type == answer.icmp_type && other.icmp_code == answer.icmp_code;
        return equal ? Likeness::identical : Likeness::different;
    }
    const voter::Comparator& comparator = plan_->services[record.key.service].comparator;
    if (other.packet == nullptr) {
        return comparator.compare(record.fingerprint, answer.bytes(), settings_.digest_key,
                                  *workspace_);
    }
    return comparator.compare(record.answer_payload(holder), answer.bytes(), *workspace_);
}

// A further datagram of a reply to a request that is known by its first one (memcached). It is
// voted by itself; the request's record must still be open, and says who was asked.
Record* Worker::open_unit(const Arrival& arrival) {
    if (arrival.key.unit >= arrival.unit_count || arrival.unit_count > voter::units_max)
        return nullptr;
    RecordKey first_key = arrival.key;
    first_key.unit = 0;
    const std::uint32_t first_hash = key_hash_(first_key);
    const voter::Matcher& matcher = plan_->services[arrival.service].matcher;
    const wire::Bytes payload = arrival.frame.payload(bytes_of(arrival.packet));
    Record* first = records_.find(first_key, first_hash, [&](const Record& candidate) {
        return matcher.answers(candidate.request_payload(), payload);
    });
    if (first == nullptr) return nullptr;
    // Each once: what comes after its record has closed is nobody's.
    const std::uint64_t bit = std::uint64_t{1} << arrival.key.unit;
    if ((first->units_opened & bit) != 0) return nullptr;
    const std::uint8_t group = first->group;
    if (open_records_[group] >= plan_->groups[group].stranger_records_max) return nullptr;
    Record* record = records_.open(arrival.key, arrival.hash, group, now_);
    if (record == nullptr) return nullptr;
    first->units_opened |= bit;
    record->path = first->path;
    record->source = first->source;
    record->order = first->order;
    record->ballot = voter::Ballot(first->ballot.asked() - first->deferred, first->ballot.rules());
    rte_mbuf_refcnt_update(first->request, 1);
    counters_.made.add(1);
    held_ += 1;
    record->request = first->request;
    record->request_l3_offset = first->request_l3_offset;
    record->request_at = first->request_at;
    record->request_length = first->request_length;
    open_records_[group] += 1;
    return record;
}

// The request is asked anew: so are all datagrams of its reply.
void Worker::close_units(const Record& first) {
    for (std::uint64_t rest = first.units_opened; rest != 0; rest &= rest - 1) {
        RecordKey key = first.key;
        key.unit = static_cast<std::uint16_t>(std::countr_zero(rest));
        Record* record = records_.find(key, key_hash_(key), [&](const Record& candidate) {
            return candidate.request == first.request;
        });
        if (record == nullptr) continue;
        record->superseded = true;
        close(*record);
    }
}

}  // namespace proxy
