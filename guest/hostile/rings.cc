#include "guest/hostile/rings.hh"

#include <algorithm>

namespace hostile {
namespace {

constexpr std::size_t ethernet_bytes = 14;
constexpr std::size_t mac_bytes = 6;

void swap(std::span<std::byte> frame, std::size_t one, std::size_t other, std::size_t bytes) {
    std::swap_ranges(frame.begin() + static_cast<std::ptrdiff_t>(one),
                     frame.begin() + static_cast<std::ptrdiff_t>(one + bytes),
                     frame.begin() + static_cast<std::ptrdiff_t>(other));
}

bool is(std::span<const std::byte> frame, std::size_t at, unsigned value) {
    return std::to_integer<unsigned>(frame[at]) == value;
}

}  // namespace

bool turn_round(std::span<std::byte> frame) {
    constexpr std::size_t udp = 17;
    if (frame.size() < ethernet_bytes + 28) return false;
    const bool v4 = is(frame, 12, 0x08) && is(frame, 13, 0x00) && is(frame, 14, 0x45) &&
                    is(frame, ethernet_bytes + 9, udp);
    const bool v6 = is(frame, 12, 0x86) && is(frame, 13, 0xDD) &&
                    is(frame, ethernet_bytes + 6, udp) && frame.size() >= ethernet_bytes + 48;
    if (!v4 && !v6) return false;
    const std::size_t addresses_at = ethernet_bytes + (v4 ? 12 : 8);
    const std::size_t address_bytes = v4 ? 4 : 16;
    const std::size_t ports_at = ethernet_bytes + (v4 ? 20 : 40);
    swap(frame, 0, mac_bytes, mac_bytes);
    swap(frame, addresses_at, addresses_at + address_bytes, address_bytes);
    swap(frame, ports_at, ports_at + 2, 2);
    return true;
}

}  // namespace hostile
