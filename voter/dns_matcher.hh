// The matcher `dns`: a request's key is its id; the question tells requests with the same id apart
// where the reply repeats it. As Matcher's functions of the same name.
#pragma once

#include <cstdint>
#include <optional>

#include "voter/matcher.hh"
#include "voter/types.hh"

namespace voter::dns {

std::optional<MatchKey> request_key(Bytes request);
std::optional<MatchKey> reply_key(Bytes reply);
// The reply's question and opcode are the request's; a reply without a question has its id only.
bool answers(Bytes request, Bytes reply);
// Same id, opcode and question. Whatever else differs (flags, EDNS) no reply could be told apart
// by, so it is the same request again.
bool repeats(Bytes request, Bytes again);
// Opcode, type and class of the question; never 0.
RequestKind kind_of(Bytes request);

}  // namespace voter::dns
