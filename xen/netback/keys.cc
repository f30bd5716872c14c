#include "xen/netback/keys.hh"

#include <charconv>
#include <limits>

namespace xen::netback {

namespace {

constexpr std::size_t shown_max = 24;

// Reads numbers until one is wrong; then remembers which.
class Numbers {
  public:
    explicit Numbers(const ReadKey& read) : read_(read) {}

    std::uint32_t required(const std::string& key) {
        const auto value = optional(key, std::numeric_limits<std::uint32_t>::max());
        if (!value && wrong_.empty()) wrong_ = key + " is missing";
        return value.value_or(0);
    }
    std::uint32_t with_default(const std::string& key, std::uint32_t otherwise,
                               std::uint32_t most) {
        return optional(key, most).value_or(otherwise);
    }
    bool flag(const std::string& key) { return with_default(key, 0, 1) == 1; }
    void complain(std::string what) {
        if (wrong_.empty()) wrong_ = std::move(what);
    }
    const std::string& wrong() const { return wrong_; }

  private:
    std::optional<std::uint32_t> optional(const std::string& key, std::uint32_t most) {
        const auto text = read_(key);
        if (!text) return std::nullopt;
        std::uint32_t value = 0;
        const char* end = text->data() + text->size();
        const auto [at, error] = std::from_chars(text->data(), end, value);
        if (error == std::errc() && at == end && value <= most) return value;
        complain(key + " is \"" + shown(*text) + "\", and not a number up to " +
                 std::to_string(most));
        return std::nullopt;
    }
    // The guest's bytes, for our own log.
    static std::string shown(std::string_view text) {
        std::string out(text.substr(0, shown_max));
        for (char& c : out) {
            if (c < ' ' || c > '~') c = '?';
        }
        return out;
    }

    const ReadKey& read_;
    std::string wrong_;
};

QueueKeys read_queue(Numbers& numbers, const ReadKey& read, const std::string& directory) {
    QueueKeys queue;
    queue.tx_ring = numbers.required(directory + "tx-ring-ref");
    queue.rx_ring = numbers.required(directory + "rx-ring-ref");
    if (read(directory + "event-channel-tx")) {
        queue.tx_channel = numbers.required(directory + "event-channel-tx");
        queue.rx_channel = numbers.required(directory + "event-channel-rx");
    } else {
        queue.tx_channel = queue.rx_channel = numbers.required(directory + "event-channel");
    }
    return queue;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> backend_keys(unsigned queues, const Offer& offer) {
    const std::string segmentation = offer.segmentation ? "1" : "0";
    return {
        {"feature-sg", offer.scatter_gather || offer.segmentation ? "1" : "0"},
        {"feature-gso-tcpv4", segmentation},
        {"feature-gso-tcpv6", segmentation},
        {"feature-ipv6-csum-offload", "1"},
        {"feature-rx-copy", "1"},
        {"feature-rx-flip", "0"},
        {"feature-multicast-control", "1"},
        {"feature-dynamic-multicast-control", "0"},
        {"feature-split-event-channels", "1"},
        {"feature-ctrl-ring", "0"},
        {"feature-xdp-headroom", "1"},
        {"multi-queue-max-queues", std::to_string(queues)},
    };
}

tl::expected<FrontendKeys, std::string> read_frontend_keys(const ReadKey& read, unsigned queues) {
    Numbers numbers(read);
    FrontendKeys keys;
    if (!numbers.flag("request-rx-copy")) {
        numbers.complain("request-rx-copy is not 1: frames go to it by copy only");
    }
    // Without it the frontend may take frames without telling when it has room again.
    if (!numbers.flag("feature-rx-notify")) numbers.complain("feature-rx-notify is not 1");
    const std::uint32_t count = numbers.with_default("multi-queue-num-queues", 1, queues);
    if (count == 0) numbers.complain("multi-queue-num-queues is 0");
    for (std::uint32_t i = 0; i < count && numbers.wrong().empty(); ++i) {
        const std::string directory = count == 1 ? "" : "queue-" + std::to_string(i) + "/";
        keys.queues.push_back(read_queue(numbers, read, directory));
    }
    keys.features.scatter_gather = numbers.flag("feature-sg");
    keys.features.segmentation_v4 = numbers.flag("feature-gso-tcpv4");
    keys.features.segmentation_v6 = numbers.flag("feature-gso-tcpv6");
    keys.features.headroom =
        static_cast<std::uint16_t>(numbers.with_default("xdp-headroom", 0, headroom_max));
    keys.multicast_control = numbers.flag("request-multicast-control");
    if (!numbers.wrong().empty()) return tl::unexpected(numbers.wrong());
    return keys;
}

}  // namespace xen::netback
