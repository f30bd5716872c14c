#include "tools/quorate/replica_actions.hh"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <functional>

#include "tools/quorate/control_client.hh"

namespace quorate {

namespace {

using recovery::Place;
using recovery::Roster;
using recovery::Seat;
using recovery::Standing;

constexpr std::chrono::milliseconds proxy_deadline{10'000};  // it may wait for a port to open

std::optional<std::size_t> slot_in(const config::Group& group, const std::string& text) {
    std::size_t slot = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), slot);
    if (error == std::errc() && end == text.data() + text.size()) {
        if (slot < group.replicas.size()) return slot;
    }
    for (std::size_t i = 0; i < group.replicas.size(); ++i) {
        if (group.replicas[i].name == text) return i;
    }
    return std::nullopt;
}

Target target_at(std::size_t group, std::size_t slot) {
    return {group, voter::ReplicaId{static_cast<std::uint8_t>(slot)}};
}

Seat seat_in(const Roster& roster, const std::string& group, voter::ReplicaId slot) {
    const recovery::GroupRoster* found = roster.group(group);
    return found != nullptr && slot.value < found->seats.size() ? found->seats[slot.value] : Seat{};
}

// update_roster(), for one seat. Whoever comes first makes the state directory.
tl::expected<Roster, std::string> change_seat(
    const config::Config& config, const Target& target,
    const std::function<std::string(Roster&, Seat&)>& change) {
    std::error_code error;
    std::filesystem::create_directories(config.state_dir, error);
    if (error) {
        return tl::unexpected("cannot make " + config.state_dir.string() + ": " + error.message() +
                              "; choose another appliance.state_dir");
    }
    const config::Group& group = group_of(config, target);
    return recovery::update_roster(config.roster_file(), [&](Roster& roster) {
        auto& seats = roster.group_of(group.name, group.replicas.size()).seats;
        return change(roster, seats[target.slot.value]);
    });
}

std::string boot_text(const Seat& seat) {
    return "incarnation " + std::to_string(seat.incarnation.value);
}

// Asks the proxy. nullopt: none runs here, which is no error; else its answer.
std::optional<tl::expected<void, ControlError>> ask_proxy(const config::Config& config,
                                                          const Target& target,
                                                          const char* command) {
    auto client = ControlClient::connect(config.control_socket(), proxy_deadline);
    if (!client) return std::nullopt;
    const auto reply = client->ask({{"command", command},
                                    {"group", group_of(config, target).name},
                                    {"slot", target.slot.value}});
    if (!reply) return tl::unexpected(reply.error());
    return tl::expected<void, ControlError>();
}

// Has the proxy take what the roster now says about a slot; text for people, empty when it did.
std::string tell_proxy(const config::Config& config, const Target& target) {
    const auto answer = ask_proxy(config, target, "attach");
    if (!answer) return "no proxy runs; it reads the roster when it starts";
    if (!*answer) return "the proxy has not taken it: " + answer->error().what;
    return {};
}

}  // namespace

const config::Group& group_of(const config::Config& config, const Target& target) {
    return config.groups[target.group];
}

std::string text_of(const config::Config& config, const Target& target) {
    const config::Group& group = group_of(config, target);
    return group.name + "/" + group.replicas[target.slot.value].name;
}

std::vector<Target> all_targets(const config::Config& config) {
    std::vector<Target> all;
    for (std::size_t g = 0; g < config.groups.size(); ++g) {
        for (std::size_t s = 0; s < config.groups[g].replicas.size(); ++s) {
            all.push_back(target_at(g, s));
        }
    }
    return all;
}

