// Built with -mavx2, so it must hold nothing but static functions: an inline function of a shared
// header, compiled here and kept by the linker for everybody, would crash older processors.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "voter/xxh3.hh"

namespace voter {

void xxh3_avx2(const void* data, std::size_t length, std::uint64_t seed, std::uint64_t* low,
               std::uint64_t* high) {
    const XXH128_hash_t hash = XXH3_128bits_withSeed(data, length, seed);
    *low = hash.low64;
    *high = hash.high64;
}

}  // namespace voter
