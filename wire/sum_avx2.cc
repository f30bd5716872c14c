// The sum, 32 bytes a step. vpmaddwd adds neighbouring 16-bit words into 32 bits, but as signed
// ones: turning the top bit makes of a word u the signed u - 32768, so each of the sixteen words is
// 32768 short of the truth, which is put right at the end.
//
// Limit: a 32-bit lane takes 32767 steps; longer inputs go in pieces.
#include <algorithm>

#include <immintrin.h>

#include "wire/sum.hh"

namespace wire {
namespace {

constexpr std::size_t step = 32;
constexpr std::size_t piece_len_max = 32767 * step;

[[gnu::target("avx2")]] std::uint64_t add_lanes(__m256i lanes) {
    const __m256i low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(lanes));
    const __m256i high = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(lanes, 1));
    const __m256i four = _mm256_add_epi64(low, high);
    const __m128i two =
        _mm_add_epi64(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
    return static_cast<std::uint64_t>(_mm_cvtsi128_si64(two)) +
           static_cast<std::uint64_t>(_mm_extract_epi64(two, 1));
}

// A multiple of 32 bytes, at most piece_len_max.
[[gnu::target("avx2")]] std::uint64_t sum_piece(const std::byte* at, std::size_t len) {
    const __m256i ones = _mm256_set1_epi16(1);
    const __m256i turn = _mm256_set1_epi16(-32768);
    __m256i lanes[4] = {};
    const std::byte* const end = at + len;
    const auto add = [&](__m256i & into, const std::byte* from) __attribute__((target("avx2"))) {
        const __m256i words =
            _mm256_loadu_si256(static_cast<const __m256i*>(static_cast<const void*>(from)));
        into = _mm256_add_epi32(into, _mm256_madd_epi16(_mm256_xor_si256(words, turn), ones));
    };
    for (; static_cast<std::size_t>(end - at) >= 4 * step; at += 4 * step) {
        add(lanes[0], at);
        add(lanes[1], at + step);
        add(lanes[2], at + 2 * step);
        add(lanes[3], at + 3 * step);
    }
    for (; at != end; at += step) add(lanes[0], at);
    const std::uint64_t sum = add_lanes(_mm256_add_epi32(_mm256_add_epi32(lanes[0], lanes[1]),
                                                         _mm256_add_epi32(lanes[2], lanes[3])));
    return sum + len / 2 * 32768;
}

std::uint64_t sum_avx2(Bytes bytes) {
    std::uint64_t sum = 0;
    while (bytes.size() >= step) {
        const std::size_t len = std::min(bytes.size() / step * step, piece_len_max);
        sum = add_carrying(sum, sum_piece(bytes.data(), len));
        bytes = bytes.subspan(len);
    }
    return add_carrying(sum, sum_plain(bytes));
}

}  // namespace

SumFunction wide_sum() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") ? sum_avx2 : nullptr;
}

}  // namespace wire
