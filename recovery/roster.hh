// Which incarnation sits where, in which of its slot's two places, and in what state, with an
// epoch: the one durable authority. Written (temporary file, fsync, rename, fsync of the directory)
// before any admission changes; readers see an old or a new roster, never a mixture.
//
// Writers take the lock file beside it (flock), so that the operator's commands and the proxy's
// control thread never write over each other.
//
// Limit: one file, rewritten whole; it is for tens of groups and a few changes a second.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

#include "voter/types.hh"

namespace recovery {

enum class Standing : std::uint8_t {
    absent,     // nobody sits there
    starting,   // an incarnation boots; no packets yet
    lagging,    // fed, its votes do not count: missed something or is being replayed to
    admitted,   // its votes count
    suspended,  // taken out; not fed
};
const char* text(Standing standing);
std::optional<Standing> parse_standing(std::string_view text);

enum class Place : std::uint8_t { a, b };
const char* text(Place place);
std::optional<Place> parse_place(std::string_view text);

struct Seat {
    voter::Incarnation incarnation{};
    Standing standing = Standing::absent;
    Place place = Place::a;
    std::string
        port;  // how the proxy reaches it now, as a config port ("veth:NAME"); empty: absent
    std::string reason;  // of the last change, for people
};

struct GroupRoster {
    std::string group;
    std::vector<Seat> seats;  // by slot, at most voter::replicas_max
};

struct Roster {
    std::uint64_t epoch = 0;             // grows with every write
    std::uint32_t next_incarnation = 1;  // given out before use, never again
    std::vector<GroupRoster> groups;

    GroupRoster* group(const std::string& name);
    const GroupRoster* group(const std::string& name) const;
    // The group, made if need be, with at least `slots` seats (new ones absent). The reference is
    // good until the next group is added.
    GroupRoster& group_of(const std::string& name, std::size_t slots);
};

using RosterError = std::string;  // with its cause, for people

// The next incarnation, taken from `roster`; it counts as given out once update_roster() has
// written that roster, so use it only afterwards. 0 ("nobody") when all are used up.
voter::Incarnation allocate_incarnation(Roster& roster);

// What makes a roster wrong, or an empty string: two groups of one name, an incarnation that sits
// twice or was never given out, somebody in a seat without an incarnation, too many seats.
std::string flaw_of(const Roster& roster);

// A roster that is not there yet reads as an empty one with epoch 0. Anything else that is not a
// whole, sound roster of this version is an error; it is never guessed at or repaired.
tl::expected<Roster, RosterError> read_roster(const std::filesystem::path& file);

// Reads, lets `change` alter it, raises the epoch and writes it durably, all under the lock (waited
// for at most 5 s). `change` returns an error text to leave the file as it was, or an empty string;
// its changes to the epoch are ignored, and a flaw it leaves is an error. After the error "cannot
// write to disk the directory" the new roster is there but may not survive a power cut.
tl::expected<Roster, RosterError> update_roster(const std::filesystem::path& file,
                                                const std::function<std::string(Roster&)>& change);

}  // namespace recovery
