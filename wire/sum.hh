// How sum_bytes() adds: the plain way, and a wide one where the build and the CPU have it
// (sum_avx2.cc or sum_plain_only.cc, chosen by meson). For checksum.cc and its tests.
#pragma once

#include <cstdint>

#include "wire/bytes.hh"

namespace wire {

using SumFunction = std::uint64_t (*)(Bytes bytes);

// 64 bits at a time with carries. All sums are of words in memory order; checksum.cc turns them
// once, since one's complement addition does not care (RFC 1071, 2 B).
std::uint64_t sum_plain(Bytes bytes);

// nullptr: this CPU or build has nothing wider.
SumFunction wide_sum();

}  // namespace wire
