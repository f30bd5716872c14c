// Which incarnation sits where, in which of its slot's two places, and in what state, with an
// epoch: the one durable authority. Written (temporary file, fsync, rename, fsync of the directory)
// before any admission changes; readers see an old or a new roster, never a mixture.
//
// Writers take the lock file beside it (flock), so that the operator's commands and the proxy's
// control thread never write over each other.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
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

enum class Place : std::uint8_t { a, b };

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
    std::vector<Seat> seats;  // by slot
};

struct Roster {
    std::uint64_t epoch = 0;             // grows with every write
    std::uint32_t next_incarnation = 1;  // given out before use, never again
    std::vector<GroupRoster> groups;

    GroupRoster* group(const std::string& name);
    const GroupRoster* group(const std::string& name) const;
};

using RosterError = std::string;  // with its cause, for people

// A roster that is not there yet reads as an empty one with epoch 0.
tl::expected<Roster, RosterError> read_roster(const std::filesystem::path& file);

// Reads, lets `change` alter it, raises the epoch and writes it durably, all under the lock (waited
// for at most 5 s). `change` returns an error text to leave the file as it was, or an empty string.
tl::expected<Roster, RosterError> update_roster(const std::filesystem::path& file,
                                                const std::function<std::string(Roster&)>& change);

}  // namespace recovery