tl::expected<Target, std::string> find_target(const config::Config& config,
                                              const std::string& text) {
    const std::size_t slash = text.find('/');
    const std::string wanted_group = slash == std::string::npos ? "" : text.substr(0, slash);
    const std::string wanted = slash == std::string::npos ? text : text.substr(slash + 1);
    std::vector<Target> found;
    for (std::size_t g = 0; g < config.groups.size(); ++g) {
        if (slash != std::string::npos && config.groups[g].name != wanted_group) continue;
        if (const auto slot = slot_in(config.groups[g], wanted))
            found.push_back(target_at(g, *slot));
    }
    if (found.size() == 1) return found.front();
    std::string there;
    for (const Target& target : found.empty() ? all_targets(config) : found) {
        there += (there.empty() ? "" : ", ") + text_of(config, target);
    }
    return tl::unexpected(found.empty() ? "there is no replica " + text + "; there are " + there
                                        : text + " is in several groups; write one of " + there);
}

Standing first_standing(const config::Config& config, const config::Group& group) {
    if (group.state == config::State::none) return Standing::admitted;
    std::error_code error;
    const bool none = !std::filesystem::exists(config.request_log(group), error) && !error;
    return none ? Standing::admitted : Standing::lagging;
}

tl::expected<std::vector<recovery::ReplicaFacts>, std::string> ReplicaActions::boots_of(
    const Target& target) {
    auto all = hosts_.inspect(group_of(config_, target).name, target.slot);
    if (!all) return tl::unexpected(all.error().what);
    return std::move(*all);
}

// Gives the slot a new incarnation, which nobody feeds yet.
tl::expected<Seat, std::string> ReplicaActions::take_seat(const Target& target,
                                                          std::optional<Place> wanted) {
    const config::Group& group = group_of(config_, target);
    const auto boots = boots_of(target);
    if (!boots) return tl::unexpected(boots.error());
    const config::Replica& replica = group.replicas[target.slot.value];
    Seat taken;
    const auto done = change_seat(config_, target, [&](Roster& roster, Seat& seat) -> std::string {
        const bool lives = std::any_of(boots->begin(), boots->end(), [&](const auto& facts) {
            return facts.running && facts.name.incarnation == seat.incarnation;
        });
        if (lives || (!hosts_.runs(replica) && seat.standing != Standing::absent)) {
            return boot_text(seat) + " is there already (" + text(seat.standing) +
                   "); restart or stop it";
        }
        taken.place = wanted.value_or(seat.standing == Standing::absent ? Place::a
                                      : seat.place == Place::a          ? Place::b
                                                                        : Place::a);
        if (!hosts_.runs(replica) && taken.place == Place::b && !replica.place_b) {
            taken.place = Place::a;  // an external replica with one place
        }
        taken.incarnation = recovery::allocate_incarnation(roster);
        if (taken.incarnation.value == 0) return "all incarnations are used up";
        taken.standing = Standing::starting;
        taken.port = config::seat_port(config_, target.group, target.slot, taken.place == Place::b,
                                       taken.incarnation)
                         ->text();
        taken.reason = "started by the operator";
        seat = taken;
        return {};
    });
    if (!done) return tl::unexpected(done.error());
    return taken;
}

// Only if the slot is still as it was: somebody else may have acted meanwhile.
tl::expected<Seat, std::string> ReplicaActions::set_seat(const Target& target, const Seat& before,
                                                         Seat after) {
    const auto done = change_seat(config_, target, [&](Roster&, Seat& seat) -> std::string {
        if (seat.incarnation != before.incarnation || seat.standing != before.standing) {
            return "somebody else has changed its seat meanwhile: now " + boot_text(seat) + ", " +
                   text(seat.standing);
        }
        seat = after;
        return {};
    });
    if (!done) return tl::unexpected(done.error());
    return after;
}

Outcome ReplicaActions::start(const Target& target) { return start_in(target, std::nullopt); }

