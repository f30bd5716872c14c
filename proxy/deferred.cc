// A replica that has as many unanswered requests as it may have is not passed over: the request
// waits for it, and is given to it when it answers another one. Where the others agree meanwhile it
// is forgone, so a slow replica works on what needs its vote. Without this a slow replica beside a
// liar would cost ballots that three honest votes could decide.
//
// Known limit: of a reply of several datagrams (memcached) only the first is voted by a replica
// that was asked later.
#include "proxy/pipeline.hh"

namespace proxy {

using voter::ReplicaId;
using voter::SlotSet;

// Each of `slots` has room in its queue.
void Worker::defer(Record& record, SlotSet slots) {
    record.deferred = slots;
    any_deferred_ = true;
    slots.for_each([&](ReplicaId slot) {
        deferred_[record.group][slot.value].push({records_.id_of(record), record.generation});
    });
}

void Worker::give_deferred() {
    if (!any_deferred_) return;
    any_deferred_ = false;
    for (std::uint8_t index = 0; index < plan_->groups_count; ++index) {
        const PlanGroup& group = plan_->groups[index];
        group.fed.for_each([&](ReplicaId slot) {
            DeferredQueue& queue = deferred_[index][slot.value];
            std::uint32_t& inflight = inflight_[index][slot.value];
            while (!queue.empty() && inflight < group.inflight_max) {
                const DeferredQueue::Entry entry = queue.pop();
                Record& record = records_[entry.record];
                if (!record.open || record.generation != entry.generation) continue;
                if (!record.deferred.contains(slot)) continue;
                record.deferred.erase(slot);
                inflight += 1;
                give_to_replicas(record, SlotSet::of(slot));
            }
            if (!queue.empty()) any_deferred_ = true;
        });
    }
}

// The ballot is decided: nobody else needs to be asked, except for a primary whose reply the client
// has yet to get.
void Worker::forgo_deferred(Record& record) {
    const PlanGroup& group = plan_->groups[record.group];
    SlotSet slots = record.deferred;
    if (!record.released && serves_alone(record, group.primary)) slots.erase(group.primary);
    forgo(record, slots);
}

// They are not asked, and not to blame for that.
void Worker::forgo(Record& record, SlotSet slots) {
    slots.for_each([&](ReplicaId slot) {
        counters_.groups[record.group].replicas[slot.value].skipped.add(1);
        record.ballot.withdraw(slot);
    });
    record.deferred = record.deferred - slots;
}

}  // namespace proxy
