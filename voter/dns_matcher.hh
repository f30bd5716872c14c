// The matcher `dns`: a request's key is its id, and the question tells requests with the same id
// apart where the reply repeats it. As Matcher's functions of the same name.
//
// The rule behind answers() and repeats(): requests that no honest reply could tell apart are one
// request. Two of a flow with the same id, opcode and question, but other flags or EDNS, would draw
// different replies which then met in one ballot, and a client could so make honest replicas
// dissent. So the caller must give replicas that have not answered the bytes of the *first* one.
//
// Known limit: a reply without a question answers any request of the flow with its id.
#pragma once

#include <cstdint>
#include <optional>

#include "voter/matcher.hh"
#include "voter/types.hh"

namespace voter::dns {

// nullopt: shorter than a header, or QR says it is a reply (or not one).
std::optional<MatchKey> request_key(Bytes request);
std::optional<MatchKey> reply_key(Bytes reply);
// Same id and opcode, and the question byte for byte (its case is the client's guard against
// forgery: draft-vixie-dnsext-dns0x20), or no question at all.
bool answers(Bytes request, Bytes reply);
// Same id, opcode and question; where there is not just one question, the same bytes.
bool repeats(Bytes request, Bytes again);
// Opcode, type and class; never 0. Messages of unusual form (not DNS, or records other than one OPT
// in a query) are a kind of their own: servers treat them differently, and with them a client must
// not be able to have an honest kind marked.
RequestKind kind_of(Bytes request);

// "A", "TXT CH", "ANY", "opcode 2", "unusual": what kind_of() said, for people. Returns the
// characters written, at most out.size().
std::size_t describe_kind(RequestKind kind, std::span<char> out);

}  // namespace voter::dns
