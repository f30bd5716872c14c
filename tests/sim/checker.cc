#include "tests/sim/checker.hh"

#include <algorithm>
#include <cctype>

namespace sim {

namespace {

unsigned u8(const Octets& bytes, std::size_t at) {
    return at < bytes.size() ? std::to_integer<unsigned>(bytes[at]) : 0;
}
unsigned u16(const Octets& bytes, std::size_t at) {
    return u8(bytes, at) * 256 + u8(bytes, at + 1);
}
Octets part(const Octets& bytes, std::size_t at, std::size_t length) {
    if (at > bytes.size()) return {};
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    return {begin, begin + static_cast<std::ptrdiff_t>(std::min(length, bytes.size() - at))};
}
std::string chars(const Octets& bytes) {
    std::string out;
    for (const std::byte octet : bytes) out += static_cast<char>(octet);
    return out;
}
// IPv4 addresses short, IPv6 long: never equal.
std::string end_text(const Octets& address, unsigned port) {
    std::string out = chars(address);
    out += static_cast<char>(port / 256);
    out += static_cast<char>(port % 256);
    return out;
}

// Lower-cased and uncompressed; false: it loops or leaves the message.
bool read_name(const Octets& message, std::size_t& at, std::string& out) {
    std::size_t walk = at;
    bool jumped = false;
    for (unsigned labels = 0; labels < 128; ++labels) {
        if (walk >= message.size()) return false;
        const unsigned length = u8(message, walk);
        if (length >= 0xc0) {
            if (!jumped) at = walk + 2;
            jumped = true;
            walk = u16(message, walk) & 0x3fffu;
            continue;
        }
        walk += 1;
        if (!jumped) at = walk + length;
        if (length == 0) return true;
        for (const std::byte octet : part(message, walk, length)) {
            out += static_cast<char>(std::tolower(std::to_integer<int>(octet)));
        }
        out += '.';
        walk += length;
    }
    return false;
}

}  // namespace

std::string flow_of(const appliance_test::Endpoint& end) {
    Octets address;
    for (std::size_t i = end.ip.is_v4() ? 12 : 0; i < 16; ++i) {
        address.push_back(std::byte{end.ip.octets[i]});
    }
    return end_text(address, end.port);
}

std::optional<Datagram> read_datagram(const Octets& frame) {
    Datagram out;
    out.destination_mac = part(frame, 0, 6);
    std::size_t at = 14;
    if (u16(frame, 12) == 0x8100) {
        out.vlan = static_cast<int>(u16(frame, 14) & 0xfffu);
        at = 18;
    }
    const bool v4 = u16(frame, at - 2) == 0x0800;
    if (!v4 && u16(frame, at - 2) != 0x86dd) return std::nullopt;
    const unsigned protocol = u8(frame, at + (v4 ? 9 : 6));
    const unsigned ttl = u8(frame, at + (v4 ? 8 : 7));
    const bool plain =
        v4 ? u8(frame, at + 1) == 0 : u16(frame, at) == 0x6000 && u16(frame, at + 2) == 0;
    const std::size_t size = v4 ? 4 : 16;
    const Octets from = part(frame, at + (v4 ? 12 : 8), size);
    const Octets to = part(frame, at + (v4 ? 16 : 24), size);
    const std::size_t end = at + (v4 ? u16(frame, at + 2) : 40u + u16(frame, at + 4));
    std::size_t l4 = at + (v4 ? 20 : 40);
    out.ours = ttl == 64 && plain && appliance_test::sums_are_right(frame) && end == frame.size();
    if (protocol == 17) {
        out.from = end_text(from, u16(frame, l4));
        out.to = end_text(to, u16(frame, l4 + 2));
        const std::size_t length = u16(frame, l4 + 4);
        if (length < 8 || l4 + length > frame.size()) return std::nullopt;
        out.ours = out.ours && l4 + length == end;
        out.payload = part(frame, l4 + 8, length - 8);
        return out;
    }
    if (protocol != (v4 ? 1u : 58u)) return std::nullopt;
    out.icmp = static_cast<int>(u16(frame, l4));
    // The packet inside: from the client to the service.
    l4 += 8 + (v4 ? 20u : 40u);
    out.to = end_text(to, u16(frame, l4));
    out.from = end_text(from, u16(frame, l4 + 2));
    out.payload = part(frame, l4 + 8, end - std::min(end, l4 + 8));
    return out;
}

std::optional<DnsParts> read_dns(const Octets& message) {
    if (message.size() < 12) return std::nullopt;
    DnsParts out;
    std::size_t at = 12;
    out.voted = chars(part(message, 2, 2));
    for (unsigned i = 0; i < u16(message, 4); ++i) {
        if (!read_name(message, at, out.voted)) return std::nullopt;
        out.voted += chars(part(message, at, 4));
        at += 4;
    }
    std::array<std::vector<std::string>, 3> sections;
    for (unsigned section = 0; section < 3; ++section) {
        for (unsigned i = 0; i < u16(message, 6 + section * 2); ++i) {
            std::string record;
            if (!read_name(message, at, record)) return std::nullopt;
            const unsigned type = u16(message, at);
            const std::size_t length = u16(message, at + 8);
            if (at + 10 + length > message.size()) return std::nullopt;
            record += chars(part(message, at, 8));
            record += chars(part(message, at + 10, length));
            if (type == 41) {
                out.opt_data += chars(part(message, at + 10, length));
            } else {
                sections[section].push_back(record);
            }
            at += 10 + length;
        }
        std::sort(sections[section].begin(), sections[section].end());
    }
    if (at != message.size()) return std::nullopt;
    for (const auto& record : sections[0]) out.voted += record;
    out.authority_unvoted = !sections[0].empty() && !sections[1].empty();
    if (sections[0].empty()) {
        for (const auto& record : sections[1]) out.voted += record;
    }
    out.additional = sections[2];
    return out;
}

std::uint32_t Checker::id_of(const Octets& payload) const {
    return rules_.dns ? u16(payload, 0) : u16(payload, 0) << 16 | u16(payload, 2);
}

void Checker::request(const appliance_test::Endpoint& client, int vlan, const Octets& payload) {
    Asked& asked = asked_[{flow_of(client), id_of(payload)}];
    asked.client_mac.clear();
    for (const auto octet : client.mac.octets) asked.client_mac.push_back(std::byte{octet});
    asked.vlan = vlan;
    asked.copies += 1;
}

void Checker::reply(unsigned slot, std::uint32_t incarnation, const Octets& frame) {
    const auto datagram = read_datagram(frame);
    if (!datagram) return;
    // Kept for a request that has not come yet, too: what was sent before it counts for nothing.
    const auto found = asked_.find({datagram->to, id_of(datagram->payload)});
    if (found == asked_.end()) return;
    found->second.sent.push_back({slot, incarnation, datagram->payload, datagram->icmp});
}

template <class Agrees>
unsigned Checker::admitted_who(const Asked& asked, Agrees&& agrees) const {
    voter::SlotSet slots;
    for (const Sent& sent : asked.sent) {
        if (roster_[sent.slot] != sent.incarnation) continue;
        if (agrees(sent)) slots.insert(voter::ReplicaId{static_cast<std::uint8_t>(sent.slot)});
    }
    return slots.size();
}

// Have a quorum of the admitted sent this?
bool Checker::backed(const Asked& asked, const Datagram& out) const {
    if (out.icmp >= 0) {
        return admitted_who(asked, [&](const Sent& sent) { return sent.icmp == out.icmp; }) >=
               rules_.quorum;
    }
    const unsigned same = admitted_who(
        asked, [&](const Sent& sent) { return sent.icmp < 0 && sent.payload == out.payload; });
    if (same >= rules_.quorum) return true;
    const auto parts = rules_.dns ? read_dns(out.payload) : std::nullopt;
    if (!parts || parts->authority_unvoted || !parts->opt_data.empty()) return false;
    const auto share = [&](auto&& agrees) {
        return admitted_who(asked, [&](const Sent& sent) {
                   if (sent.icmp >= 0) return false;
                   const auto theirs = read_dns(sent.payload);
                   return theirs && agrees(*theirs);
               }) >= rules_.quorum;
    };
    if (!share([&](const DnsParts& theirs) { return theirs.voted == parts->voted; })) return false;
    return std::all_of(parts->additional.begin(), parts->additional.end(), [&](const auto& record) {
        return share([&](const DnsParts& theirs) {
            return std::find(theirs.additional.begin(), theirs.additional.end(), record) !=
                   theirs.additional.end();
        });
    });
}

// SERVFAIL without records, or host (address) unreachable.
bool Checker::own_error(const Datagram& out) const {
    if (rules_.quorum_lost != config::QuorumLost::error) return false;
    if (!rules_.dns) return out.icmp == 3 * 256 + 1 || out.icmp == 1 * 256 + 3;
    return out.icmp < 0 && (u8(out.payload, 3) & 15u) == 2 && u16(out.payload, 6) == 0 &&
           u16(out.payload, 8) == 0 && u16(out.payload, 10) == 0;
}

std::optional<Checker::Left> Checker::left(const Octets& frame) {
    const auto out = read_datagram(frame);
    if (!out) {
        complain("something else than a datagram left: " + appliance_test::hex(frame));
        return std::nullopt;
    }
    const std::uint32_t id = id_of(out->payload);
    const auto found = asked_.find({out->to, id});
    if (found == asked_.end()) {
        complain("a reply left that nobody asked for: " + appliance_test::hex(frame));
        return std::nullopt;
    }
    Asked& asked = found->second;
    if (!out->ours) complain("outer headers: " + appliance_test::hex(frame));
    if (out->destination_mac != asked.client_mac || out->vlan != asked.vlan) {
        complain("a reply left to the wrong station: " + appliance_test::hex(frame));
    }
    if (++asked.replies > asked.copies) {
        complain("more replies than copies of the request: " + appliance_test::hex(frame));
    }
    const bool voted = backed(asked, *out);
    if (!voted && !own_error(*out)) {
        complain("left without a quorum: " + appliance_test::hex(frame));
    }
    return Left{out->to, id, out->payload, !voted || out->icmp >= 0};
}

}  // namespace sim
