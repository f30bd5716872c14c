#include "tools/quorate/settled_status.hh"

#include <poll.h>

#include "tools/quorate/proxy_status.hh"

namespace quorate {

tl::expected<nlohmann::json, ControlError> settled_status(ControlClient& client) {
    constexpr int tries = 25;
    constexpr int pause_ms = 4;
    for (int left = tries;; --left) {
        auto status = client.ask_status();
        if (!status || left == 1 || read_status(*status).balanced.value_or(true)) return status;
        ::poll(nullptr, 0, pause_ms);
    }
}

}  // namespace quorate
