// The comparator `dns`: two replies are the same when their canonical forms are (see
// dns_canonical.hh): header, question, extended rcode and answer, however the names were compressed
// and the records ordered. The authority section counts only where the answer is empty, the
// additional section never. What does not parse is compared as bytes.
//
// Nothing unvoted leaves: a reply that compose() writes has the voted parts in an order of our own,
// our own OPT, and of the additional section those records that a quorum sent, each by itself.
//
// Known limit: TTLs are voted, as authoritative servers with one zone agree on them; caches that
// count them down do not.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "voter/ballot.hh"
#include "voter/comparator.hh"
#include "voter/dns_canonical.hh"
#include "voter/dns_writer.hh"
#include "voter/types.hh"

namespace voter::dns {

// Records of the additional section considered by compose(), over all replies together. What goes
// beyond is left out.
constexpr std::size_t additional_max = 1024;
constexpr std::size_t additional_len_max = 1 << 16;

// Working memory of the functions below: fixed-size, no state between calls. One per worker, part
// of its Workspace. Needs no initialisation; 800 KB, so never on a stack.
struct DnsScratch {
    struct Candidate {
        std::uint32_t offset;
        std::uint16_t length;
        std::uint16_t reply;  // who sent it
    };
    Form left;
    Form right;
    Writer::Names names;
    std::array<std::uint16_t, records_max> order;
    std::array<bool, records_max> taken;
    std::array<Candidate, additional_max> candidates;
    std::array<std::byte, additional_len_max> additional;
};

// As Comparator's functions of the same purpose.
Likeness compare(Bytes a, Bytes b, DnsScratch& scratch);
// Equal where compare() says same; different, short of a collision, where it says different.
Digest canonical_digest(Bytes reply, DigestKey key, DnsScratch& scratch);
// 0 also where one of `agreeing` is not DNS, or says more than a reply to `request` can.
std::size_t compose(Bytes request, std::span<const Bytes> agreeing, unsigned quorum,
                    MutableBytes out, DnsScratch& scratch);
std::size_t describe_difference(Bytes a, Bytes b, std::span<char> out, DnsScratch& scratch);

}  // namespace voter::dns
