#include "xen/netback/handshake.hh"

#include <array>

namespace xen::netback {

namespace {

constexpr std::array<std::string_view, 9> names{"unknown",     "initialising",  "init-wait",
                                                "initialised", "connected",     "closing",
                                                "closed",      "reconfiguring", "reconfigured"};

}  // namespace

XenbusState parse_state(std::string_view text) {
    if (text.size() != 1 || text[0] < '1' || text[0] > '8') return XenbusState::unknown;
    return static_cast<XenbusState>(text[0] - '0');
}

std::string_view text(XenbusState state) { return names[static_cast<std::size_t>(state)]; }

Step next_step(XenbusState own, XenbusState frontend, bool rings) {
    // The toolstack asks us to let go (libxl writes 5 into our node), or the domain is going.
    if (own == XenbusState::closing) return {.disconnect = rings, .state = XenbusState::closed};
    Step step;
    switch (frontend) {
        case XenbusState::initialising:
            // A fresh frontend, or one that began anew (reboot, kexec) without saying goodbye.
            if (own == XenbusState::init_wait && !rings) return {};
            return {.disconnect = rings, .offer = true, .state = XenbusState::init_wait};
        case XenbusState::connected:
            if (rings) return {};
            // Also where it never looked at what we offer, and where it outlived a predecessor of
            // ours.
            return {.offer = own != XenbusState::init_wait && own != XenbusState::connected,
                    .connect = true,
                    .state = XenbusState::connected};
        case XenbusState::closing:
        case XenbusState::closed:
        case XenbusState::unknown:
            step.disconnect = rings;
            if (own != XenbusState::closed) step.state = XenbusState::closed;
            // Nothing has happened yet: the device was just made.
            if (frontend == XenbusState::unknown && own == XenbusState::initialising) return {};
            return step;
        case XenbusState::init_wait:
        case XenbusState::initialised:
        case XenbusState::reconfiguring:
        case XenbusState::reconfigured:
            break;  // states that network frontends pass through, or do not have
    }
    return step;
}

}  // namespace xen::netback