Outcome ReplicaActions::start_in(const Target& target, std::optional<Place> wanted) {
    Outcome outcome{.target = target};
    const config::Group& group = group_of(config_, target);
    const auto taken = take_seat(target, wanted);
    if (!taken) {
        outcome.what = "not started: " + taken.error();
        return outcome;
    }
    outcome.seat = *taken;
    const config::Replica& replica = group.replicas[target.slot.value];
    // A domain's network device needs its backend while it boots.
    if (replica.xen) outcome.note = tell_proxy(config_, target);
    if (hosts_.runs(replica)) {
        const auto facts =
            hosts_.start({group.name, target.slot, taken->incarnation, taken->place});
        if (!facts) {
            outcome.what = "not started: " + facts.error().what;
            Seat empty = *taken;
            empty.standing = Standing::absent;
            empty.port.clear();
            empty.reason = "did not start";
            if (auto set = set_seat(target, *taken, empty)) outcome.seat = *set;
            if (replica.xen) outcome.note = tell_proxy(config_, target);
            return outcome;
        }
    }
    Seat seat = *taken;
    seat.standing = first_standing(config_, group);
    const auto set = set_seat(target, *taken, seat);
    if (!set) {
        outcome.what = "started, but not seated: " + set.error();
        return outcome;
    }
    outcome.seat = *set;
    outcome.ok = true;
    outcome.what =
        "started as " + boot_text(seat) + " on " + seat.port + ", " + text(seat.standing);
    outcome.note = tell_proxy(config_, target);
    return outcome;
}

Outcome ReplicaActions::stop(const Target& target) {
    Outcome outcome{.target = target};
    const config::Group& group = group_of(config_, target);
    // Its votes end first, then its packets, then it.
    const auto roster = change_seat(config_, target, [&](Roster&, Seat& seat) -> std::string {
        seat.standing = Standing::absent;
        seat.port.clear();
        seat.reason = "stopped by the operator";
        return {};
    });
    if (!roster) {
        outcome.what = "not stopped: " + roster.error();
        return outcome;
    }
    outcome.seat = seat_in(*roster, group.name, target.slot);
    outcome.note = tell_proxy(config_, target);
    const auto boots = boots_of(target);
    if (!boots) {
        outcome.what = "not stopped: " + boots.error();
        return outcome;
    }
    for (const recovery::ReplicaFacts& facts : *boots) {
        if (auto done = hosts_.stop(facts.name); !done) {
            outcome.what = "not stopped: " + done.error().what;
            return outcome;
        }
    }
    outcome.ok = true;
    outcome.what = !hosts_.runs(group.replicas[target.slot.value])
                       ? "absent; it is run by somebody else"
                   : boots->empty() ? "did not run"
                                    : "stopped";
    return outcome;
}

Outcome ReplicaActions::restart(const Target& target) {
    const auto roster = recovery::read_roster(config_.roster_file());
    if (!roster) return {.target = target, .what = roster.error()};
    const Seat before = seat_in(*roster, group_of(config_, target).name, target.slot);
    Outcome stopped = stop(target);
    if (!stopped.ok) return stopped;
    std::optional<Place> other;
    if (before.standing != Standing::absent) {
        other = before.place == Place::a ? Place::b : Place::a;
    }
    return start_in(target, other);
}

// Without a proxy: what it would have written.
std::string ReplicaActions::change_alone(const Target& target, const char* command, Seat& seat) {
    const config::Group& group = group_of(config_, target);
    const bool admit = std::string(command) == "admit";
    const auto done = change_seat(config_, target, [&](Roster&, Seat& now) -> std::string {
        seat = now;
        if (now.standing == Standing::absent || now.standing == Standing::starting) {
            return std::string("it is ") + text(now.standing) + "; start it first";
        }
        // What it missed can only be replayed by a proxy: until then it does not vote.
        now.standing = !admit                               ? Standing::suspended
                       : group.state == config::State::none ? Standing::admitted
                                                            : Standing::lagging;
        now.reason = std::string(admit ? "admitted" : "suspended") + " by the operator";
        seat = now;
        return {};
    });
    return done ? std::string() : done.error();
}

