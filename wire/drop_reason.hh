// The one table of drop reasons: name, and text for people. The metric is the name.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace wire {

// clang-format off
#define WIRE_DROP_REASONS(X)                                                                        \
    /* the frame itself */                                                                          \
    X(truncated,             "shorter than its headers or lengths say")                             \
    X(oversized,             "longer than any frame we take")                                       \
    X(bad_ethernet,          "Ethernet: multicast source, or nested VLAN tags")                     \
    X(not_for_us,            "addressed to somebody else")                                          \
    X(unknown_ethertype,     "neither IP nor ARP")                                                  \
    X(bad_ip_header,         "IP: version, header length, or lengths that do not add up")           \
    X(bad_ip_checksum,       "IPv4 header checksum is wrong")                                       \
    X(bad_ip_source,         "source address is multicast, loopback, unspecified or our own")       \
    X(ip_options,            "IPv4 options, or IPv6 extension headers we do not take")              \
    X(bad_l4_header,         "UDP, TCP or ICMP: lengths that do not add up, or port 0")             \
    X(bad_l4_checksum,       "UDP, TCP or ICMP checksum is wrong")                                  \
    X(bad_arp,               "ARP or neighbour discovery that does not parse")                      \
    X(unknown_protocol,      "neither UDP, TCP nor ICMP")                                           \
    X(fragment_refused,      "a fragment reassembly cannot take (8 at most, no overlaps)")          \
    X(fragment_timeout,      "fragments whose rest did not come in time")                           \
    X(reassembly_full,       "no room to reassemble or to hold a reassembled packet")               \
    /* requests */                                                                                  \
    X(no_service,            "no service at this address and port")                                 \
    X(tcp_refused,           "TCP to a service: refused with RST")                                  \
    X(not_a_request,         "the matcher finds no request in it")                                  \
    X(refused_kind,          "a kind of request the service refuses: answered by the appliance")    \
    X(retransmission_absorbed, "repeats a request that is being worked on")                         \
    X(one_outstanding,       "fifo: the flow has an unanswered request")                            \
    X(ballots_full,          "no free ballot")                                                      \
    X(strangers_full,        "the share of the tables for unknown sources is used up")              \
    X(inflight_full,         "fewer replicas than a quorum have room for another request")          \
    X(no_quorum,             "fewer replicas are admitted than a quorum")                           \
    X(request_log_full,      "stateful group: the request log has no room")                         \
    X(group_halted,          "stateful group: no quorum agrees on its state; it answers nothing")   \
    X(mbufs_exhausted,       "no packet memory left")                                               \
    /* replies */                                                                                   \
    X(reply_unmatched,       "a reply to nothing that was asked, or from another flow")             \
    X(reply_forged_source,   "a replica sent from an address that is not the service's")            \
    X(reply_twice,           "a second reply of the same replica to the same request")              \
    X(reply_stranger,        "a reply of a replica that was not asked or no longer counts")         \
    X(reply_not_released,    "a vote: outvoted, late, a duplicate of the released one, or no quorum") \
    X(reply_unsendable,      "an agreed reply that cannot be rebuilt or fragmented")                \
    X(replica_initiated,     "a packet of a replica that answers no request")                       \
    X(stale_place,           "from a place that nobody admitted or lagging sits in")                \
    /* forwarding */                                                                                \
    X(icmp_unmatched,        "an ICMP error about nothing we know")                                 \
    X(icmp_ignored,          "ICMP of a type that nobody needs")                                    \
    X(neighbour_ignored,     "ARP or neighbour discovery that is not for us to answer")             \
    X(consumed,              "answered or used up by the appliance itself (ARP, echo, control)")    \
    X(rate_limited,          "more own answers (ARP, echo, RST, errors) than a second allows")        \
    X(lost_in_crash,         "held by a process that was killed")                                   \
    X(port_tx_full,          "the port did not take it")                                            \
    X(handoff_full,          "the ring to the flow's worker is full")                               \
    X(service_without_port,  "arrived for a place or port that is going away")
// clang-format on

enum class DropReason : std::uint8_t {
#define WIRE_X(name, text) name,
    WIRE_DROP_REASONS(WIRE_X)
#undef WIRE_X
        count_,
    none = 255,  // not dropped
};
constexpr std::size_t drop_reasons_count = static_cast<std::size_t>(DropReason::count_);

struct DropReasonText {
    std::string_view name;
    std::string_view text;
};
inline constexpr std::array<DropReasonText, drop_reasons_count> drop_reason_texts = {{
#define WIRE_X(name, text) {#name, text},
    WIRE_DROP_REASONS(WIRE_X)
#undef WIRE_X
}};

}  // namespace wire
