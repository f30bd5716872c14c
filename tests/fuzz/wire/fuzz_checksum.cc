// Sums against the obvious one, at every alignment the input's first byte asks for; a checksum that
// was written is right, and one that is right is what would have been written.
#include "tests/fuzz/wire/frames.hh"

namespace {

using wire::DropReason;
using wire::Frame;

std::uint16_t obvious_checksum(wire::Bytes bytes) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const auto octet = std::to_integer<std::uint64_t>(bytes[i]);
        sum += i % 2 == 0 ? octet * 256 : octet;
    }
    while (sum > 0xffff) sum = sum % 0x10000 + sum / 0x10000;
    return static_cast<std::uint16_t>(0xffff - sum);
}

void check_sum(wire::Bytes input) {
    if (input.empty()) return;
    const std::size_t offset = wire::load_u8(input.data()) % 64;
    std::vector<std::byte> shifted(offset);
    shifted.insert(shifted.end(), input.begin(), input.end());
    const wire::Bytes bytes = wire::Bytes(shifted).subspan(offset);
    FUZZ_CHECK(wire::fold_checksum(wire::sum_bytes(bytes)) == obvious_checksum(bytes));
    const std::size_t cut = bytes.size() / 4 * 2;
    const std::uint64_t parts =
        wire::sum_bytes(bytes.first(cut)) + wire::sum_bytes(bytes.subspan(cut));
    FUZZ_CHECK(wire::fold_checksum(parts) == obvious_checksum(bytes));
}

void check_frame(wire::Bytes input) {
    std::vector<std::byte> frame = fuzz::with_right_header_checksum(input);
    Frame parsed;
    if (wire::parse_frame(frame, parsed) != DropReason::none || parsed.fragment ||
        parsed.layer3 == wire::Layer3::arp) {
        return;
    }
    const std::vector<std::byte> before = frame;
    const bool right = wire::l4_checksum_right(frame, parsed);
    wire::write_l4_checksum(frame, parsed);
    FUZZ_CHECK(wire::l4_checksum_right(frame, parsed));
    std::size_t field = parsed.l4_offset + 2u;
    if (parsed.layer4 == wire::Layer4::udp) field = parsed.l4_offset + 6u;
    if (parsed.layer4 == wire::Layer4::tcp) field = parsed.l4_offset + 16u;
    const std::uint16_t given = wire::load_be16(before.data() + field);
    const std::uint16_t own = wire::load_be16(frame.data() + field);
    const bool none = parsed.layer4 == wire::Layer4::udp && given == 0;
    // 0xffff is the other form of 0 (not so the other way: only of zero bytes is it 0xffff).
    const bool same = given == own || (given == 0xffff && own == 0);
    FUZZ_CHECK(right == (none ? parsed.layer3 == wire::Layer3::ipv4 : same));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    check_sum(fuzz::bytes(data, size));
    check_frame(fuzz::bytes(data, size));
    return 0;
}
