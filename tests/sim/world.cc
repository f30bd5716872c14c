#include "tests/sim/world.hh"

#include <map>
#include <queue>
#include <random>

#include "tests/appliance/appliance.hh"
#include "tests/sim/checker.hh"
#include "tests/sim/domain_replicas.hh"
#include "tests/sim/service.hh"

namespace sim {

namespace {

using namespace appliance_test;

constexpr std::uint64_t deadline_us = 20'000;
constexpr std::uint64_t faults_us = 300'000;
constexpr std::uint64_t answer_within_us = 6'000;  // once all is well
constexpr unsigned clients_count = 8;
constexpr unsigned requests_count = 150;
constexpr unsigned healed_requests_count = 30;

struct Client {
    Endpoint end;
    int vlan = -1;
    std::uint32_t next_id = 1;
};

// What sits in a place.
struct Process {
    unsigned slot = 0;
    unsigned place = 0;
    std::uint32_t incarnation = 0;  // 0: nobody
    std::vector<Octets> said;
};

struct Happening {
    enum class Kind { ask, into_client_port, into_place, hear, renew, suspend, ring_fault, kill };
    std::uint64_t at = 0;
    std::uint64_t order = 0;
    Kind kind{};
    unsigned client = 0;
    unsigned slot = 0;
    unsigned place = 0;
    std::uint32_t incarnation = 0;
    Octets octets{};
    bool operator>(const Happening& other) const {
        return at != other.at ? at > other.at : order > other.order;
    }
};

class World {
  public:
    World(std::uint64_t seed, Replicas replicas, Canary canary)
        : random_(seed),
          canary_(canary),
          shape_(make_shape(seed)),
          service_(shape_.is_dns),
          checker_(rules()) {
        lossy_ = chance(50);
        framing_ = chance(30);
        plans_change_ = chance(60);
        dialects_ = chance(50);
        const unsigned faulty = below(faults() + 1);
        while (faulty_.size() < faulty) faulty_.insert(id(below(shape_.replicas)));
        for (unsigned i = 0; i < clients_count; ++i) clients_.push_back(make_client(i));
        if (replicas == Replicas::domains) make_domains();
    }

    Result run() {
        {
            Appliance appliance(shape_);
            appliance_ = &appliance;
            if (domains_) domains_->serve(appliance);
            for (unsigned slot = 0; slot < shape_.replicas; ++slot) seat(slot, 0);
            faults_phase();
            healing_phase();
            if (domains_) domains_->check_balance();
            if (!appliance.finish()) checker_.complain("something is held after the end");
            judge_events();
        }
        domains_.reset();
        if (pool().in_use() != 0) checker_.complain("packets were leaked");
        result_.complaints = checker_.complaints();
        return result_;
    }

  private:
    static voter::ReplicaId id(unsigned slot) {
        return voter::ReplicaId{static_cast<std::uint8_t>(slot)};
    }
    unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }
    bool chance(unsigned percent) { return below(100) < percent; }
    unsigned faults() const { return (shape_.replicas - 1) / 2; }
    Checker::Rules rules() const { return {faults() + 1, shape_.is_dns, shape_.quorum_lost}; }

    Shape make_shape(std::uint64_t seed) {
        Shape shape;
        shape.seed = seed;
        shape.replicas = 3 + 2 * below(3);
        const unsigned quorum = canary_ == Canary::quorum_of_one ? 1 : (shape.replicas + 1) / 2;
        shape.rules = {static_cast<std::uint8_t>(quorum),
                       chance(25) ? voter::Release::all : voter::Release::quorum};
        shape.vote = canary_ != Canary::no_vote;
        shape.deadline_us = deadline_us;
        if (chance(30)) shape.inflight_max = 24;
        shape.stranger_inflight_max = shape.inflight_max * 3 / 4;
        shape.quorum_lost = chance(50) ? config::QuorumLost::error : config::QuorumLost::silence;
        shape.accusation.window = voter::Ticks{10 * ticks_per_second};
        shape.accusation.faults = (shape.replicas - 1) / 2;
        if (chance(50)) {
            shape.is_dns = true;
            shape.service_port = 53;
            shape.matcher = voter::Matcher(voter::MatcherKind::dns);
            shape.comparator = voter::Comparator(voter::ComparatorKind::dns);
        }
        return shape;
    }

