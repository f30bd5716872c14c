#include "xen/domain/machine.hh"

namespace xen::domain {

const char* text(State state) {
    switch (state) {
        case State::running:
            return "running";
        case State::powered_off:
            return "powered off";
        case State::rebooting:
            return "rebooted from inside";
        case State::suspended:
            return "suspended";
        case State::crashed:
            return "crashed";
        case State::dying:
            break;
    }
    return "being destroyed";
}

}  // namespace xen::domain
