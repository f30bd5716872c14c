// What a guest writes into its part of xenstore.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "xen/netback/handshake.hh"
#include "xen/netback/keys.hh"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string text(reinterpret_cast<const char*>(data), size);
    static_cast<void>(xen::netback::parse_state(text));
    // A value for each key that is asked for, in turn.
    std::size_t at = 0;
    const auto keys = xen::netback::read_frontend_keys(
        [&](const std::string& key) -> std::optional<std::string> {
            const std::size_t end = text.find('\n', at);
            if (end == std::string::npos) {
                if (key == "request-rx-copy" || key == "feature-rx-notify") return "1";
                return std::nullopt;
            }
            std::string value = text.substr(at, end - at);
            at = end + 1;
            return value;
        },
        4);
    if (!keys) {
        if (keys.error().size() > 200) std::abort();
        for (const char c : keys.error()) {
            if (c < ' ' || c > '~') std::abort();
        }
        return 0;
    }
    if (keys->queues.empty() || keys->queues.size() > 4) std::abort();
    if (keys->features.headroom > xen::netback::headroom_max) std::abort();
    return 0;
}
