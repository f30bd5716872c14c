// Literal bytes for tests.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "voter/types.hh"

namespace test {

// The view's bytes; the view must outlive them.
inline voter::Bytes bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

inline std::string text(voter::Bytes bytes) {
    std::string text;
    for (const std::byte byte : bytes) text.push_back(std::to_integer<char>(byte));
    return text;
}

}  // namespace test
