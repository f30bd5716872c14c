#include "tests/sim/service.hh"

#include <algorithm>
#include <string>

#include "tests/sim/checker.hh"
#include "tests/unit/voter/dns_builder.hh"

namespace sim {

namespace dns = dns_test;
using appliance_test::text;
using dns::operator+;

std::uint64_t hash(const Octets& octets, std::uint64_t salt) {
    std::uint64_t value = 0xcbf29ce484222325u ^ salt;
    for (const std::byte octet : octets) {
        value = (value ^ std::to_integer<std::uint64_t>(octet)) * 0x100000001b3u;
    }
    return value ^ value >> 29;
}

Octets SimulatedService::question(std::uint32_t number, bool framing, unsigned name,
                                  unsigned padding) const {
    const std::string called = std::string(framing ? "t" : "d").append(std::to_string(name));
    if (is_dns_) return dns::request(number & 0xffff, dns::question(called + ".example"));
    return dns::u32(number) + text(called) + Octets(padding);
}

bool SimulatedService::is_framing(const Octets& asked) const {
    return asked.at(is_dns_ ? 13 : 4) == std::byte{'t'};
}

Octets SimulatedService::answer(const Octets& asked, std::uint64_t salt, unsigned dialect) const {
    const std::uint64_t value = hash(asked, salt);
    if (!is_dns_) {
        Octets out(asked.begin(), asked.begin() + 4);
        return out + text(std::to_string(value)) + Octets(value % 500);
    }
    const Octets quoted(asked.begin() + 12, asked.end());
    const Octets name(asked.begin() + 12, asked.end() - 4);
    dns::Sections sections;
    const auto last = static_cast<unsigned>(value & 0xff);
    for (unsigned i = 0; i < 1 + value % 3; ++i) {
        sections.answer.push_back(dns::a(dialect % 2 == 0 ? dns::to(12) : name, last ^ i));
    }
    if (dialect % 3 == 1) std::reverse(sections.answer.begin(), sections.answer.end());
    if (dialect % 3 == 2) {
        sections.authority.push_back(dns::record(name, 2, 60, dns::name("ns.example")));
        sections.additional.push_back(dns::a(dns::name("ns.example"), 53));
    }
    const unsigned number =
        std::to_integer<unsigned>(asked[0]) * 256 + std::to_integer<unsigned>(asked[1]);
    return dns::message(number, dns::standard, quoted, sections);
}

bool SimulatedService::is_right(const Octets& asked, const Octets& said) const {
    const Octets right = answer(asked, 0, 0);
    if (!is_dns_) return said == right;
    const auto a = read_dns(said);
    const auto b = read_dns(right);
    return a && b && a->voted == b->voted;
}

}  // namespace sim
