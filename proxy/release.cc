// What was decided leaves, and what is done is closed. Decided records are gathered during the turn
// and looked at once, when every replica port has been polled: by then most ballots have all their
// votes, and the winning packet itself can leave without another reference or a fingerprint.
#include "proxy/crash_point.hh"
#include "proxy/pipeline.hh"
#include "wire/checksum.hh"

namespace proxy {

using voter::ReplicaId;
using voter::SlotSet;
using voter::Verdict;
using wire::DropReason;

void Worker::list(Record& record) {
    if (record.listed) return;
    record.listed = true;
    decided_.push_back(records_.id_of(record));  // reserved for all records: never allocates
}

void Worker::release_decided() {
    if (decided_.empty()) return;
    releasing_at_ = clock();
    for (const std::uint32_t id : decided_) {
        Record& record = records_[id];
        if (!record.open || !record.listed) continue;
        record.listed = false;
        settle(record);
        if (!record.deferred.empty() && record.ballot.decided()) forgo_deferred(record);
        if (record.ballot.complete() && !record.awaits_units()) {
            close(record);
        } else if (record.released && record.ballot.verdict() == Verdict::agreed) {
            keep_for_late_votes(record);
        }
    }
    decided_.clear();
}

// Gives the client what it is due, at most once.
void Worker::settle(Record& record) {
    if (record.released) return;
    const PlanGroup& group = plan_->groups[record.group];
    if (group.mode == config::Mode::observe) {
        if (!record.primary_answered) return;
        release_from(record, group.primary);
        known_.agreed(record.source.value, now_);
        return;
    }
    switch (record.ballot.verdict()) {
        case Verdict::agreed:
            switch (record.order == 0 ? Word::release : log_agreed(record)) {
                case Word::release:
                    return release(record);
                case Word::wait:
                    return;
                case Word::refuse:
                    return quorum_lost(record);
            }
            break;
        case Verdict::split:
        case Verdict::expired:
            quorum_lost(record);
            break;
        case Verdict::open:
            break;
    }
}

void Worker::release(Record& record) {
    const voter::Ballot::Camp& winner = record.ballot.winner();
    const std::uint8_t quorum = record.ballot.rules().quorum;
    if (record.answers[winner.holder.value].icmp || winner.identical.size() >= quorum) {
        release_from(record, winner.holder);
    } else {
        release_composed(record);
    }
    known_.agreed(record.source.value, now_);
}

void Worker::left(Record& record) {
    record.released = true;
    const std::uint64_t at = std::max(releasing_at_, now_);
    counters_.groups[record.group].latency.record(to_ns(at - record.opened_at));
    if (record.order != 0) crash_point(CrashPoint::replied);
}

// How many datagrams the reply has that is about to leave.
void Worker::note_units(Record& record, ReplicaId holder) const {
    const voter::Matcher& matcher = plan_->services[record.key.service].matcher;
    if (matcher.kind() != voter::MatcherKind::memcached || record.key.unit != 0) return;
    const auto key = matcher.reply_key(record.answer_payload(holder));
    if (key) record.units = key->units;
}

// The packet `holder` sent, behind outer headers of our own.
void Worker::release_from(Record& record, ReplicaId holder) {
    Answer& answer = record.answers[holder.value];
    if (answer.icmp) return release_icmp(record, answer);
    note_units(record, holder);
    if (record.order != 0) log_reply(record, record.answer_payload(holder));
    rte_mbuf* packet = answer.packet;
    const auto udp_offset =
        static_cast<std::uint16_t>(answer.payload_offset() - wire::udp_header_len);
    const auto udp_length =
        static_cast<std::uint16_t>(answer.payload_length + wire::udp_header_len);
    const bool v4 = record.key.client.is_v4();
    const std::size_t ip_length = v4 ? wire::ipv4_header_len : wire::ipv6_header_len;
    const wire::LinkHeader& link = record.path.link;
    // Headers of exactly our size in front of the UDP header, whatever the replica had there.
    const auto front = static_cast<std::int32_t>(link.length() + ip_length) - udp_offset;
    if (front > 0) {
        if (rte_pktmbuf_prepend(packet, static_cast<std::uint16_t>(front)) == nullptr) {
            return unsendable(record);
        }
    } else if (front < 0) {
        rte_pktmbuf_adj(packet, static_cast<std::uint16_t>(-front));
    }
    // Padding behind the datagram was not voted.
    set_length(packet, static_cast<std::uint16_t>(link.length() + ip_length + udp_length));

    const wire::MutableBytes frame = mutable_bytes_of(packet);
    const wire::IpAddress& service = plan_->services[record.key.service].address;
    wire::write_link_header(frame, link, v4 ? wire::ether_type_ipv4 : wire::ether_type_ipv6);
    const wire::MutableBytes ip = frame.subspan(link.length());
    if (v4) {
        wire::write_ipv4_header(ip, service, record.key.client, wire::protocol_udp, udp_length,
                                next_identification());
    } else {
        wire::write_ipv6_header(ip, service, record.key.client, wire::protocol_udp, udp_length);
    }
    if (wire::load_be16(answer.payload - 2) == 0) fill_in_checksum(frame);

    if (nothing_to_come(record)) {
        held_ -= 1;
        answer.packet = nullptr;
    } else {
        rte_mbuf_refcnt_update(packet, 1);
        counters_.made.add(1);
    }
    send_whole_or_fragmented(record.path.port, packet, static_cast<std::uint16_t>(link.length()));
    left(record);
}

// No late vote to compare, no evidence to keep: the agreed packet itself may leave for good.
bool Worker::nothing_to_come(const Record& record) {
    return record.ballot.complete() && record.ballot.verdict() == Verdict::agreed &&
           record.ballot.dissenters().empty() && !record.awaits_units();
}

// A replica may leave the sum out over IPv4; what leaves the appliance has one.
void Worker::fill_in_checksum(wire::MutableBytes frame) {
    wire::Frame parsed;
    if (wire::parse_frame(frame, parsed) == DropReason::none)
        wire::write_l4_checksum(frame, parsed);
}

// Replies that agree without being equal: the comparator says what may leave.
void Worker::release_composed(Record& record) {
    const voter::Ballot::Camp& winner = record.ballot.winner();
    std::array<voter::Bytes, voter::replicas_max> agreeing;
    std::size_t count = 0;
    winner.members.for_each([&](ReplicaId slot) {
        const ReplicaId source = winner.identical.contains(slot) ? winner.holder : slot;
        if (record.answers[source.value].packet != nullptr) {
            agreeing[count++] = record.answer_payload(source);
        }
    });
    const voter::Comparator& comparator = plan_->services[record.key.service].comparator;
    const std::size_t length =
        comparator.compose(record.request_payload(), {agreeing.data(), count},
                           record.ballot.rules().quorum, compose_buffer_, *workspace_);
    if (length == 0) return unsendable(record);
    const wire::Bytes composed{compose_buffer_.data(), length};
    if (record.order != 0) log_reply(record, composed);
    if (!send_datagram(record.path, record.key, composed)) return unsendable(record);
    counters_.groups[record.group].rebuilt.add(1);
    note_units(record, winner.holder);
    left(record);
}

// A datagram of our own making, to the client of this key.
bool Worker::send_datagram(const ReturnPath& path, const RecordKey& key, wire::Bytes payload) {
    const wire::LinkHeader& link = path.link;
    const PlanService& service = plan_->services[key.service];
    rte_mbuf* packet = payload.size() + own_headers_len_max <= frame_len_max
                           ? new_packet()
                           : rte_pktmbuf_alloc(around_.jumbos);
    if (packet == nullptr) return false;
    const std::size_t length =
        wire::write_udp(room_of(packet), link, service.address, service.port, key.client,
                        key.client_port, next_identification(), payload);
    if (length == 0) {
        counters_.made.add(1);
        drop(packet, DropReason::reply_unsendable);
        return false;
    }
    set_length(packet, static_cast<std::uint16_t>(length));
    counters_.made.add(1);
    send_whole_or_fragmented(path.port, packet, static_cast<std::uint16_t>(link.length()));
    return true;
}

void Worker::unsendable(Record& record) {
    counters_.groups[record.group].unsendable.add(1);
    record.released = true;  // nothing will leave; late votes still count
}

void Worker::release_icmp(Record& record, const Answer& answer) {
    send_icmp_error(record, answer.icmp_type, answer.icmp_code);
    left(record);
}

void Worker::quorum_lost(Record& record) {
    const PlanGroup& group = plan_->groups[record.group];
    GroupCounters& counters = counters_.groups[record.group];
    switch (group.quorum_lost) {
        case config::QuorumLost::silence:
            return;
        case config::QuorumLost::open: {
            // A halted group answers nothing on anybody's word.
            if (counters.halted.get() != 0) return;
            const auto holder = holder_of(record, group.primary);
            if (!holder) return;
            counters.opened.add(1);
            return release_from(record, *holder);
        }
        case config::QuorumLost::error:
            counters.errors_sent.add(1);
            if (plan_->services[record.key.service].is_dns) {
                const std::size_t length = voter::dns::write_error(
                    record.request_payload(), voter::dns::rcode_servfail, compose_buffer_);
                if (length != 0) {
                    send_datagram(record.path, record.key, {compose_buffer_.data(), length});
                }
            } else {
                send_unreachable(record);
            }
            record.released = true;
            return;
    }
}

// Whose kept packet has the bytes that `slot` sent.
std::optional<ReplicaId> Worker::holder_of(const Record& record, ReplicaId slot) const {
    if (!record.ballot.voted().contains(slot)) return std::nullopt;
    // After a split it belongs to no camp.
    if (record.answers[slot.value].packet != nullptr) return slot;
    for (unsigned i = 0; i < record.ballot.camps(); ++i) {
        const voter::Ballot::Camp& camp = record.ballot.camp(i);
        if (!camp.members.contains(slot)) continue;
        const ReplicaId holder = camp.identical.contains(slot) ? camp.holder : slot;
        if (record.answers[holder.value].packet == nullptr) return std::nullopt;
        return holder;
    }
    return std::nullopt;
}

// The reply has left and somebody has yet to vote: keep the winner's bytes while there is room,
// their fingerprint beyond that.
void Worker::keep_for_late_votes(Record& record) {
    if (record.retains || record.by_print) return;
    const voter::Ballot::Camp& winner = record.ballot.winner();
    Answer& kept = record.answers[winner.holder.value];
    if (retained_replies_ < settings_.retained_replies_max) {
        record.retains = true;
        retained_replies_ += 1;
        return;
    }
    if (!kept.icmp) {
        const voter::Comparator& comparator = plan_->services[record.key.service].comparator;
        record.fingerprint = comparator.fingerprint(record.answer_payload(winner.holder),
                                                    settings_.digest_key, *workspace_);
    }
    record.by_print = true;
    winner.members.for_each([&](ReplicaId slot) { give_up(record.answers[slot.value]); });
}

void Worker::give_up(Answer& answer) {
    if (answer.packet == nullptr) return;
    held_ -= 1;
    drop(answer.packet, DropReason::reply_not_released);
    answer.packet = nullptr;
}

void Worker::close(Record& record) {
    GroupCounters& counters = counters_.groups[record.group];
    forgo(record, record.deferred);
    if (record.key.unit == 0) {
        record.ballot.missing().for_each([&](ReplicaId slot) { answered(record.group, slot); });
    }
    switch (record.ballot.verdict()) {
        case Verdict::agreed:
            counters.agreed.add(1);
            accusations_[record.group].agreed(record.source, voter::Ticks{now_});
            break;
        case Verdict::split:
            counters.split.add(1);
            break;
        case Verdict::open:  // asked anew before it was decided, or an orderly end
        case Verdict::expired:
            counters.expired.add(1);
            break;
    }
    settle_faults(record);
    if (record.retains) retained_replies_ -= 1;
    give_up_packets(record);
    open_records_[record.group] -= 1;
    records_.close(record);
}

void Worker::give_up_packets(Record& record) {
    for (Answer& answer : record.answers) give_up(answer);
    held_ -= 1;
    drop(record.request, DropReason::consumed);
    record.request = nullptr;
}

void Worker::expire() {
    for (std::uint8_t group = 0; group < plan_->groups_count; ++group) {
        const std::uint64_t deadline = plan_->groups[group].deadline_ticks;
        for (unsigned i = 0; i < expiries_per_turn_max; ++i) {
            Record* record = records_.oldest(group);
            if (record == nullptr || now_ - record->opened_at < deadline) break;
            forgo(*record, record->deferred);
            record->ballot.expire();
            settle(*record);
            close(*record);
        }
    }
    age_reassembly();
}

}  // namespace proxy
