// Instants at which a test kills the process: between the log, the clones and the reply of a
// stateful group, and between the responses of a domain's ring and their publication. The program
// proper is linked with crash_point_none.cc, a test binary with crash_point_armed.cc; a unit test
// brings a function of its own.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace proxy {

enum class CrashPoint : std::uint8_t {
    appended,   // the request is in the log, no clone of it has been made
    cloned,     // one more clone waits in a transmit buffer
    intent,     // the mark says that it may leave; the port has nothing yet
    sent,       // the port has taken what it would; the mark does not say so
    delivered,  // the mark says so
    agreed,     // the log knows the agreed reply; nothing of it has left
    replied,    // the reply waits in the client port's transmit buffer
    left,       // the client port has taken it
    replayed,   // a copy from the log waits in a transmit buffer
    written,    // responses lie over requests in a domain's ring; the domain does not see them yet
};
constexpr auto crash_point_names =
    std::to_array<std::string_view>({"appended", "cloned", "intent", "sent", "delivered", "agreed",
                                     "replied", "left", "replayed", "written"});

void crash_point(CrashPoint where);

}  // namespace proxy
