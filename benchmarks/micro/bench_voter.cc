// What a decision costs: ballot and comparison of three replies, the digest, accusation. The 7, 23
// and 81 ns of three memcmps at 64, 256 and 1400 octets are the floor under a ballot.
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>

#include "voter/accusation.hh"
#include "voter/ballot.hh"
#include "voter/comparator.hh"
#include "voter/xxh3.hh"

namespace {

using namespace voter;

struct Replies {
    explicit Replies(std::size_t length) {
        for (auto& reply : bytes) {
            for (std::size_t i = 0; i < length; ++i) reply.push_back(std::byte(i * 31));
        }
    }
    std::array<std::vector<std::byte>, 3> bytes;
};

std::size_t length(const benchmark::State& state) {
    return static_cast<std::size_t>(state.range(0));
}

// From the first reply to the third, as the pipeline casts them.
void count_ballot(benchmark::State& state, const Comparator& comparator, const Replies& replies) {
    const WorkspacePtr workspace = make_workspace();
    for (auto _ : state) {
        Ballot ballot(SlotSet::first(3), Rules{});
        for (std::uint8_t slot = 0; slot < 3; ++slot) {
            const Bytes reply = replies.bytes[slot];
            benchmark::DoNotOptimize(reply.data());
            ballot.cast(ReplicaId{slot}, [&](ReplicaId holder) {
                return comparator.compare(replies.bytes[holder.value], reply, *workspace);
            });
        }
        benchmark::DoNotOptimize(ballot);
    }
}

void ballot_equal(benchmark::State& state) {
    count_ballot(state, Comparator(), Replies(length(state)));
}
BENCHMARK(ballot_equal)->Arg(64)->Arg(256)->Arg(1400);

void ballot_last_byte_lies(benchmark::State& state) {
    Replies replies(length(state));
    replies.bytes[1].back() ^= std::byte{1};
    count_ballot(state, Comparator(), replies);
}
BENCHMARK(ballot_last_byte_lies)->Arg(64)->Arg(256)->Arg(1400);

// The masked ranges differ, so that every comparison goes through them.
void ballot_mask(benchmark::State& state) {
    Replies replies(length(state));
    const std::array ranges{MaskRange{4, 8, MaskRange::On::zero},
                            MaskRange{32, 4, MaskRange::On::taken}};
    for (std::size_t i = 0; i < 3; ++i) replies.bytes[i][8] = std::byte(i);
    count_ballot(state, Comparator(std::span<const MaskRange>(ranges)), replies);
}
BENCHMARK(ballot_mask)->Arg(64)->Arg(256)->Arg(1400);

void compose_mask(benchmark::State& state) {
    const WorkspacePtr workspace = make_workspace();
    const Replies replies(length(state));
    const std::array ranges{MaskRange{4, 8, MaskRange::On::zero},
                            MaskRange{32, 4, MaskRange::On::taken}};
    const Comparator comparator{std::span<const MaskRange>(ranges)};
    const std::array<Bytes, 3> agreeing{replies.bytes[0], replies.bytes[1], replies.bytes[2]};
    std::vector<std::byte> out(length(state));
    for (auto _ : state) {
        benchmark::DoNotOptimize(comparator.compose({}, agreeing, 2, out, *workspace));
        benchmark::ClobberMemory();
    }
}
BENCHMARK(compose_mask)->Arg(64)->Arg(256)->Arg(1400);

void digest(benchmark::State& state) {
    const Replies replies(length(state));
    for (auto _ : state) benchmark::DoNotOptimize(digest_of(replies.bytes[0], {1}));
}
BENCHMARK(digest)->Arg(64)->Arg(256)->Arg(1400);

void digest_baseline(benchmark::State& state) {
    const Replies replies(length(state));
    Digest digest;
    for (auto _ : state) {
        xxh3_baseline(replies.bytes[0].data(), replies.bytes[0].size(), 1, &digest.low,
                      &digest.high);
        benchmark::DoNotOptimize(digest);
    }
}
BENCHMARK(digest_baseline)->Arg(64)->Arg(256)->Arg(1400);

AccusationRules rules() {
    AccusationRules rules;
    rules.window = Ticks{10'000'000'000};
    return rules;
}

void accusation_agreed(benchmark::State& state) {
    const auto accusation = std::make_unique<Accusation>(rules());
    std::uint64_t n = 0;
    for (auto _ : state) {
        ++n;
        accusation->agreed(SourceId{n * 0x9e3779b97f4a7c15}, Ticks{n * 1000});
    }
}
BENCHMARK(accusation_agreed);

// A liar in every ballot, before more sources than the table holds; weighing included.
void accusation_of_a_liar(benchmark::State& state) {
    const auto accusation = std::make_unique<Accusation>(rules());
    std::uint64_t n = 0;
    for (auto _ : state) {
        ++n;
        const SourceId source{n % 10'000 * 0x9e3779b97f4a7c15};
        accusation->agreed(source, Ticks{n * 1000});
        benchmark::DoNotOptimize(accusation->record(Fault::dissent, ReplicaId{1}, source,
                                                    RequestKind{1}, Ticks{n * 1000}));
    }
}
BENCHMARK(accusation_of_a_liar);

// One look at a full table.
void accusation_weighing(benchmark::State& state) {
    const auto full = std::make_unique<Accusation>(rules());
    for (std::uint64_t n = 0; n < 10'000; ++n) {
        full->record(Fault::dissent, ReplicaId{static_cast<std::uint8_t>(n % 3)},
                     SourceId{n * 0x9e3779b97f4a7c15},
                     RequestKind{static_cast<std::uint32_t>(n % 7)}, Ticks{n});
    }
    for (auto _ : state) full->forget(ReplicaId{6});  // weighs dissent and silence
}
BENCHMARK(accusation_weighing);

}  // namespace
