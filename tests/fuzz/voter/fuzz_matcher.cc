// The matchers memcached, offset_length and fifo on any bytes: no reading out of bounds, units
// within their limit, and keys that say what the bytes say.
#include <vector>

#include "tests/fuzz/voter/dns_input.hh"
#include "voter/matcher.hh"

using namespace voter;

namespace {

std::vector<std::byte> copy(Bytes bytes) { return {bytes.begin(), bytes.end()}; }
unsigned field(Bytes bytes, std::size_t at) {
    return std::to_integer<unsigned>(bytes[at]) << 8 | std::to_integer<unsigned>(bytes[at + 1]);
}

void check_memcached(Bytes request, Bytes reply) {
    const Matcher matcher(MatcherKind::memcached);
    const auto asked = matcher.request_key(request);
    REQUIRE(asked.has_value() ==
            (request.size() >= 8 && field(request, 2) == 0 && field(request, 4) == 1));
    REQUIRE(!asked ||
            (asked->request == field(request, 0) && asked->unit == 0 && asked->units == 1));
    const auto said = matcher.reply_key(reply);
    REQUIRE(said.has_value() == (reply.size() >= 8 && field(reply, 4) <= units_max &&
                                 field(reply, 2) < field(reply, 4)));
    REQUIRE(!said || (said->unit < said->units && said->units <= units_max));
    REQUIRE(matcher.kind_of(request).value < 0x200);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    DnsInput input(data, size);
    const auto offset =
        static_cast<std::uint16_t>(input.octet() % 2 ? input.octet() : 0xff00 + input.octet());
    const std::uint8_t length = input.octet();
    const auto request = copy(input.message());
    const auto reply = copy(input.message());

    check_memcached(request, reply);
    const Matcher by_field = Matcher::offset_length(offset, length);
    for (const Matcher& matcher : {by_field, Matcher(), Matcher(MatcherKind::memcached)}) {
        REQUIRE(matcher.repeats(request, request));
        REQUIRE(matcher.repeats(request, reply) == (request == reply));
        if (matcher.request_key(request)) REQUIRE(matcher.answers(request, reply));
        matcher.kind_of(request);
    }
    const std::size_t least = offset + std::size_t{std::clamp<std::uint8_t>(length, 1, 8)};
    REQUIRE(by_field.request_key(request).has_value() == (request.size() >= least));
    const auto asked = by_field.request_key(request);
    const auto said = by_field.reply_key(reply);
    if (asked && said) {
        const bool equal = std::equal(request.begin() + offset,
                                      request.begin() + static_cast<std::ptrdiff_t>(least),
                                      reply.begin() + offset);
        REQUIRE((asked->request == said->request) == equal);
    }
    return 0;
}
