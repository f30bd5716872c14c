// Ties a reply to its request by what the protocol carries: a short key to find candidates within a
// flow, and an exact check against the request itself. A matcher reads untrusted bytes and answers
// nothing where they are too short.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>

#include "voter/types.hh"

namespace voter {

enum class MatcherKind : std::uint8_t {
    dns,            // id; then the question, where the reply has one
    memcached,      // request id of the UDP frame header; a reply may have several datagrams
    offset_length,  // the bytes at an offset, equal in request and reply
    fifo,           // one reply per request, one request outstanding per flow
};

// Where a reply belongs within its flow.
struct MatchKey {
    std::uint64_t request = 0;  // short key of the request; two requests of a flow may share it
    std::uint16_t unit = 0;     // which datagram of the reply this is
    std::uint16_t units = 1;    // of how many, as the reply says (never trusted beyond units_max)
};
constexpr unsigned units_max = 64;

class Matcher {
  public:
    Matcher() = default;  // fifo
    explicit Matcher(MatcherKind kind) : kind_(kind) {}
    // 1 <= length <= 8 (clamped to that)
    static Matcher offset_length(std::uint16_t offset, std::uint8_t length);

    MatcherKind kind() const { return kind_; }
    // offset_length only.
    std::uint16_t offset() const { return offset_; }
    std::uint8_t length() const { return length_; }
    bool one_outstanding() const { return kind_ == MatcherKind::fifo; }

    // nullopt: this is no request (too short, or a response bit is set): the caller drops it.
    std::optional<MatchKey> request_key(Bytes request) const {
        return kind_ == MatcherKind::offset_length ? field_key(request)
                                                   : protocol_request_key(request);
    }
    std::optional<MatchKey> reply_key(Bytes reply) const {
        return kind_ == MatcherKind::offset_length ? field_key(reply) : protocol_reply_key(reply);
    }
    // After the keys were equal: is this the reply to that request?
    bool answers(Bytes request, Bytes reply) const {
        // Of the others the key is all there is to check.
        return kind_ != MatcherKind::dns || protocol_answers(request, reply);
    }
    // After the keys were equal: is this the same request again?
    bool repeats(Bytes request, Bytes again) const;
    // What is asked for, as far as the protocol tells. Used to attribute dissent.
    RequestKind kind_of(Bytes request) const;

  private:
    std::optional<MatchKey> field_key(Bytes bytes) const {
        if (bytes.size() < std::size_t{offset_} + length_) return std::nullopt;
        std::uint64_t wide = 0;
        if (bytes.size() >= offset_ + sizeof wide) {
            std::memcpy(&wide, bytes.data() + offset_, sizeof wide);
        } else {
            std::memcpy(&wide, bytes.data() + offset_, length_);
        }
        return MatchKey{__builtin_bswap64(wide) >> (64 - 8 * length_)};
    }
    std::optional<MatchKey> protocol_request_key(Bytes request) const;
    std::optional<MatchKey> protocol_reply_key(Bytes reply) const;
    static bool protocol_answers(Bytes request, Bytes reply);

    MatcherKind kind_ = MatcherKind::fifo;
    std::uint16_t offset_ = 0;
    std::uint8_t length_ = 0;
};

}  // namespace voter
