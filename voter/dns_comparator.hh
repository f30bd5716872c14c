// The comparator `dns`: two replies are the same when their header, question, extended rcode and
// answers are, however the names were compressed and the records ordered; the authority section
// counts only where the answer is empty, the additional section never.
#pragma once

#include <span>

#include "voter/ballot.hh"
#include "voter/comparator.hh"
#include "voter/types.hh"

namespace voter::dns {

// Working memory of the functions below: fixed-size, no state between calls. One per worker, part
// of its Workspace. Needs no initialisation; large, so never on a stack.
struct DnsScratch;

// As Comparator's functions of the same purpose. Messages that do not parse are compared as bytes.
Likeness compare(Bytes a, Bytes b, DnsScratch& scratch);
Digest canonical_digest(Bytes reply, DigestKey key, DnsScratch& scratch);
std::size_t compose(Bytes request, std::span<const Bytes> agreeing, unsigned quorum,
                    MutableBytes out, DnsScratch& scratch);
std::size_t describe_difference(Bytes a, Bytes b, std::span<char> out, DnsScratch& scratch);

struct DnsScratch {
    int unused;
};

}  // namespace voter::dns
