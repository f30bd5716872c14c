// Neighbour questions: the answer to whatever passes for one parses, is right, and is no question.
#include <array>

#include "tests/fuzz/wire/frames.hh"
#include "wire/neighbour.hh"

namespace {

using wire::DropReason;
using wire::Frame;

void check(wire::Bytes frame) {
    Frame parsed;
    if (wire::parse_frame(frame, parsed) != DropReason::none) return;
    DropReason why{};
    const auto question = wire::neighbour_question(frame, parsed, why);
    FUZZ_CHECK(question.has_value() == (why == DropReason::none));
    if (!question) {
        FUZZ_CHECK(why == DropReason::neighbour_ignored || why == DropReason::bad_arp);
        return;
    }
    FUZZ_CHECK(!question->asker_mac.is_multicast());
    FUZZ_CHECK(question->asker.is_v4() == question->target.is_v4() || question->probe);
    const wire::MacAddress ours{{2, 0, 0, 0, 0, 1}};
    std::array<std::byte, wire::neighbour_reply_len_max> out;
    const std::size_t length = wire::write_neighbour_answer(parsed, *question, ours, out);
    FUZZ_CHECK(length > 0);
    const wire::Bytes answer = wire::Bytes(out).first(length);
    Frame answered;
    const DropReason reason = wire::parse_frame(answer, answered);
    // A target that is nobody's address, as ::1, is for the caller to know.
    if (reason == DropReason::bad_ip_source) return;
    FUZZ_CHECK(reason == DropReason::none);
    FUZZ_CHECK(answered.layer3 == parsed.layer3);
    FUZZ_CHECK(answered.tagged == parsed.tagged && answered.vlan == parsed.vlan);
    FUZZ_CHECK(answered.ip_source == question->target);
    FUZZ_CHECK(question->probe || answered.ip_destination == question->asker);
    if (answered.layer3 == wire::Layer3::ipv6) {
        FUZZ_CHECK(wire::l4_checksum_right(answer, answered));
    }
    FUZZ_CHECK(!wire::neighbour_question(answer, answered, why));
    FUZZ_CHECK(why == DropReason::neighbour_ignored);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const wire::Bytes input = fuzz::bytes(data, size);
    check(input);
    // Past the ICMPv6 checksum as well.
    std::vector<std::byte> frame(input.begin(), input.end());
    Frame parsed;
    if (wire::parse_frame(frame, parsed) == DropReason::none) {
        wire::write_l4_checksum(frame, parsed);
        check(frame);
    }
    return 0;
}
