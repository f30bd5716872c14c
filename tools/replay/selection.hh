// Which frames of a capture are requests to services of a configuration, and why the others are
// not. Requests are written anew: client, ports, VLAN and payload are the capture's; the address is
// the service's, and checksums are right (captures made on the sender's machine often have blank
// ones). One that was damaged on its way stays out.
//
// Known limits: fragments are not put together; a client's address must be one that a client can
// have, so captures of `lo` with 127.0.0.1 in them are no use.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "config/config.hh"
#include "tools/capture.hh"
#include "wire/frame.hh"

namespace replay {

// clang-format off
#define REPLAY_SKIPS(X)                                                              \
    X(unreadable,     "not an Ethernet or IP packet")                                \
    X(cut,            "cut off by the capture's snap length")                        \
    X(damaged,        "with headers that do not add up")                             \
    X(no_client,      "from an address no client has (loopback, multicast, a service's)") \
    X(fragment,       "fragments")                                                   \
    X(not_udp,        "not UDP")                                                     \
    X(other_port,     "not for a service")                                           \
    X(other_address,  "for a service's port at another address")                     \
    X(wrong_checksum, "with a wrong checksum")                                       \
    X(too_long,       "longer than 1,500 bytes of IP")
// clang-format on

enum class Skip : std::uint8_t {
#define REPLAY_X(name, text) name,
    REPLAY_SKIPS(REPLAY_X)
#undef REPLAY_X
        count_
};
constexpr std::size_t skips_count = static_cast<std::size_t>(Skip::count_);
struct SkipText {
    std::string_view name;
    std::string_view text;  // after a number
};
inline constexpr std::array<SkipText, skips_count> skip_texts = {{
#define REPLAY_X(name, text) {#name, text},
    REPLAY_SKIPS(REPLAY_X)
#undef REPLAY_X
}};

// What is asked for.
struct Wanted {
    std::optional<std::size_t> service;  // only this one (index in the configuration)
    std::optional<std::uint16_t> port;   // what the capture has for its port; implies by_port
    bool by_port = false;                // whatever address the capture has for it
};

struct Request {
    std::size_t service = 0;
    wire::IpAddress address;  // where it goes
    wire::Frame frame;        // as captured
};

// What became of a capture's frames.
struct Tally {
    std::array<std::uint64_t, config::services_max> taken{};  // by service
    std::array<std::uint64_t, skips_count> skipped{};

    void skip(Skip reason, std::uint64_t n = 1) { skipped[static_cast<std::size_t>(reason)] += n; }
    std::uint64_t of(Skip reason) const { return skipped[static_cast<std::size_t>(reason)]; }
    std::uint64_t taken_total() const;
};

class Selector {
  public:
    // `config` outlives it.
    Selector(const config::Config& config, const Wanted& wanted)
        : config_(config), wanted_(wanted) {}

    // The request in a frame, or nullopt; either way counted.
    std::optional<Request> select(const tools::CapturedFrame& captured, Tally& tally) const;

    // The frame to send, into `out` of frame_len_max bytes; returns its length. The destination MAC
    // is left zero.
    std::size_t write(wire::MutableBytes out, const Request& request, wire::Bytes captured,
                      std::uint16_t identification) const;
    static constexpr std::size_t frame_len_max = 18 + 1500;

  private:
    std::optional<Skip> reason_of(const tools::CapturedFrame& captured, Request& request) const;
    std::optional<Skip> find_service(Request& request) const;
    bool is_service_address(const wire::IpAddress& address) const;

    const config::Config& config_;
    Wanted wanted_;
};

}  // namespace replay
