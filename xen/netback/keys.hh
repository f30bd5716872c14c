// What the two halves of a network device tell each other through xenstore (xen/io/netif.h): what
// we offer, and what the frontend chose. All of the latter is written by the guest: each value is
// one bounded decimal number, or the frontend does not connect.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

#include "xen/netback/guest_rx.hh"

namespace xen::netback {

constexpr unsigned queues_max = 16;  // one for each worker, at most

struct QueueKeys {
    grant_ref_t tx_ring = 0;
    grant_ref_t rx_ring = 0;
    std::uint32_t tx_channel = 0;  // the guest's event channels; the same one, unless it split them
    std::uint32_t rx_channel = 0;
    friend bool operator==(const QueueKeys&, const QueueKeys&) = default;
};

struct FrontendKeys {
    std::vector<QueueKeys> queues;
    RxFeatures features;
    bool multicast_control = false;  // multicast goes to it only where it asked for the address
};

// Key and value, relative to the backend's directory.
std::vector<std::pair<std::string, std::string>> backend_keys(unsigned queues, bool scatter_gather);

// `read`: a key relative to the frontend's directory; nothing where there is none. The error names
// the key.
using ReadKey = std::function<std::optional<std::string>(const std::string& key)>;
tl::expected<FrontendKeys, std::string> read_frontend_keys(const ReadKey& read, unsigned queues);

}  // namespace xen::netback
