// Groups with state (to be written by the request-log slice).
#include "proxy/pipeline.hh"

namespace proxy {

void Worker::adopt_seats(std::uint8_t, const Plan&) {}
wire::DropReason Worker::log_refuses(std::uint8_t, const Arrival&) {
    return wire::DropReason::none;
}
void Worker::log_request(Record&) {}
void Worker::log_intent(const PlanPort&, const TxBuffer&) {}
void Worker::log_delivered(const PlanPort&, const TxBuffer&, std::uint16_t) {}
bool Worker::log_agreed(Record&) { return true; }
void Worker::logged_split(const Record&) {}
bool Worker::excused(const Record&, voter::Fault, voter::ReplicaId) { return false; }
bool Worker::replayed_reply(const PlanPort&, const Arrival&) { return false; }
void Worker::replay() {}

}  // namespace proxy
