// Dissent and silence of a closed ballot: counted, attributed, and filed as evidence.
#include "proxy/pipeline.hh"

namespace proxy {

using voter::ReplicaId;
using voter::SlotSet;
using voter::Verdict;

void Worker::settle_faults(Record& record) {
    const bool blameless = record.order != 0 && !log_closed(record);
    if (record.ballot.verdict() == Verdict::split || blameless) return file_evidence(record);
    const SlotSet dissenters = record.ballot.dissenters();
    const SlotSet silent = record.superseded ? SlotSet{} : record.ballot.silent();
    if ((dissenters | silent).empty()) return;
    dissenters.for_each([&](ReplicaId slot) { fault(record, voter::Fault::dissent, slot); });
    silent.for_each([&](ReplicaId slot) { fault(record, voter::Fault::silence, slot); });
    file_evidence(record);
}

void Worker::fault(const Record& record, voter::Fault fault, ReplicaId slot) {
    if (record.order != 0 && excused(record, fault, slot)) return;
    ReplicaCounters& counters = counters_.groups[record.group].replicas[slot.value];
    (fault == voter::Fault::dissent ? counters.dissent : counters.silence).add(1);
    const voter::RequestKind kind =
        plan_->services[record.key.service].matcher.kind_of(record.request_payload());
    const voter::Finding finding =
        accusations_[record.group].record(fault, slot, record.source, kind, voter::Ticks{now_});
    if (finding.suspect) {
        report({Event::Kind::suspect, record.group, slot,
                plan_->groups[record.group].seats[slot.value].incarnation, kind, 0});
    }
    if (finding.kind_marked) report({Event::Kind::kind_marked, record.group, slot, {}, kind, 0});
}

void Worker::report(const Event& event) {
    if (around_.events == nullptr || !around_.events->push(event)) counters_.events_lost.add(1);
}

// Moves the packets of the record to the evidence writer.
void Worker::file_evidence(Record& record) {
    GroupCounters& counters = counters_.groups[record.group];
    if (around_.evidence == nullptr) return;
    void* place = nullptr;
    if (evidence_left_ == 0 || rte_mempool_get(around_.evidence_items, &place) != 0) {
        counters.evidence_lost.add(1);
        return;
    }
    evidence_left_ -= 1;
    auto* item = new (place) EvidenceItem{};
    item->group = record.group;
    item->service = record.key.service;
    item->ballot = record.ballot;
    item->superseded = record.superseded;
    item->opened_at = record.opened_at;
    item->closed_at = now_;
    item->client = record.key.client;
    item->client_port = record.key.client_port;
    item->request = record.request;
    item->request_offset = record.request_offset();
    item->request_length = record.request_length;
    rte_mbuf_refcnt_update(record.request, 1);
    counters_.made.add(1);
    for (std::size_t slot = 0; slot < voter::replicas_max; ++slot) {
        item->incarnations[slot] = plan_->groups[record.group].seats[slot].incarnation;
        Answer& answer = record.answers[slot];
        item->answers[slot] = answer;
        if (answer.packet == nullptr) continue;
        rte_mbuf_refcnt_update(answer.packet, 1);
        counters_.made.add(1);
    }
    if (rte_ring_sp_enqueue(around_.evidence, item) != 0) {
        counters.evidence_lost.add(1);
        discard_evidence(item, around_.evidence_items);
    }
    // From here on these references are the writer's.
    counters_.drop(wire::DropReason::consumed, 1);
    for (const Answer& answer : record.answers) {
        if (answer.packet != nullptr) counters_.drop(wire::DropReason::consumed, 1);
    }
}

void discard_evidence(EvidenceItem* item, rte_mempool* items) {
    rte_pktmbuf_free(item->request);
    for (const Answer& answer : item->answers) {
        if (answer.packet != nullptr) rte_pktmbuf_free(answer.packet);
    }
    rte_mempool_put(items, item);
}

}  // namespace proxy
