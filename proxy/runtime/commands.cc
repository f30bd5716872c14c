// The operator's commands and the status object.
#include <algorithm>
#include <array>

#include <unistd.h>

#include "proxy/ports/netback.hh"
#include "proxy/ports/privileges.hh"
#include "proxy/runtime/appliance.hh"
#include "voter/dns_matcher.hh"

namespace proxy {

using recovery::Standing;
using Json = Appliance::Json;

namespace {

Json refuse(const std::string& error) { return {{"ok", false}, {"error", error}}; }

std::string kind_text(std::uint32_t kind, bool is_dns) {
    if (!is_dns) return std::to_string(kind);
    std::array<char, 64> text{};
    return {text.data(), voter::dns::describe_kind(voter::RequestKind{kind}, text)};
}

double to_us(std::uint64_t ns) { return static_cast<double>(ns) / 1000.0; }

}  // namespace

Json Appliance::command(const Json& request) {
    const auto name = request.is_object() ? request.find("command") : request.end();
    if (!request.is_object() || name == request.end() || !name->is_string()) {
        return refuse("a request is an object with a \"command\"");
    }
    if (*name == "status") return {{"ok", true}, {"status", status()}};
    if (*name == "reload") return reload();
    if (*name == "replay-stop" && replay_) {
        replay_->stop();
        return {{"ok", true}};
    }
    if (*name != "attach" && *name != "suspend" && *name != "admit") {
        return refuse(
            "unknown command; there are status, attach, suspend, admit, reload, shutdown");
    }
    const auto seat = seat_of(request);
    if (!seat) return refuse(seat.error());
    const auto [group, slot] = *seat;
    if (*name == "attach") {
        auto roster = recovery::read_roster(config_.roster_file());
        if (!roster) return refuse(roster.error());
        roster_ = *roster;
        suspects_[group][slot] = false;
        const std::string trouble = follow_roster();
        publish();
        return trouble.empty() ? Json{{"ok", true}} : refuse(trouble);
    }
    const bool admit = *name == "admit";
    std::string reason = admit ? "by hand" : "suspended by hand";
    if (const auto given = request.find("reason"); given != request.end() && given->is_string()) {
        reason = given->get<std::string>().substr(0, 200);
    }
    const auto done = stand(group, slot, admit ? Standing::admitted : Standing::suspended, reason);
    return done ? Json{{"ok", true}} : refuse(done.error());
}

tl::expected<std::pair<std::uint8_t, std::uint8_t>, std::string> Appliance::seat_of(
    const Json& request) const {
    const auto group = request.find("group");
    const auto slot = request.find("slot");
    if (group == request.end() || !group->is_string() || slot == request.end() ||
        !slot->is_number_unsigned()) {
        return tl::unexpected(
            std::string("this command takes \"group\" (name) and \"slot\" (number)"));
    }
    const auto index = config_.group_index(group->get<std::string>());
    if (!index) return tl::unexpected("no group \"" + group->get<std::string>() + "\"");
    const auto number = slot->get<std::uint64_t>();
    if (number >= config_.groups[*index].replicas.size()) {
        return tl::unexpected("group " + config_.groups[*index].name + " has no slot " +
                              std::to_string(number));
    }
    return std::pair{static_cast<std::uint8_t>(*index), static_cast<std::uint8_t>(number)};
}

// Requests are logged with their service's number.
bool Appliance::same_logs(const config::Config& next) const {
    const auto before = build_plan(config_, roster_, ports_, 0, ticks_per_second_, false);
    const auto after = build_plan(next, roster_, ports_, 0, ticks_per_second_, false);
    for (std::uint8_t group = 0; group < config_.groups.size(); ++group) {
        if (logs_[group] != nullptr &&
            log_fingerprint(*before, group) != log_fingerprint(*after, group)) {
            return false;
        }
    }
    return true;
}

// What can change while traffic flows does; what cannot is named.
Json Appliance::reload() {
    auto loaded = config::load(config_.file);
    if (!loaded) return refuse(loaded.error().text());
    config::Config& next = *loaded;
    const auto same_shape = [&] {
        if (next.groups.size() != config_.groups.size()) return false;
        for (std::size_t i = 0; i < next.groups.size(); ++i) {
            const auto& a = next.groups[i];
            const auto& b = config_.groups[i];
            if (a.name != b.name || a.replicas.size() != b.replicas.size() || a.state != b.state) {
                return false;
            }
        }
        return true;
    };
    const auto ports_of = [](const config::Config& config) {
        std::string text;
        for (const config::PortSpec& port : config.client_ports) text += port.text() + " ";
        return text;
    };
    if (next.name != config_.name || next.state_dir != config_.state_dir ||
        next.workers != config_.workers || next.ballots_max != config_.ballots_max ||
        next.topology != config_.topology || ports_of(next) != ports_of(config_) || !same_shape() ||
        !same_logs(next)) {
        return refuse(
            "appliance (name, state_dir, workers, ballots_max, topology), client ports, and the "
            "groups with their replicas, state and (state = \"log\") services cannot change while "
            "running: restart quorate-proxy");
    }
    config_ = std::move(next);
    const std::string trouble = follow_roster();
    publish();
    say("configuration reloaded from " + config_.file.string());
    return trouble.empty() ? Json{{"ok", true}} : refuse(trouble);
}

Json Appliance::status() const {
    std::uint64_t received = 0;
    std::uint64_t sent = 0;
    std::uint64_t dropped = 0;
    std::uint64_t held = 0;
    std::uint64_t made = 0;
    std::uint64_t in = 0;
    std::uint64_t out = 0;
    std::uint64_t turns = 0;
    std::uint64_t busy_turns = 0;
    std::uint64_t busy_ticks = 0;
    std::uint64_t sleeps = 0;
    std::uint64_t blank = 0;
    Json drops = Json::object();
    for (const WorkerCounters& worker : counters_->workers()) {
        received += worker.received.get();
        sent += worker.sent.get();
        dropped += worker.dropped_total();
        held += worker.held.get();
        made += worker.made.get();
        in += worker.taken_over.get();
        out += worker.handed_over.get();
        turns += worker.turns.get();
        busy_turns += worker.busy_turns.get();
        busy_ticks += worker.busy_ticks.get();
        sleeps += worker.sleeps.get();
        blank += worker.blank_checksums.get();
        for (std::size_t i = 0; i < wire::drop_reasons_count; ++i) {
            if (const std::uint64_t n = worker.dropped[i].get(); n != 0) {
                const std::string reason(wire::drop_reason_texts[i].name);
                drops[reason] = drops.value(reason, std::uint64_t{0}) + n;
            }
        }
    }
    Json groups = Json::array();
    for (std::uint8_t i = 0; i < config_.groups.size(); ++i) groups.push_back(group_status(i));
    Json evidence = nullptr;
    if (evidence_) {
        evidence = {{"directory", evidence_->directory().string()},
                    {"file", evidence_->current_file()},
                    {"records", evidence_->records()},
                    {"lost", evidence_->lost()}};
    }
    const auto uptime = std::chrono::steady_clock::now() - started_;
    const NetbackCopies copies = netback_copies();
    const Json replay = replay_ ? replay_->status() : Json();
    // The counters are read while workers write them: between turns they balance exactly.
    const std::uint64_t left = sent + dropped + held + out;
    const std::uint64_t came = received + made + in;
    return {{"name", config_.name},
            {"pid", ::getpid()},
            {"uptime_s", std::chrono::duration<double>(uptime).count()},
            {"epoch", roster_.epoch},
            {"plan_epoch", plan_epoch_},
            {"workers", config_.workers},
            {"topology", config_.topology == config::Topology::vip ? "vip" : "inline"},
            {"conservation",
             {{"received", received},
              {"made", made},
              {"sent", sent},
              {"dropped", dropped},
              {"held", held},
              {"handed_over", out},  // to other workers, so far
              {"between_workers", out >= in ? out - in : 0},
              {"balanced", came == left}}},
            {"packets", {{"in_pools", pools_.size()}, {"in_use", pools_.in_use()}}},
            {"turns", turns},
            {"busy_turns", busy_turns},
            {"busy_ticks", busy_ticks},
            {"ticks_per_second", ticks_per_second_},
            {"sleeps", sleeps},
            {"blank_checksums", blank},
            {"missed",
             {{"clients", missed_[static_cast<std::size_t>(PlanPort::Role::client)]},
              {"replicas", missed_[static_cast<std::size_t>(PlanPort::Role::replica)]}}},
            {"denied_calls", denied_calls()},
            {"grant_copies", {{"calls", copies.calls}, {"segments", copies.segments}}},
            {"evidence", evidence},
            {"replay", replay},
            {"groups", groups},
            {"drops", drops}};
}

Json Appliance::group_status(std::uint8_t index) const {
    const config::Group& group = config_.groups[index];
    const PlanGroup& plan = plans_.back()->groups[index];
    std::array<std::uint64_t, LatencyHistogram::buckets_count> buckets{};
    std::uint64_t samples = 0;
    std::uint64_t max_ns = 0;
    Json sums = {{"requests", 0u},   {"agreed", 0u},          {"split", 0u},
                 {"expired", 0u},    {"rebuilt", 0u},         {"errors_sent", 0u},
                 {"opened", 0u},     {"retransmissions", 0u}, {"superseded", 0u},
                 {"unsendable", 0u}, {"evidence_lost", 0u},   {"absorbed", 0u},
                 {"repeated", 0u},   {"replayed", 0u}};
    const auto add = [&](const char* key, const Count& count) {
        sums[key] = sums[key].get<std::uint64_t>() + count.get();
    };
    for (const WorkerCounters& worker : counters_->workers()) {
        const GroupCounters& counters = worker.groups[index];
        add("requests", counters.requests);
        add("agreed", counters.agreed);
        add("split", counters.split);
        add("expired", counters.expired);
        add("rebuilt", counters.rebuilt);
        add("errors_sent", counters.errors_sent);
        add("opened", counters.opened);
        add("retransmissions", counters.retransmissions);
        add("superseded", counters.superseded);
        add("unsendable", counters.unsendable);
        add("evidence_lost", counters.evidence_lost);
        add("absorbed", counters.absorbed);
        add("repeated", counters.repeated);
        add("replayed", counters.replayed);
        for (unsigned i = 0; i < LatencyHistogram::buckets_count; ++i) {
            buckets[i] += counters.latency.count(i);
            samples += counters.latency.count(i);
        }
        max_ns = std::max(max_ns, counters.latency.max_ns());
    }
    const auto percentile = [&](double share) {
        const auto wanted = static_cast<std::uint64_t>(share * static_cast<double>(samples));
        std::uint64_t seen = 0;
        for (unsigned i = 0; i < LatencyHistogram::buckets_count; ++i) {
            seen += buckets[i];
            // The middle of the highest bucket may be above what was ever seen.
            if (seen > wanted) return to_us(std::min(LatencyHistogram::bucket_ns(i), max_ns));
        }
        return to_us(max_ns);
    };
    unsigned trusted = 0;
    plan.admitted.for_each(
        [&](voter::ReplicaId slot) { trusted += suspects_[index][slot.value] ? 0 : 1; });
    Json replicas = Json::array();
    for (std::uint8_t slot = 0; slot < group.replicas.size(); ++slot) {
        replicas.push_back(replica_status(index, slot));
    }
    Json status = std::move(sums);
    status["name"] = group.name;
    status["f"] = group.f;
    status["quorum"] = group.quorum;
    status["state"] = group.state == config::State::log ? "log" : "none";
    status["mode"] = group.mode == config::Mode::observe ? "observe" : "enforce";
    // How many more replicas may fail now without the service noticing.
    status["masking"] = trusted >= group.quorum ? trusted - group.quorum : 0;
    const RequestLog* log = logs_[index].get();
    const bool halted = log != nullptr && log->halted();
    status["serving"] = plan.admitted.size() >= group.quorum && !halted;
    status["halted"] = halted;
    if (log != nullptr) {
        status["log"] = {{"first_order", log->first_order()}, {"next_order", log->next_order()}};
    }
    status["latency_us"] = {{"samples", samples},        {"p50", percentile(0.50)},
                            {"p90", percentile(0.90)},   {"p99", percentile(0.99)},
                            {"p999", percentile(0.999)}, {"max", to_us(max_ns)}};
    status["replicas"] = replicas;
    const bool is_dns = std::any_of(
        config_.services.begin(), config_.services.end(),
        [&](const auto& service) { return service.group == group.name && service.is_dns; });
    Json& kinds = status["nondeterministic_kinds"] = Json::array();
    for (const std::uint32_t kind : marked_kinds_[index]) kinds.push_back(kind_text(kind, is_dns));
    return status;
}

// How it is connected to a Xen domain, and what that domain does wrong.
static Json netback_json(unsigned lane) {
    const NetbackStatus status = netback_status(lane);
    Json json = {{"domain_name", status.domain_name},
                 {"domain", nullptr},
                 {"queues", status.device.queues},
                 {"frames_in", status.frames_in},
                 {"frames_out", status.frames_out},
                 {"no_room", status.no_room},
                 {"refused_grants", status.refused_grants},
                 {"failed_copies", status.failed_copies},
                 {"no_memory", status.no_memory},
                 {"unwanted", status.unwanted},
                 {"checksums_filled", status.checksums_filled},
                 {"to_be_cut", status.to_be_cut},
                 {"idle_wakes", status.idle_wakes},
                 {"ring_requests", status.device.rings.requests},
                 {"ring_responses", status.device.rings.responses},
                 {"violation", nullptr},
                 {"trouble", status.device.trouble}};
    if (status.device.domain) json["domain"] = status.device.domain->value;
    if (status.violation != xen::netback::Violation::none) {
        json["violation"] = xen::netback::text_of(status.violation).name;
    }
    return json;
}

const PortTable::Entry* Appliance::port_of(std::uint8_t group, std::uint8_t slot) const {
    for (const PortTable::Entry& entry : ports_.entries) {
        if (entry.open && entry.role == PlanPort::Role::replica && entry.group == group &&
            entry.slot.value == slot) {
            return &entry;
        }
    }
    return nullptr;
}

Json Appliance::replica_status(std::uint8_t group, std::uint8_t slot) const {
    const config::Replica& replica = config_.groups[group].replicas[slot];
    const recovery::GroupRoster* roster = roster_.group(config_.groups[group].name);
    const recovery::Seat seat =
        roster != nullptr && slot < roster->seats.size() ? roster->seats[slot] : recovery::Seat{};
    const bool connected = plans_.back()->groups[group].seats[slot].port != UINT8_MAX;
    std::uint64_t asked = 0;
    std::uint64_t skipped = 0;
    std::uint64_t replies = 0;
    std::uint64_t dissent = 0;
    std::uint64_t silence = 0;
    for (const WorkerCounters& worker : counters_->workers()) {
        const ReplicaCounters& counters = worker.groups[group].replicas[slot];
        asked += counters.asked.get();
        skipped += counters.skipped.get();
        replies += counters.replies.get();
        dissent += counters.dissent.get();
        silence += counters.silence.get();
    }
    Json status = {{"slot", slot},
                   {"name", replica.name},
                   {"incarnation", seat.incarnation.value},
                   {"standing", recovery::text(seat.standing)},
                   {"reason", seat.reason},
                   {"place", recovery::text(seat.place)},
                   {"port", seat.port},
                   {"connected", connected},
                   {"suspect", suspects_[group][slot]},
                   {"asked", asked},
                   {"skipped", skipped},
                   {"replies", replies},
                   {"dissent", dissent},
                   {"silence", silence}};
    if (const PortTable::Entry* port = port_of(group, slot); port && port->port.data.is_netback()) {
        status["netback"] = netback_json(port->port.data.lane());
    }
    if (const RequestLog* log = logs_[group].get()) {
        const LogMarks& marks = log->marks(voter::ReplicaId{slot});
        const bool same = marks.incarnation == seat.incarnation.value;
        status["given"] = same ? marks.delivered.load() : 0;  // orders of the log
        status["in_doubt"] = same && marks.doubt != 0;
        status["lost"] = same && marks.lost != 0;
    }
    return status;
}

}  // namespace proxy
