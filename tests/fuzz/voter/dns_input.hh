// How the DNS fuzzers cut one input into messages: two octets of length, so many octets (or what is
// left of them), and again. make_dns_seeds writes the same.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "voter/types.hh"

#define REQUIRE(condition)                                                               \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            std::abort();                                                                \
        }                                                                                \
    } while (false)

class DnsInput {
  public:
    DnsInput(const std::uint8_t* data, std::size_t size)
        : rest_(std::as_bytes(std::span(data, size))) {}

    std::uint8_t octet() {
        if (rest_.empty()) return 0;
        const auto value = std::to_integer<std::uint8_t>(rest_[0]);
        rest_ = rest_.subspan(1);
        return value;
    }
    voter::Bytes message() {
        const std::size_t high = octet();
        const std::size_t length = std::min<std::size_t>(high << 8 | octet(), rest_.size());
        const voter::Bytes taken = rest_.first(length);
        rest_ = rest_.subspan(length);
        return taken;
    }

  private:
    voter::Bytes rest_;
};
