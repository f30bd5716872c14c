// What goes over the wire: a request begins with its number, an answer is that and the count, each
// 64 bits in network order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace counter {

constexpr std::size_t request_bytes_min = 8;
constexpr std::size_t answer_bytes = 16;

using Answer = std::array<std::uint8_t, answer_bytes>;

inline void put_64(std::uint8_t* to, std::uint64_t value) {
    for (int i = 7; i >= 0; --i, value >>= 8) to[i] = static_cast<std::uint8_t>(value);
}

inline std::uint64_t get_64(const std::uint8_t* from) {
    std::uint64_t value = 0;
    for (int i = 0; i < 8; ++i) value = value << 8 | from[i];
    return value;
}

inline Answer answer_of(std::uint64_t request, std::uint64_t count) {
    Answer answer;
    put_64(answer.data(), request);
    put_64(answer.data() + 8, count);
    return answer;
}
inline std::uint64_t request_in(const Answer& answer) { return get_64(answer.data()); }
inline std::uint64_t count_in(const Answer& answer) { return get_64(answer.data() + 8); }

}  // namespace counter
