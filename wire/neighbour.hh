// ARP (RFC 826) and IPv6 neighbour discovery (RFC 4861): what is asked, and the answer. Probes for
// duplicate addresses (RFC 5227 and RFC 4862 5.4) are told apart, because whoever stands in for a
// replica's whole world must not answer them.
#pragma once

#include <cstdint>
#include <optional>

#include "wire/address.hh"
#include "wire/bytes.hh"
#include "wire/frame.hh"

namespace wire {

constexpr std::size_t neighbour_reply_len_max = 14 + 4 + 40 + 32;

struct NeighbourQuestion {
    IpAddress target;      // whose link address is asked for
    IpAddress asker;       // unspecified (all zero, or 0.0.0.0 mapped): a probe
    MacAddress asker_mac;  // from the option or the ARP field, else (and for probes) the frame's
    bool probe = false;    // duplicate address detection
};

// Of a frame that parse_frame() accepted; verifies the ICMPv6 checksum. nullopt: not a question;
// `why` is neighbour_ignored (an answer, an announcement, another message) or bad_arp (malformed).
std::optional<NeighbourQuestion> neighbour_question(Bytes frame, const Frame& parsed,
                                                    DropReason& why);

// Writes the whole frame that answers the frame `parsed`: "target is at `mac`". VLAN tag as in the
// question. Returns the length; 0: `out` too small.
std::size_t write_neighbour_answer(const Frame& parsed, const NeighbourQuestion& question,
                                   const MacAddress& mac, MutableBytes out);

}  // namespace wire
