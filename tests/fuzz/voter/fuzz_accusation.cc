// Any sequence of calls, with time that jumps: nothing but bounds and bookkeeping is checked here,
// who is accused is the unit test's. Few sources are given, so that nobody may become a suspect.
#include <array>

#include "tests/fuzz/voter/dns_input.hh"
#include "voter/accusation.hh"

using namespace voter;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    DnsInput input(data, std::min<std::size_t>(size, 4096));
    AccusationRules rules;
    rules.window = Ticks{input.octet()};
    rules.dissents_min = input.octet() % 32;
    rules.silences_min = input.octet() % 32;
    rules.sources_min = 3;
    rules.share_percent = input.octet() % 101;
    rules.faults = input.octet();
    static Accusation accusation;  // too large for a fuzzer's stack
    accusation = Accusation(rules);
    const bool lonely = input.octet() % 2 == 0;

    std::uint64_t now = 0;
    std::uint64_t latest = 0;
    for (std::size_t i = 0; i < 1000; ++i) {
        const unsigned what = input.octet();
        if (what == 0) break;
        const ReplicaId slot{static_cast<std::uint8_t>(input.octet() % replicas_max)};
        const SourceId source{lonely ? input.octet() % 2u : input.octet()};
        const RequestKind kind{input.octet() % 32u};
        const unsigned step = input.octet();
        now = step == 255 ? ~std::uint64_t{0} : step == 254 ? 0 : now + step % 16;
        latest = std::max(latest, now);
        const auto before = accusation.standing(slot, Ticks{now});
        if (what % 8 == 0) {
            accusation.forget(slot);
            const auto after = accusation.standing(slot, Ticks{now});
            REQUIRE(after.dissents == 0 && after.silences == 0 && after.sources == 0);
            REQUIRE(!after.suspect);
            continue;
        }
        if (what % 3 == 0) accusation.agreed(source, Ticks{now});
        const Fault fault = what % 2 == 0 ? Fault::dissent : Fault::silence;
        const Finding found = accusation.record(fault, slot, source, kind, Ticks{now});
        const auto after = accusation.standing(slot, Ticks{now});
        REQUIRE(after.dissents + after.silences <= before.dissents + before.silences + 1);
        REQUIRE(after.dissents + after.silences > 0);
        REQUIRE(after.sources > 0);
        REQUIRE(!found.suspect || (after.suspect && !before.suspect) || now < latest);
        REQUIRE(!(lonely && (found.suspect || after.suspect)));
        std::array<RequestKind, 8> marked;
        REQUIRE(accusation.marked_kinds(marked) <= marked.size());
        REQUIRE(!found.kind_marked || accusation.marked_kinds(marked) > 0);
    }
    return 0;
}
