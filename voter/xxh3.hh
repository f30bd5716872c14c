// XXH3-128 built twice from the same text: for every x86-64 (SSE2) and for AVX2, which hashes long
// inputs about twice as fast. digest.cc picks one when the program starts. Nothing else includes
// this.
#pragma once

#include <cstddef>
#include <cstdint>

namespace voter {

// Writes the two words of the digest of `length` bytes at `data`.
using Xxh3 = void(const void* data, std::size_t length, std::uint64_t seed, std::uint64_t* low,
                  std::uint64_t* high);
Xxh3 xxh3_baseline;
Xxh3 xxh3_avx2;  // only where the processor has AVX2

}  // namespace voter
