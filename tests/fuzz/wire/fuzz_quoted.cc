// parse_quoted(): within its bytes, and blind to what is behind the quoted packet.
#include "tests/fuzz/wire/frames.hh"

namespace {

using wire::DropReason;
using wire::Frame;
using wire::Layer4;

void check(wire::Bytes quoted) {
    Frame parsed;
    const DropReason reason = wire::parse_quoted(quoted, parsed);
    FUZZ_CHECK(std::size_t{parsed.l4_offset} + parsed.l4_length <= quoted.size());
    if (reason != DropReason::none) return;
    FUZZ_CHECK(parsed.l3_offset == 0);
    FUZZ_CHECK(parsed.ip_source.is_v4() == parsed.ip_destination.is_v4());
    FUZZ_CHECK(parsed.ip_source.is_v4() == (parsed.layer3 == wire::Layer3::ipv4));
    if (parsed.layer4 == Layer4::none) {
        FUZZ_CHECK(parsed.fragment);
        return;
    }
    FUZZ_CHECK(parsed.l4_length >= 8);
    FUZZ_CHECK(parsed.payload_offset + parsed.payload_length <= parsed.end());
    if (parsed.layer4 == Layer4::udp || parsed.layer4 == Layer4::tcp) {
        FUZZ_CHECK(parsed.source_port != 0 && parsed.destination_port != 0);
    }
    Frame again;
    FUZZ_CHECK(wire::parse_quoted(quoted.first(parsed.end()), again) == DropReason::none);
    FUZZ_CHECK(again.source_port == parsed.source_port);
    FUZZ_CHECK(again.l4_length == parsed.l4_length);
    FUZZ_CHECK(again.payload_length == parsed.payload_length);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    check(fuzz::bytes(data, size));
    return 0;
}
