// What the comparator `dns` costs: on replies of about 100, 500 and 1200 bytes that are the same
// but not byte for byte (other order, other OPT), as three servers of different make send them.
#include <algorithm>
#include <vector>

#include <benchmark/benchmark.h>

#include "tests/unit/voter/dns_builder.hh"
#include "voter/comparator.hh"
#include "voter/dns_matcher.hh"

namespace {

using namespace dns_test;

const Octets asked = question("www.example");
const Octets request_bytes = request(7, asked, {{}, {}, {opt(1232)}});
const voter::Comparator comparator(voter::ComparatorKind::dns);

struct Pair {
    Octets a, b;
};

// `records` addresses of 16 octets; other records in the other order, and another OPT.
Pair addresses(unsigned records) {
    Sections sections;
    for (unsigned i = 0; i < records; ++i) sections.answer.push_back(a(to(12), i));
    sections.additional.push_back(opt(1232));
    Pair pair{message(7, standard, asked, sections), {}};
    std::ranges::reverse(sections.answer);
    sections.additional = {opt(4096)};
    pair.b = message(7, standard, asked, sections);
    return pair;
}

// One record each, only the OPT differs: nothing to sort.
Pair other_opt() {
    const Sections sections{{a(to(12), 1)}, {}, {opt(1232)}};
    const Sections other{{a(to(12), 1)}, {}, {opt(4096)}};
    return {message(7, standard, asked, sections), message(7, standard, asked, other)};
}

// 14 octets a record that unpack to 500: the worst that a message of its size can do.
Pair hostile(unsigned records) {
    const std::string label(60, 'x');
    const Octets longest = question(label + "." + label + "." + label + "." + label);
    Sections sections;
    for (unsigned i = 0; i < records; ++i) {
        sections.answer.push_back(record(to(12), 2, i * 7919u % records, to(12)));
    }
    Pair pair{message(7, standard, longest, sections), {}};
    std::ranges::reverse(sections.answer);
    pair.b = message(7, standard, longest, sections);
    return pair;
}

Pair pair_of(std::int64_t which) {
    if (which == 0) return other_opt();
    return which < 0 ? hostile(static_cast<unsigned>(-which))
                     : addresses(static_cast<unsigned>(which));
}

void compare(benchmark::State& state) {
    const Pair pair = pair_of(state.range(0));
    const auto workspace = voter::make_workspace();
    for (auto _ : state) {
        benchmark::DoNotOptimize(comparator.compare(pair.a, pair.b, *workspace));
    }
    state.SetLabel(std::to_string(pair.a.size()) + " bytes");
}

void fingerprint(benchmark::State& state) {
    const Pair pair = pair_of(state.range(0));
    const auto workspace = voter::make_workspace();
    for (auto _ : state) {
        benchmark::DoNotOptimize(comparator.fingerprint(pair.b, {1}, *workspace));
    }
    state.SetLabel(std::to_string(pair.a.size()) + " bytes");
}

void compose(benchmark::State& state) {
    const Pair pair = pair_of(state.range(0));
    const voter::Bytes agreeing[] = {pair.a, pair.b, pair.a};
    const auto workspace = voter::make_workspace();
    Octets out(1500);
    for (auto _ : state) {
        benchmark::DoNotOptimize(comparator.compose(request_bytes, agreeing, 2, out, *workspace));
    }
    state.SetLabel(std::to_string(pair.a.size()) + " bytes");
}

void answers(benchmark::State& state) {
    const Pair pair = pair_of(3);
    for (auto _ : state) {
        benchmark::DoNotOptimize(voter::dns::answers(request_bytes, pair.a));
    }
}

void kind_of(benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(voter::dns::kind_of(request_bytes));
}

// 0: one record, 3: 88 bytes, 28: 488, 74: 1224; below 0: hostile, up to what UDP can carry.
BENCHMARK(compare)->Name("dns_compare")->Arg(0)->Arg(3)->Arg(28)->Arg(74)->Arg(-80)->Arg(-500);
BENCHMARK(fingerprint)->Name("dns_fingerprint")->Arg(0)->Arg(3)->Arg(28)->Arg(74)->Arg(-500);
BENCHMARK(compose)->Name("dns_compose")->Arg(0)->Arg(3)->Arg(28)->Arg(74);
BENCHMARK(answers)->Name("dns_answers");
BENCHMARK(kind_of)->Name("dns_kind_of");

}  // namespace
