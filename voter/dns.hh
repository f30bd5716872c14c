// What the appliance itself says in DNS (RFC 1035): which requests are refused before they reach a
// replica because honest servers never agree on them, and the replies it writes on its own account.
#pragma once

#include <cstdint>
#include <optional>

#include "voter/types.hh"

namespace voter::dns {

constexpr std::uint8_t rcode_servfail = 2;
constexpr std::uint8_t rcode_notimp = 4;
constexpr std::uint8_t rcode_refused = 5;

// Kinds of request on which servers of different make never agree.
struct RefuseSet {
    bool any = false;      // QTYPE ANY
    bool chaos = false;    // QCLASS CH
    bool status = false;   // OPCODE STATUS
    bool opcodes = false;  // every OPCODE but QUERY
};

// The rcode to refuse this request with, if it is in the set: REFUSED, for an opcode NOTIMP.
std::optional<std::uint8_t> refused(Bytes request, const RefuseSet& set);

// Writes a reply without records: the request's id, opcode, RD, CD and question, this rcode, and
// the appliance's own OPT where the request has one. Returns the bytes written; 0: request not
// parsable, `out` too small, or an extended rcode that the request has no OPT for.
std::size_t write_error(Bytes request, std::uint8_t rcode, MutableBytes out);

}  // namespace voter::dns
