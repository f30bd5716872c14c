// DNS messages by hand, octet for octet, for the tests: nothing of voter/ writes them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "voter/types.hh"

namespace dns_test {

using Octets = std::vector<std::byte>;

inline Octets operator+(Octets a, const Octets& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}
inline Octets u8(unsigned value) { return {static_cast<std::byte>(value)}; }
inline Octets u16(unsigned value) { return u8(value >> 8) + u8(value & 0xff); }
inline Octets u32(std::uint32_t value) { return u16(value >> 16) + u16(value & 0xffff); }
inline Octets text(std::string_view characters) {
    Octets octets;
    for (const char character : characters) octets.push_back(static_cast<std::byte>(character));
    return octets;
}
// "www.example" and "www.example." alike, written out in full.
inline Octets name(std::string_view dotted) {
    Octets octets;
    while (!dotted.empty() && dotted != ".") {
        const std::size_t dot = std::min(dotted.find('.'), dotted.size());
        octets = octets + u8(static_cast<unsigned>(dot)) + text(dotted.substr(0, dot));
        dotted.remove_prefix(std::min(dot + 1, dotted.size()));
    }
    return octets + u8(0);
}
// Labels, then a pointer.
inline Octets to(unsigned offset) { return u16(0xc000u | offset); }
inline Octets labels_to(std::string_view dotted, unsigned offset) {
    Octets octets = name(dotted);
    octets.pop_back();
    return octets + to(offset);
}
inline Octets ipv4(unsigned a, unsigned b, unsigned c, unsigned d) {
    return u8(a) + u8(b) + u8(c) + u8(d);
}
inline Octets record(const Octets& owner, unsigned type, std::uint32_t ttl, const Octets& rdata,
                     unsigned klass = 1) {
    return owner + u16(type) + u16(klass) + u32(ttl) + u16(static_cast<unsigned>(rdata.size())) +
           rdata;
}
inline Octets a(const Octets& owner, unsigned last, std::uint32_t ttl = 3600) {
    return record(owner, 1, ttl, ipv4(192, 0, 2, last));
}
inline Octets opt(unsigned size, std::uint32_t ttl = 0, const Octets& options = {}) {
    return record(u8(0), 41, ttl, options, size);
}

struct Sections {
    std::vector<Octets> answer = {};
    std::vector<Octets> authority = {};
    std::vector<Octets> additional = {};
};
constexpr unsigned standard = 0x8500;  // QR AA RD

inline Octets message(unsigned id, unsigned flags, const Octets& question,
                      const Sections& sections = {}) {
    Octets octets = u16(id) + u16(flags) + u16(question.empty() ? 0 : 1);
    for (const auto* section : {&sections.answer, &sections.authority, &sections.additional}) {
        octets = octets + u16(static_cast<unsigned>(section->size()));
    }
    octets = octets + question;
    for (const auto* section : {&sections.answer, &sections.authority, &sections.additional}) {
        for (const Octets& each : *section) octets = octets + each;
    }
    return octets;
}
inline Octets question(std::string_view dotted, unsigned type = 1, unsigned klass = 1) {
    return name(dotted) + u16(type) + u16(klass);
}
inline Octets request(unsigned id, const Octets& asked, const Sections& sections = {}) {
    return message(id, 0x0100, asked, sections);
}

}  // namespace dns_test
