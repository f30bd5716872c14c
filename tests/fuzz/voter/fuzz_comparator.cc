// `bytes` and `mask` against a byte-by-byte reading of their rules: what is compared, what a late
// vote is compared by, and that nothing is composed that a quorum did not send.
#include <array>
#include <string_view>
#include <vector>

#include "tests/fuzz/voter/dns_input.hh"
#include "voter/comparator.hh"

using namespace voter;

namespace {

Workspace& workspace() {
    static const WorkspacePtr owner = make_workspace();
    return *owner;
}

struct Rule {
    std::vector<MaskRange> ranges;
    bool covered(std::size_t at, MaskRange::On on) const {
        return std::ranges::any_of(ranges, [&](const MaskRange& range) {
            return range.on == on && at >= range.offset &&
                   at - range.offset < std::size_t{range.length};
        });
    }
    bool voted(std::size_t at) const {
        return !covered(at, MaskRange::On::zero) && !covered(at, MaskRange::On::taken);
    }
    Likeness likeness(Bytes a, Bytes b) const {
        if (a.size() != b.size()) return Likeness::different;
        Likeness found = Likeness::identical;
        for (std::size_t i = 0; i < a.size(); ++i) {
            if (a[i] == b[i]) continue;
            if (voted(i)) return Likeness::different;
            found = Likeness::same;
        }
        return found;
    }
};

// Mostly near what a reply is long, sometimes at the edge of the type.
std::uint32_t number(DnsInput& input) {
    const std::uint32_t value = input.octet();
    return value < 0xf0 ? value : 0xffff'ff00u | input.octet();
}

void check_compose(const Comparator& comparator, const Rule& rule, std::span<const Bytes> agreeing,
                   unsigned quorum, std::size_t room) {
    std::vector<std::byte> out(room);
    const std::size_t length = comparator.compose({}, agreeing, quorum, out, workspace());
    const Bytes first = agreeing.front();
    if (agreeing.size() < quorum || first.size() > room || first.empty()) {
        REQUIRE(length == 0);
        return;
    }
    REQUIRE(length == first.size());
    for (std::size_t i = 0; i < length; ++i) {
        const auto senders =
            std::ranges::count_if(agreeing, [&](Bytes reply) { return reply[i] == out[i]; });
        const bool sent = senders >= static_cast<std::ptrdiff_t>(quorum);
        if (rule.voted(i)) {
            REQUIRE(out[i] == first[i]);
        } else if (rule.covered(i, MaskRange::On::zero)) {
            REQUIRE(out[i] == std::byte{0});
        } else {
            REQUIRE(sent || out[i] == std::byte{0});
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    DnsInput input(data, size);
    Rule rule;
    const unsigned ranges = input.octet() % (mask_ranges_max + 1);
    for (unsigned i = 0; i < ranges; ++i) {
        const auto on = input.octet() % 2 ? MaskRange::On::taken : MaskRange::On::zero;
        const std::uint32_t offset = number(input);
        rule.ranges.push_back({offset, number(input), on});
    }
    const bool masks = input.octet() % 4 != 0;
    if (!masks) rule.ranges.clear();
    const Comparator comparator =
        masks ? Comparator(std::span<const MaskRange>(rule.ranges)) : Comparator();
    const unsigned quorum = 1 + input.octet() % 4;
    const std::size_t room = input.octet() * 4u;
    const DigestKey key{input.octet()};

    // Copies of the first reply with a few bytes changed, so that many of them agree.
    const Bytes first = input.message();
    std::vector<std::vector<std::byte>> replies;
    const unsigned count = 1 + input.octet() % replicas_max;
    for (unsigned i = 0; i < count; ++i) {
        std::vector<std::byte> reply(first.begin(), first.end());
        for (unsigned changes = input.octet() % 4; changes > 0 && !reply.empty(); --changes) {
            const std::size_t at = input.octet() % reply.size();
            reply[at] = std::byte{input.octet()};
        }
        if (input.octet() % 16 == 1) reply.resize(input.octet());
        replies.push_back(std::move(reply));
    }

    std::vector<Bytes> agreeing;
    for (const auto& reply : replies) {
        const Likeness expected = rule.likeness(replies.front(), reply);
        REQUIRE(comparator.compare(replies.front(), reply, workspace()) == expected);
        REQUIRE(comparator.compare(reply, replies.front(), workspace()) == expected);
        const Fingerprint winner = comparator.fingerprint(replies.front(), key, workspace());
        REQUIRE(comparator.compare(winner, reply, key, workspace()) == expected);
        std::array<char, 24> text;
        const std::size_t said =
            comparator.describe_difference(replies.front(), reply, text, workspace());
        REQUIRE(said <= text.size());
        REQUIRE((said > 0) == (expected == Likeness::different));
        if (expected != Likeness::different) agreeing.push_back(reply);
    }
    check_compose(comparator, rule, agreeing, quorum, room);
    return 0;
}
