// What the backend does when a frontend's state changes (xen/io/xenbus.h): a pure table. Frontends
// may do anything in any order; each of the combinations has an answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace xen::netback {

// As the nodes say it. Anything that is none of these is read as `unknown`.
enum class XenbusState : std::uint8_t {
    unknown = 0,
    initialising = 1,
    init_wait = 2,
    initialised = 3,
    connected = 4,
    closing = 5,
    closed = 6,
    reconfiguring = 7,
    reconfigured = 8,
};

XenbusState parse_state(std::string_view text);
std::string_view text(XenbusState state);

// In this order.
struct Step {
    bool disconnect = false;
    bool offer = false;    // write the keys of what we can do
    bool connect = false;  // read the frontend's keys, map its rings; where that fails: closed
    std::optional<XenbusState> state;  // to be written then

    friend bool operator==(const Step&, const Step&) = default;
};

// `own`: what our node says. `rings`: are rings of this frontend mapped?
Step next_step(XenbusState own, XenbusState frontend, bool rings);

}  // namespace xen::netback
