// What a packet costs in wire/: parsing, and checksums of request and three replies (the figure
// that rte_raw_cksum is known for).
#include <array>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <benchmark/benchmark.h>

#include "wire/checksum.hh"
#include "wire/frame.hh"

namespace {

std::vector<std::byte> udp_frame(bool four, bool tagged, std::size_t payload_len) {
    const std::size_t link_len = tagged ? 18 : 14;
    const std::size_t ip_len = four ? 20 : 40;
    std::vector<std::byte> frame(link_len + ip_len + 8 + payload_len, std::byte{0x5a});
    std::byte* at = frame.data();
    wire::store_u8(at, 2);
    wire::store_u8(at + 6, 2);
    if (tagged) wire::store_be32(at + 12, 0x81000005);
    wire::store_be16(at + link_len - 2, four ? wire::ether_type_ipv4 : wire::ether_type_ipv6);
    at += link_len;
    const auto l4_length = static_cast<std::uint16_t>(8 + payload_len);
    if (four) {
        std::memset(at, 0, 20);
        wire::store_u8(at, 0x45);
        wire::store_be16(at + 2, static_cast<std::uint16_t>(20 + l4_length));
        wire::store_be16(at + 8, 0x4011);
        wire::store_be32(at + 12, 0xc0000207);
        wire::store_be32(at + 16, 0xc6336401);
        wire::write_ipv4_header_checksum(at);
    } else {
        wire::store_be32(at, 0x60000000);
        wire::store_be16(at + 4, l4_length);
        wire::store_be16(at + 6, 0x1140);
    }
    wire::store_be16(at + ip_len, 4711);
    wire::store_be16(at + ip_len + 2, 53);
    wire::store_be16(at + ip_len + 4, l4_length);
    wire::Frame parsed;
    if (wire::parse_frame(frame, parsed) != wire::DropReason::none) std::abort();
    wire::write_l4_checksum(frame, parsed);
    return frame;
}

void parse_frame(benchmark::State& state) {
    const auto frame = udp_frame(state.range(0) == 4, state.range(1) != 0, 64);
    wire::Frame parsed;
    for (auto _ : state) {
        benchmark::DoNotOptimize(wire::parse_frame(frame, parsed));
        benchmark::DoNotOptimize(parsed);
    }
}
BENCHMARK(parse_frame)->ArgNames({"ip", "vlan"})->ArgsProduct({{4, 6}, {0, 1}});

void l4_checksum_right(benchmark::State& state) {
    const auto frame = udp_frame(true, false, static_cast<std::size_t>(state.range(0)) - 42);
    wire::Frame parsed;
    if (wire::parse_frame(frame, parsed) != wire::DropReason::none) std::abort();
    for (auto _ : state) benchmark::DoNotOptimize(wire::l4_checksum_right(frame, parsed));
}
BENCHMARK(l4_checksum_right)->Arg(64)->Arg(256)->Arg(1400);

void sum_bytes(benchmark::State& state) {
    std::vector<std::byte> buffer(static_cast<std::size_t>(state.range(0)) + 2, std::byte{0x5a});
    const wire::Bytes bytes = wire::Bytes(buffer).subspan(2);
    for (auto _ : state) benchmark::DoNotOptimize(wire::sum_bytes(bytes));
}
BENCHMARK(sum_bytes)->Arg(20)->Arg(64)->Arg(256)->Arg(1400);

// Comparable with rte_raw_cksum over a request and three replies.
void sum_bytes_x4(benchmark::State& state) {
    const auto len = static_cast<std::size_t>(state.range(0));
    std::array<std::vector<std::byte>, 4> buffers;
    for (auto& buffer : buffers) buffer.assign(len, std::byte{0x5a});
    for (auto _ : state) {
        for (const auto& buffer : buffers) benchmark::DoNotOptimize(wire::sum_bytes(buffer));
    }
}
BENCHMARK(sum_bytes_x4)->Arg(64)->Arg(256)->Arg(1400);

}  // namespace