Outcome ReplicaActions::change_standing(const Target& target, const char* command) {
    Outcome outcome{.target = target};
    if (const auto answer = ask_proxy(config_, target, command)) {
        outcome.ok = answer->has_value();
        outcome.what = outcome.ok ? "done by the proxy" : answer->error().what;
        outcome.unreachable = !outcome.ok && !answer->error().refused;
    } else {
        const std::string error = change_alone(target, command, outcome.seat);
        outcome.ok = error.empty();
        outcome.what = outcome.ok ? "written to the roster" : error;
        outcome.note = "no proxy runs; it reads the roster when it starts";
    }
    if (const auto roster = recovery::read_roster(config_.roster_file())) {
        outcome.seat = seat_in(*roster, group_of(config_, target).name, target.slot);
    }
    if (outcome.ok) outcome.what = std::string(text(outcome.seat.standing)) + ", " + outcome.what;
    return outcome;
}

tl::expected<recovery::ReplicaName, std::string> ReplicaActions::latest_boot(const Target& target) {
    const auto boots = boots_of(target);
    if (!boots) return tl::unexpected(boots.error());
    if (boots->empty()) return tl::unexpected(std::string("it is not there"));
    return std::max_element(boots->begin(), boots->end(),
                            [](const auto& one, const auto& other) {
                                return one.name.incarnation.value < other.name.incarnation.value;
                            })
        ->name;
}

Outcome ReplicaActions::pause(const Target& target) { return change_running(target, false); }

Outcome ReplicaActions::resume(const Target& target) { return change_running(target, true); }

Outcome ReplicaActions::change_running(const Target& target, bool running) {
    Outcome outcome{.target = target};
    const std::string failed = running ? "not resumed: " : "not paused: ";
    if (const auto roster = recovery::read_roster(config_.roster_file())) {
        outcome.seat = seat_in(*roster, group_of(config_, target).name, target.slot);
    }
    const auto name = latest_boot(target);
    if (!name) {
        outcome.what = failed + name.error();
        return outcome;
    }
    const auto done = running ? hosts_.resume(*name) : hosts_.pause(*name);
    outcome.ok = done.has_value();
    outcome.what = outcome.ok ? "incarnation " + std::to_string(name->incarnation.value) +
                                    (running ? " goes on" : " is paused")
                              : failed + done.error().what;
    if (outcome.ok && !running && outcome.seat.standing == recovery::Standing::admitted) {
        outcome.note = "it counts as silent until it is suspended or resumed";
    }
    return outcome;
}

Outcome ReplicaActions::dump(const Target& target, const std::filesystem::path& file) {
    Outcome outcome{.target = target};
    const auto name = latest_boot(target);
    if (!name) {
        outcome.what = "not dumped: " + name.error();
        return outcome;
    }
    const auto done = hosts_.dump(*name, file);
    outcome.ok = done.has_value();
    outcome.what = outcome.ok ? "memory of incarnation " + std::to_string(name->incarnation.value) +
                                    " in " + file.string()
                              : "not dumped: " + done.error().what;
    return outcome;
}

Outcome ReplicaActions::suspend(const Target& target) { return change_standing(target, "suspend"); }

Outcome ReplicaActions::admit(const Target& target) { return change_standing(target, "admit"); }

tl::expected<std::vector<ReplicaActions::Row>, std::string> ReplicaActions::list(
    const std::vector<Target>& targets) {
    const auto roster = recovery::read_roster(config_.roster_file());
    if (!roster) return tl::unexpected(roster.error());
    std::vector<Row> rows;
    for (const Target& target : targets) {
        const config::Group& group = group_of(config_, target);
        Row row{target, seat_in(*roster, group.name, target.slot), false, {}, {}};
        row.external = !hosts_.runs(group.replicas[target.slot.value]);
        auto boots = boots_of(target);
        if (!boots) return tl::unexpected(boots.error());
        for (recovery::ReplicaFacts& facts : *boots) {
            if (facts.name.incarnation == row.seat.incarnation && !row.facts) {
                row.facts = std::move(facts);
            } else {
                row.others.push_back(std::move(facts));
            }
        }
        rows.push_back(std::move(row));
    }
    return rows;
}

}  // namespace quorate
