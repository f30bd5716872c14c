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

// What a frontend may make use of, besides what every one may. It is taken from a frontend all the
// same that uses it without having been offered it: rings outlive the backend that made the offer.
struct Offer {
    // A guest's frame may lie in several pages, each a copy of its own. Without it the guest puts
    // small pieces together, which costs it less than the copies cost us.
    bool scatter_gather = false;
    // TCP segments longer than a frame, to be cut by whoever puts them on a wire. Takes
    // scatter-gather along.
    bool segmentation = false;
};

// Key and value, relative to the backend's directory.
std::vector<std::pair<std::string, std::string>> backend_keys(unsigned queues, const Offer& offer);

// `read`: a key relative to the frontend's directory; nothing where there is none. The error names
// the key.
using ReadKey = std::function<std::optional<std::string>(const std::string& key)>;
tl::expected<FrontendKeys, std::string> read_frontend_keys(const ReadKey& read, unsigned queues);

}  // namespace xen::netback
