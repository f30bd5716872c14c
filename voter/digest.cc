// XXH3-128 of a reply. It groups and stands in for bytes, it proves nothing: with the key unknown
// to the replicas collisions are not to be had by trying, but XXH3 is not a cryptographic hash. So
// a digest only ever says on which side a late vote was; no byte leaves because of one.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "voter/comparator.hh"
#include "voter/xxh3.hh"

namespace voter {

void xxh3_baseline(const void* data, std::size_t length, std::uint64_t seed, std::uint64_t* low,
                   std::uint64_t* high) {
    const XXH128_hash_t hash = XXH3_128bits_withSeed(data, length, seed);
    *low = hash.low64;
    *high = hash.high64;
}

namespace {

Xxh3* choose() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") ? xxh3_avx2 : xxh3_baseline;
}

// The baseline until this file's initialiser has run, so that a digest taken by another
// initialiser is right too: both give the same digest.
constinit Xxh3* chosen = xxh3_baseline;
[[maybe_unused]] const bool chosen_at_start = (chosen = choose(), true);

}  // namespace

Digest digest_of(Bytes bytes, DigestKey key) {
    Digest digest;
    chosen(bytes.data(), bytes.size(), key.seed, &digest.low, &digest.high);
    return digest;
}

}  // namespace voter
