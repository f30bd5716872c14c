#include "voter/matcher.hh"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "voter/dns_matcher.hh"

namespace voter {

namespace {

std::uint64_t load_be(Bytes bytes) {
    std::uint64_t value = 0;
    for (const std::byte byte : bytes) value = value << 8 | std::to_integer<std::uint64_t>(byte);
    return value;
}

bool equal(Bytes a, Bytes b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

// memcached's frame header over UDP (protocol.txt, "UDP protocol"): request id, sequence number,
// number of datagrams in this message, reserved; 16 bits each, big-endian.
namespace memcached {

constexpr std::size_t header_len = 8;

struct Frame {
    std::uint16_t request_id;
    std::uint16_t sequence;
    std::uint16_t total;
};

std::optional<Frame> parse(Bytes datagram) {
    if (datagram.size() < header_len) return std::nullopt;
    const auto field = [&](std::size_t at) {
        return static_cast<std::uint16_t>(load_be(datagram.subspan(at, 2)));
    };
    return Frame{field(0), field(2), field(4)};
}

std::optional<MatchKey> request_key(Bytes request) {
    const auto frame = parse(request);
    // A request of several datagrams is one that memcached does not take either.
    if (!frame || frame->sequence != 0 || frame->total != 1) return std::nullopt;
    return MatchKey{frame->request_id};
}

std::optional<MatchKey> reply_key(Bytes reply) {
    const auto frame = parse(reply);
    if (!frame || frame->total > units_max || frame->sequence >= frame->total) return std::nullopt;
    return MatchKey{frame->request_id, frame->sequence, frame->total};
}

// The verb, of the text protocol or (first byte 0x80) the binary one. Only verbs that exist make a
// kind: a client must not be able to invent them.
RequestKind kind_of(Bytes request) {
    static constexpr auto verbs = std::to_array<std::string_view>({"get",
                                                                   "gets",
                                                                   "gat",
                                                                   "gats",
                                                                   "set",
                                                                   "add",
                                                                   "replace",
                                                                   "append",
                                                                   "prepend",
                                                                   "cas",
                                                                   "incr",
                                                                   "decr",
                                                                   "delete",
                                                                   "touch",
                                                                   "stats",
                                                                   "version",
                                                                   "verbosity",
                                                                   "flush_all",
                                                                   "mg",
                                                                   "ms",
                                                                   "md",
                                                                   "ma",
                                                                   "mn",
                                                                   "me",
                                                                   "slabs",
                                                                   "lru",
                                                                   "watch",
                                                                   "lru_crawler",
                                                                   "cache_memlimit",
                                                                   "shutdown"});
    constexpr std::uint32_t binary = 0x100;
    if (request.size() <= header_len) return {};
    const Bytes body = request.subspan(header_len);
    if (body[0] == std::byte{0x80}) {
        return body.size() < 2 ? RequestKind{}
                               : RequestKind{binary + std::to_integer<unsigned>(body[1])};
    }
    for (std::size_t i = 0; i < verbs.size(); ++i) {
        const std::string_view verb = verbs[i];
        if (body.size() <= verb.size()) continue;
        const auto after = std::to_integer<char>(body[verb.size()]);
        if (std::memcmp(body.data(), verb.data(), verb.size()) == 0 &&
            (after == ' ' || after == '\r' || after == '\n')) {
            return RequestKind{static_cast<std::uint32_t>(i + 1)};
        }
    }
    return {};
}

}  // namespace memcached

}  // namespace

Matcher Matcher::offset_length(std::uint16_t offset, std::uint8_t length) {
    Matcher matcher(MatcherKind::offset_length);
    matcher.offset_ = offset;
    matcher.length_ = std::clamp<std::uint8_t>(length, 1, 8);
    return matcher;
}

std::optional<MatchKey> Matcher::protocol_request_key(Bytes request) const {
    switch (kind_) {
        case MatcherKind::dns:
            return dns::request_key(request);
        case MatcherKind::memcached:
            return memcached::request_key(request);
        case MatcherKind::offset_length:
            return field_key(request);
        case MatcherKind::fifo:
            return MatchKey{};
    }
    return std::nullopt;
}

std::optional<MatchKey> Matcher::protocol_reply_key(Bytes reply) const {
    switch (kind_) {
        case MatcherKind::dns:
            return dns::reply_key(reply);
        case MatcherKind::memcached:
            return memcached::reply_key(reply);
        case MatcherKind::offset_length:
            return field_key(reply);
        case MatcherKind::fifo:
            return MatchKey{};
    }
    return std::nullopt;
}

bool Matcher::protocol_answers(Bytes request, Bytes reply) { return dns::answers(request, reply); }

bool Matcher::repeats(Bytes request, Bytes again) const {
    return kind_ == MatcherKind::dns ? dns::repeats(request, again) : equal(request, again);
}

RequestKind Matcher::kind_of(Bytes request) const {
    switch (kind_) {
        case MatcherKind::dns:
            return dns::kind_of(request);
        case MatcherKind::memcached:
            return memcached::kind_of(request);
        case MatcherKind::offset_length:
        case MatcherKind::fifo:
            return {};
    }
    return {};
}

}  // namespace voter