    Client make_client(unsigned index) {
        Client client;
        client.end.mac = mac("02:cc:00:00:00:01");
        client.end.mac.octets[5] = static_cast<std::uint8_t>(index);
        client.end.ip =
            chance(50) ? wire::IpAddress::v4(0xc6336400u + index) : address("2001:db8:1::1");
        client.end.ip.octets[15] = static_cast<std::uint8_t>(index + 1);
        if (!client.end.ip.is_v4()) client.end.ip.octets[7] = static_cast<std::uint8_t>(index);
        client.end.port = static_cast<std::uint16_t>(1024 + below(60'000));
        if (chance(30)) client.vlan = static_cast<int>(1 + below(4000));
        return client;
    }

    // ---- what is asked, and what honest replicas say ----

    Octets question(std::uint32_t number, bool framing) {
        const unsigned name = below(9);
        return service_.question(number, framing, name, shape_.is_dns ? 0 : below(300));
    }
    Octets answer(const Octets& asked, std::uint64_t salt, unsigned dialect) const {
        return service_.answer(asked, salt, dialect);
    }
    Octets honest(const Octets& asked, const Process& process) {
        // Kinds that are not deterministic: whoever rolls the dice differs.
        const std::uint64_t salt = service_.is_framing(asked) ? below(2) * 77 : 0;
        return answer(asked, salt, dialects_ ? process.slot : 0);
    }

    // ---- links ----

    void later(std::uint64_t us, Happening what) {
        what.at = appliance_->now() + us;
        what.order = ++order_;
        happenings_.push(std::move(what));
    }
    std::uint64_t delay() {
        if (healed_) return 50 + below(300);
        return lossy_ && chance(10) ? below(25'000) : 50 + below(2'000);
    }
    bool lost() { return !healed_ && lossy_ && chance(8); }

    void ask(unsigned index, const Octets& payload) {
        Happening copy{.kind = Happening::Kind::into_client_port, .client = index};
        const Client& client = clients_[index];
        copy.octets = appliance_->request(client.end, payload);
        if (client.vlan >= 0) {
            copy.octets = tagged(copy.octets, static_cast<std::uint16_t>(client.vlan));
        }
        later(delay(), std::move(copy));
    }
    void say(Process& process, Octets frame, std::uint64_t us) {
        if (lost()) return;
        Happening what{.kind = Happening::Kind::into_place,
                       .slot = process.slot,
                       .place = process.place,
                       .incarnation = process.incarnation,
                       .octets = std::move(frame)};
        later(us, std::move(what));
    }

    // ---- replicas ----

    Process& process_at(unsigned slot, unsigned place) { return processes_[slot * places + place]; }
    void seat(unsigned slot, unsigned place) {
        Process& process = process_at(slot, place);
        process = {slot, place, appliance_->incarnation(slot).value, {}};
        if (domains_) domains_->build(slot, place);
        checker_.roster(slot, process.incarnation);
    }

    Endpoint client_of(const Octets& frame) const {
        wire::Frame parsed;
        if (wire::parse_frame(frame, parsed) != wire::DropReason::none) return {};
        return {parsed.source, parsed.ip_source, parsed.source_port};
    }

    void hears(Process& process, const Octets& frame) {
        const auto heard = read_datagram(frame);
        if (!heard || heard->icmp >= 0) return;
        const Endpoint client = client_of(frame);
        if (!healed_ && faulty_.contains(id(process.slot))) {
            return misbehaves(process, client, heard->payload, frame);
        }
        Octets payload = honest(heard->payload, process);
        say(process, appliance_->reply(client, payload), delay());
    }

    void misbehaves(Process& process, const Endpoint& client, const Octets& asked,
                    const Octets& frame) {
        constexpr std::uint64_t together = 666;
        const Octets lie = answer(asked, together, 0);
        Octets reply = appliance_->reply(client, lie);
        switch (below(14)) {
            case 0:  // silent
                return;
            case 1:  // late
                return say(process, reply, deadline_us + below(10'000));
            case 2:  // right, then a lie
                say(process, appliance_->reply(client, honest(asked, process)), 10);
                return say(process, reply, 20);
            case 3: {  // a lie of its own
                return say(process, appliance_->reply(client, answer(asked, 7 + process.slot, 0)),
                           delay());
            }
            case 4: {  // before it is asked: the client's next number
                Octets next = asked;
                const std::size_t at = shape_.is_dns ? 1 : 3;
                next[at] = static_cast<std::byte>(std::to_integer<unsigned>(next[at]) + 1);
                say(process, appliance_->reply(client, answer(next, together, 0)), 10);
                break;
            }
            case 5: {  // to another's flow
                const Client& other = clients_[below(clients_count)];
                say(process, appliance_->reply(other.end, lie), 10);
                break;
            }
            case 6: {  // from a forged source
                Endpoint from = appliance_->replica(client);
                from.ip.octets[15] ^= 1;
                return say(process, udp_frame(from, appliance_->replica_side(client), lie), 10);
            }
            case 7:  // damaged
                reply[reply.size() - 1 - below(8)] ^= std::byte{0x21};
                return say(process, reply, 10);
            case 8: {  // an ICMP error
                const bool v4 = client.ip.is_v4();
                return say(process,
                           icmp_error(appliance_->replica(client), appliance_->replica_side(client),
                                      v4 ? 3 : 1, v4 ? 3 : 4, packet_of(frame)),
                           10);
            }
            case 9: {  // right in what is voted, with poison beside it
                if (!shape_.is_dns) break;
                Octets poisoned = answer(asked, 0, 2);
                for (std::size_t i = poisoned.size() - 3; i < poisoned.size(); ++i) {
                    poisoned[i] ^= std::byte{0x55};
                }
                return say(process, appliance_->reply(client, poisoned), delay());
            }
            case 10:  // something it said before
                if (process.said.empty()) break;
                return say(process, process.said[below(static_cast<unsigned>(process.said.size()))],
                           10);
            case 11:  // padding and a tail nobody sees
                reply = appliance_->reply(client, honest(asked, process));
                reply.resize(reply.size() + below(40), std::byte{0x66});
                return say(process, reply, 10);
            default:
                break;
        }
        process.said.push_back(reply);
        say(process, reply, below(500));
    }

    void change_plan(Happening::Kind kind, unsigned slot) {
        const auto place = appliance_->place_of(slot);
        if (kind == Happening::Kind::suspend && place) {
            appliance_->suspend(slot);
            checker_.roster(slot, 0);
        } else {
            // The predecessor stays where it is and goes on talking.
            appliance_->admit(slot, place ? 1 - *place : below(places));
            seat(slot, *appliance_->place_of(slot));
        }
        if (canary_ != Canary::roster_ignored) appliance_->offer();
    }

    // ---- replicas behind netback ----

    void make_domains() {
        const auto adoption = canary_ == Canary::shadow_ignored ? Dom0::Adoption::from_rings
                                                                : Dom0::Adoption::from_shadow;
        domains_ = std::make_unique<DomainReplicas>(
            shape_.replicas, adoption,
            DomainReplicas::Around{
                random_, checker_, result_, [this] { clients_hear(appliance_->to_client()); },
                [this] { judge_events(); },
                [this](unsigned slot, unsigned place) { violates(slot, place); }});
        shape_.netback = domains_->lanes();
    }
    bool says(const Happening& what) {
        if (domains_) return domains_->send(what.slot, what.place, what.octets);
        return appliance_->from_replica(what.slot, what.octets, what.place);
    }
    std::vector<Octets> heard_at(unsigned slot, unsigned place) {
        return domains_ ? domains_->receive(slot, place) : appliance_->to_replica(slot, place);
    }

    void plan_ring_faults() {
        for (unsigned i = 4 + below(12); i > 0; --i) {
            later(below(faults_us),
                  {.kind = Happening::Kind::ring_fault, .slot = below(shape_.replicas)});
        }
        if (!chance(60)) return;
        for (unsigned i = below(5); i > 0; --i)
            later(below(faults_us), {.kind = Happening::Kind::kill});
    }
    void appliance_turn(std::uint64_t us) {
        if (domains_) return domains_->turn(us);
        if (!appliance_->step(us)) checker_.complain("the counters do not balance");
    }
    void violates(unsigned slot, unsigned place) {
        if (healed_ || appliance_->place_of(slot) != place) return;
        result_.violations += 1;
        change_plan(Happening::Kind::suspend, slot);
        later(below(50'000), {.kind = Happening::Kind::renew, .slot = slot});
    }

    // ---- time ----

    void happens(Happening& what) {
        using Kind = Happening::Kind;
        const bool of_appliance =
            what.kind == Kind::renew || what.kind == Kind::suspend || what.kind == Kind::kill;
        if (of_appliance && healed_) return;
        if (of_appliance && domains_ && domains_->is_down()) return later(1'000, std::move(what));
        switch (what.kind) {
            case Kind::ask:
                return ask(what.client, what.octets);
            case Kind::into_client_port: {
                if (lost()) return;
                const Client& client = clients_[what.client];
                const auto request = read_datagram(what.octets);
                if (appliance_->from_client(what.octets)) {
                    checker_.request(client.end, client.vlan, request->payload);
                }
                return;
            }
            case Kind::into_place:
                if (says(what)) {
                    checker_.reply(what.slot, what.incarnation, what.octets);
                }
                return;
            case Kind::hear: {
                Process& process = process_at(what.slot, what.place);
                if (process.incarnation == what.incarnation) hears(process, what.octets);
                return;
            }
            case Kind::renew:
            case Kind::suspend:
                return change_plan(what.kind, what.slot);
            case Kind::ring_fault:
                if (!healed_) domains_->ring_fault(what.slot, faulty_.contains(id(what.slot)));
                return;
            case Kind::kill:
                return domains_->kill();
        }
    }

    void turn() {
        const std::uint64_t step = 10 + below(40);
        while (!happenings_.empty() && happenings_.top().at <= appliance_->now() + step) {
            Happening what = happenings_.top();
            happenings_.pop();
            happens(what);
        }
        appliance_turn(step);
        for (unsigned slot = 0; slot < shape_.replicas; ++slot) {
            for (unsigned place = 0; place < places; ++place) {
                for (Octets& frame : heard_at(slot, place)) {
                    trace(frame);
                    if (lost()) continue;
                    later(delay(), {.kind = Happening::Kind::hear,
                                    .slot = slot,
                                    .place = place,
                                    .incarnation = process_at(slot, place).incarnation,
                                    .octets = std::move(frame)});
                }
            }
        }
        clients_hear(appliance_->to_client());
        judge_events();
    }
    void clients_hear(const std::vector<Octets>& frames) {
        for (const Octets& frame : frames) {
            trace(frame);
            result_.replies += 1;
            const auto left = checker_.left(frame);
            if (!left || left->error) continue;
            const auto due = due_.find({left->flow, left->id});
            if (due == due_.end()) continue;
            if (service_.is_right(due->second, left->payload)) due_.erase(due);
        }
    }
    void run_until(std::uint64_t time) {
        while (appliance_->now() < time) turn();
    }
    void trace(const Octets& frame) {
        result_.trace = hash(frame, result_.trace * 31 + appliance_->now());
    }
    // Only the faulty may be accused.
    void judge_events() {
        for (const proxy::Event& event : appliance_->events()) {
            if (event.kind != proxy::Event::Kind::suspect) continue;
            result_.suspects += 1;
            if (!faulty_.contains(event.slot)) {
                checker_.complain("an honest replica is suspected: slot " +
                                  std::to_string(event.slot.value));
            }
        }
    }

    void faults_phase() {
        for (unsigned i = 0; i < requests_count; ++i) {
            const unsigned index = below(clients_count);
            Client& client = clients_[index];
            const bool framing = framing_ && index < 2;
            Happening asks{.kind = Happening::Kind::ask, .client = index};
            asks.octets = question(client.next_id++, framing);
            const std::uint64_t at = below(faults_us);
            // Repetitions, of which some come after the reply.
            for (std::uint64_t again = at; again < faults_us; again += 200 + below(30'000)) {
                later(again, asks);
                if (!chance(30)) break;
            }
            result_.requests += 1;
        }
        for (unsigned i = 0; plans_change_ && i < 12; ++i) {
            const unsigned slot = below(shape_.replicas);
            // Of the honest, one at a time is away, and not for good.
            const bool may_go = faulty_.contains(id(slot));
            const auto kind =
                may_go && chance(50) ? Happening::Kind::suspend : Happening::Kind::renew;
            later(below(faults_us), {.kind = kind, .slot = slot});
        }
        if (domains_) plan_ring_faults();
        run_until(appliance_->now() + faults_us + 2 * deadline_us);
    }

    // Everybody is admitted, honest and reached: every new request is answered rightly, soon.
    void healing_phase() {
        if (domains_) {
            domains_->heal();
            while (domains_->is_down()) turn();
        }
        for (unsigned slot = 0; slot < shape_.replicas; ++slot) {
            // Whatever became of a frontend: a fresh domain has another.
            const bool anew = domains_ && faulty_.contains(id(slot));
            if (anew || !appliance_->place_of(slot)) change_plan(Happening::Kind::renew, slot);
        }
        healed_ = true;
        // A successor knows no client before its second reply, and strangers have a share only.
        for (unsigned i = 0; domains_ && i < 2 * clients_count; ++i) {
            ask(i / 2, question(clients_[i / 2].next_id++, false));
        }
        run_until(appliance_->now() + 2 * deadline_us);
        for (unsigned i = 0; i < healed_requests_count; ++i) {
            const unsigned index = below(clients_count);
            Client& client = clients_[index];
            const std::uint32_t number = client.next_id++;
            const Octets payload = question(number, false);
            due_[{flow_of(client.end), number}] = payload;
            ask(index, payload);
            turn();
        }
        run_until(appliance_->now() + answer_within_us);
        if (!due_.empty()) {
            checker_.complain(std::to_string(due_.size()) + " requests without an answer");
        }
    }

    struct SlotIds {
        voter::SlotSet set;
        bool contains(voter::ReplicaId slot) const { return set.contains(slot); }
        void insert(voter::ReplicaId slot) { set.insert(slot); }
        unsigned size() const { return set.size(); }
    };

    std::mt19937_64 random_;
    Canary canary_;
    Shape shape_;
    SimulatedService service_;
    Checker checker_;
    Appliance* appliance_ = nullptr;
    bool lossy_ = false;
    bool framing_ = false;
    bool plans_change_ = false;
    bool dialects_ = false;
    bool healed_ = false;
    SlotIds faulty_;
    std::vector<Client> clients_;
    std::array<Process, voter::replicas_max * places> processes_;
    std::unique_ptr<DomainReplicas> domains_;  // where replicas are domains
    std::priority_queue<Happening, std::vector<Happening>, std::greater<>> happenings_;
    std::uint64_t order_ = 0;
    std::map<std::pair<std::string, std::uint32_t>, Octets> due_;
    Result result_;
};

}  // namespace

Result run_world(std::uint64_t seed, Replicas replicas, Canary canary) {
    return World(seed, replicas, canary).run();
}

}  // namespace sim
