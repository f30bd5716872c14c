// parse_frame(): whatever it takes lies within the frame, does not depend on what is behind the
// packet, and can be answered.
#include <array>
#include <tuple>

#include "tests/fuzz/wire/frames.hh"
#include "wire/write.hh"

namespace {

using wire::DropReason;
using wire::Frame;
using wire::Layer3;
using wire::Layer4;

auto all(const Frame& f) {
    return std::tuple(f.destination, f.source, f.vlan, f.tagged, f.layer3, f.layer4, f.fragment,
                      f.protocol, f.ether_type, f.l3_offset, f.l4_offset, f.l4_length, f.ip_source,
                      f.ip_destination, f.source_port, f.destination_port, f.payload_offset,
                      f.payload_length, f.icmp_type, f.icmp_code);
}

void check_ip(wire::Bytes frame, const Frame& parsed) {
    const std::size_t end = std::size_t{parsed.l4_offset} + parsed.l4_length;
    FUZZ_CHECK(end <= frame.size());
    FUZZ_CHECK(parsed.l4_offset > parsed.l3_offset);
    FUZZ_CHECK(parsed.ip_source.is_v4() == (parsed.layer3 == Layer3::ipv4));
    FUZZ_CHECK(parsed.ip_destination.is_v4() == (parsed.layer3 == Layer3::ipv4));
    FUZZ_CHECK(parsed.fragment == (parsed.layer4 == Layer4::none));
    FUZZ_CHECK(parsed.layer4 != Layer4::other);
    if (!parsed.fragment) {
        FUZZ_CHECK(parsed.payload_offset > parsed.l4_offset);
        FUZZ_CHECK(std::size_t{parsed.payload_offset} + parsed.payload_length <= end);
    }
    if (parsed.layer4 == Layer4::udp || parsed.layer4 == Layer4::tcp) {
        FUZZ_CHECK(parsed.source_port != 0 && parsed.destination_port != 0);
    }
    // The same without what is behind the packet, and with more of it.
    Frame again;
    FUZZ_CHECK(wire::parse_frame(frame.first(end), again) == DropReason::none);
    FUZZ_CHECK(all(again) == all(parsed));
    std::vector<std::byte> padded(frame.begin(), frame.end());
    if (padded.size() + 9 <= wire::frame_len_max) {
        padded.resize(padded.size() + 9, std::byte{0xa5});
        FUZZ_CHECK(wire::parse_frame(padded, again) == DropReason::none);
        FUZZ_CHECK(all(again) == all(parsed));
    }
}

void check_written(wire::Bytes out, std::size_t length) {
    if (length == 0) return;
    Frame parsed;
    FUZZ_CHECK(wire::parse_frame(out.first(length), parsed) == DropReason::none);
    FUZZ_CHECK(parsed.end() == length);
    FUZZ_CHECK(wire::l4_checksum_right(out.first(length), parsed));
}

// Replies go back to addresses that parse as a source: the peer's was one, ours is.
void check_answers(wire::Bytes frame, Frame parsed) {
    static std::array<std::byte, wire::frame_len_max> out;
    const wire::LinkHeader link{parsed.source, parsed.source, parsed.vlan, parsed.tagged};
    parsed.ip_destination = parsed.layer3 == Layer3::ipv4 ? wire::IpAddress::v4(0xc6336401)
                                                          : wire::IpAddress{{0x20, 1}};
    check_written(out, wire::write_echo_reply(out, link, frame, parsed, 1));
    check_written(out, wire::write_tcp_reset(out, link, frame, parsed, 1));
    const std::size_t length =
        wire::write_icmp_error(out, link, parsed.ip_destination, parsed.ip_source, 3, 3, 0,
                               frame.subspan(parsed.l3_offset), 1);
    check_written(out, length);
    if (parsed.layer4 == Layer4::udp) {
        const std::size_t udp_len =
            wire::write_udp(out, link, parsed.ip_destination, parsed.destination_port,
                            parsed.ip_source, parsed.source_port, 1, parsed.payload(frame));
        check_written(out, udp_len);
        // What comes back about a datagram names its ports.
        Frame quoted;
        FUZZ_CHECK(wire::parse_quoted(frame.subspan(parsed.l3_offset), quoted) == DropReason::none);
        FUZZ_CHECK(quoted.ip_source == parsed.ip_source);
        FUZZ_CHECK(quoted.source_port == parsed.source_port);
        FUZZ_CHECK(quoted.destination_port == parsed.destination_port);
        FUZZ_CHECK(quoted.payload_length == parsed.payload_length);
    }
}

void check(wire::Bytes frame) {
    Frame parsed;
    const DropReason reason = wire::parse_frame(frame, parsed);
    FUZZ_CHECK(reason == DropReason::none ||
               static_cast<std::size_t>(reason) < wire::drop_reasons_count);
    FUZZ_CHECK(parsed.l3_offset <= frame.size());
    FUZZ_CHECK(std::size_t{parsed.l4_offset} + parsed.l4_length <= frame.size());
    if (reason != DropReason::none) return;
    FUZZ_CHECK(!parsed.source.is_multicast());
    FUZZ_CHECK(parsed.layer3 != Layer3::other);
    if (parsed.layer3 == Layer3::arp) {
        FUZZ_CHECK(frame.size() >= parsed.l3_offset + wire::arp_len);
        return;
    }
    check_ip(frame, parsed);
    check_answers(frame, parsed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    check(fuzz::bytes(data, size));
    check(fuzz::with_right_header_checksum(fuzz::bytes(data, size)));
    return 0;
}
