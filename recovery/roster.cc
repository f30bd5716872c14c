#include "recovery/roster.hh"

#include <array>
#include <chrono>
#include <limits>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "recovery/durable_file.hh"

namespace recovery {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t format_version = 1;
constexpr std::size_t file_bytes_max = 1u << 20;
constexpr std::chrono::milliseconds lock_wait_max{5'000};

constexpr std::array<std::pair<Standing, const char*>, 5> standings{{
    {Standing::absent, "absent"},
    {Standing::starting, "starting"},
    {Standing::lagging, "lagging"},
    {Standing::admitted, "admitted"},
    {Standing::suspended, "suspended"},
}};

Json to_json(const Roster& roster) {
    Json groups = Json::array();
    for (const GroupRoster& group : roster.groups) {
        Json seats = Json::array();
        for (const Seat& seat : group.seats) {
            seats.push_back({{"incarnation", seat.incarnation.value},
                             {"standing", text(seat.standing)},
                             {"place", text(seat.place)},
                             {"port", seat.port},
                             {"reason", seat.reason}});
        }
        groups.push_back({{"group", group.group}, {"seats", std::move(seats)}});
    }
    return {{"version", format_version},
            {"epoch", roster.epoch},
            {"next_incarnation", roster.next_incarnation},
            {"groups", std::move(groups)}};
}

// Takes the members of one JSON object, each exactly once and none left over. The first error
// stays.
class Members {
  public:
    Members(const Json& object, std::string where, std::string& error)
        : object_(object), where_(std::move(where)), error_(error) {
        if (!object.is_object()) fail("is not an object");
    }

    std::uint64_t number(const char* key, std::uint64_t most) {
        const Json* value = take(key);
        if (value == nullptr) return 0;
        if (!value->is_number_unsigned() || value->get<std::uint64_t>() > most) {
            fail(std::string(key) + " is not a number up to " + std::to_string(most));
            return 0;
        }
        return value->get<std::uint64_t>();
    }

    std::string string(const char* key) {
        const Json* value = take(key);
        if (value == nullptr) return {};
        if (!value->is_string()) {
            fail(std::string(key) + " is not a string");
            return {};
        }
        return value->get<std::string>();
    }

    const Json& array(const char* key) {
        static const Json none = Json::array();
        const Json* value = take(key);
        if (value != nullptr && !value->is_array()) fail(std::string(key) + " is not an array");
        return value != nullptr && value->is_array() ? *value : none;
    }

    // A word of one of the tables above.
    template <class Value>
    Value word(const char* key, std::optional<Value> (*parse)(std::string_view)) {
        const std::string value = string(key);
        const std::optional<Value> parsed = parse(value);
        if (!parsed) fail(std::string(key) + " \"" + value + "\" is unknown");
        return parsed.value_or(Value{});
    }

    // To be called last.
    void no_others() {
        if (object_.is_object() && object_.size() != taken_) fail("has an unknown key");
    }

  private:
    const Json* take(const char* key) {
        const auto found = object_.is_object() ? object_.find(key) : object_.end();
        if (found == object_.end()) {
            fail(std::string(key) + " is missing");
            return nullptr;
        }
        ++taken_;
        return &*found;
    }

    void fail(const std::string& what) {
        if (error_.empty()) error_ = where_ + ": " + what;
    }

    const Json& object_;
    std::string where_;
    std::string& error_;
    std::size_t taken_ = 0;
};

Seat seat_from(const Json& json, const std::string& where, std::string& error) {
    Members members(json, where, error);
    Seat seat;
    seat.incarnation.value = static_cast<std::uint32_t>(
        members.number("incarnation", std::numeric_limits<std::uint32_t>::max()));
    seat.standing = members.word("standing", parse_standing);
    seat.place = members.word("place", parse_place);
    seat.port = members.string("port");
    seat.reason = members.string("reason");
    members.no_others();
    return seat;
}

GroupRoster group_from(const Json& json, const std::string& where, std::string& error) {
    Members members(json, where, error);
    GroupRoster group;
    group.group = members.string("group");
    const Json& seats = members.array("seats");
    for (std::size_t i = 0; i < seats.size() && error.empty(); ++i) {
        group.seats.push_back(
            seat_from(seats[i], where + ".seats[" + std::to_string(i) + "]", error));
    }
    members.no_others();
    return group;
}

tl::expected<Roster, RosterError> from_text(const std::string& text) {
    const Json json = Json::parse(text, nullptr, false);
    if (json.is_discarded()) return tl::unexpected(std::string("is not JSON"));
    std::string error;
    Members members(json, "roster", error);
    const std::uint64_t version = members.number("version", format_version);
    if (error.empty() && version != format_version) error = "roster: version is not 1";
    Roster roster;
    roster.epoch = members.number("epoch", std::numeric_limits<std::uint64_t>::max());
    roster.next_incarnation = static_cast<std::uint32_t>(
        members.number("next_incarnation", std::numeric_limits<std::uint32_t>::max()));
    const Json& groups = members.array("groups");
    for (std::size_t i = 0; i < groups.size() && error.empty(); ++i) {
        roster.groups.push_back(group_from(groups[i], "groups[" + std::to_string(i) + "]", error));
    }
    members.no_others();
    if (error.empty()) error = flaw_of(roster);
    if (!error.empty()) return tl::unexpected(error);
    return roster;
}

}  // namespace

const char* text(Standing standing) {
    for (const auto& [value, word] : standings) {
        if (value == standing) return word;
    }
    return "unknown";
}

std::optional<Standing> parse_standing(std::string_view text) {
    for (const auto& [value, word] : standings) {
        if (word == text) return value;
    }
    return std::nullopt;
}

const char* text(Place place) { return place == Place::a ? "a" : "b"; }

std::optional<Place> parse_place(std::string_view text) {
    if (text == "a") return Place::a;
    if (text == "b") return Place::b;
    return std::nullopt;
}

GroupRoster* Roster::group(const std::string& name) {
    for (GroupRoster& group : groups) {
        if (group.group == name) return &group;
    }
    return nullptr;
}

const GroupRoster* Roster::group(const std::string& name) const {
    return const_cast<Roster*>(this)->group(name);
}

GroupRoster& Roster::group_of(const std::string& name, std::size_t slots) {
    GroupRoster* found = group(name);
    if (found == nullptr) found = &groups.emplace_back(GroupRoster{name, {}});
    if (found->seats.size() < slots) found->seats.resize(slots);
    return *found;
}

voter::Incarnation allocate_incarnation(Roster& roster) {
    // The largest number is never given out: it says that no more are left.
    if (roster.next_incarnation == std::numeric_limits<std::uint32_t>::max()) return {};
    return voter::Incarnation{roster.next_incarnation++};
}

std::string flaw_of(const Roster& roster) {
    if (roster.next_incarnation == 0) return "next_incarnation is 0, which means nobody";
    std::set<std::string> names;
    std::set<voter::Incarnation> seated;
    for (const GroupRoster& group : roster.groups) {
        if (group.group.empty()) return "a group has no name";
        if (!names.insert(group.group).second) return "group " + group.group + " is there twice";
        if (group.seats.size() > voter::replicas_max) {
            return "group " + group.group + " has " + std::to_string(group.seats.size()) +
                   " seats, at most " + std::to_string(voter::replicas_max) + " are possible";
        }
        for (std::size_t slot = 0; slot < group.seats.size(); ++slot) {
            const Seat& seat = group.seats[slot];
            const std::string where = "group " + group.group + " slot " + std::to_string(slot);
            if (seat.incarnation.value == 0) {
                if (seat.standing == Standing::absent) continue;
                return where + " is " + text(seat.standing) + " without an incarnation";
            }
            const std::string who = "incarnation " + std::to_string(seat.incarnation.value);
            if (seat.incarnation.value >= roster.next_incarnation) {
                return where + ": " + who + " was never given out";
            }
            if (!seated.insert(seat.incarnation).second) return where + ": " + who + " sits twice";
        }
    }
    return {};
}

tl::expected<Roster, RosterError> read_roster(const std::filesystem::path& file) {
    const auto content = read_file(file, file_bytes_max);
    if (!content) return tl::unexpected(content.error());
    if (!*content) return Roster{};
    auto roster = from_text(**content);
    if (!roster) {
        return tl::unexpected("roster " + file.string() + " cannot be used: " + roster.error() +
                              "; stop the proxy and the replicas and remove it to start afresh");
    }
    return roster;
}

tl::expected<Roster, RosterError> update_roster(const std::filesystem::path& file,
                                                const std::function<std::string(Roster&)>& change) {
    std::filesystem::path lock_file = file;
    lock_file += ".lock";
    const auto lock = FileLock::take(lock_file, lock_wait_max);
    if (!lock) return tl::unexpected(lock.error());
    auto roster = read_roster(file);
    if (!roster) return roster;

    const Roster before = *roster;
    if (std::string refusal = change(*roster); !refusal.empty()) return tl::unexpected(refusal);
    roster->epoch = before.epoch + 1;
    if (roster->next_incarnation < before.next_incarnation) {
        return tl::unexpected(RosterError("a change would give out incarnations again"));
    }
    if (std::string flaw = flaw_of(*roster); !flaw.empty()) {
        return tl::unexpected("a change would spoil the roster: " + flaw);
    }
    // A reason may quote bytes of anybody's; names are checked where the configuration is read.
    const std::string content =
        to_json(*roster).dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
    if (content.size() > file_bytes_max) {
        return tl::unexpected(RosterError("the roster would have more than 1 MiB"));
    }
    if (auto written = write_durably(file, content, 0600); !written) {
        return tl::unexpected(written.error());
    }
    return roster;
}

}  // namespace recovery
