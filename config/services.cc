// [[service]]: what clients reach, how a reply finds its request, and how replies are compared.
#include <algorithm>
#include <charconv>

#include "config/sections.hh"
#include "config/words.hh"

namespace config {

namespace {

using voter::ComparatorKind;
using voter::MaskRange;
using voter::MatcherKind;

constexpr std::uint32_t datagram_length_max = 65'507;  // UDP over IPv4
constexpr std::uint32_t match_length_max = 8;

// Bytes at the head of a reply that the matcher reads: a mask must leave them alone.
struct Range {
    std::uint32_t offset = 0;
    std::uint32_t length = 0;
};

enum class Protocol { udp, tcp };

void read_addresses(Section& section, Service& service) {
    const std::string fix = "write addresses = [\"192.0.2.1\"], or one IPv4 and one IPv6 address";
    section.required("addresses", fix);
    bool good = true;
    for (const auto& [text, spot] : section.texts("addresses", 2)) {
        const auto address = wire::IpAddress::parse(text);
        if (!address) {
            section.wrong(spot, "is " + in_quotes(text) + ", which is no address", fix);
            good = false;
            continue;
        }
        const auto& octets = address->octets;
        const bool v4 = address->is_v4();
        const bool unicast = v4 ? octets[12] != 0 && octets[12] != 127 && octets[12] < 224
                                : octets[0] != 0xff && *address != wire::IpAddress{} &&
                                      *address != wire::IpAddress::parse("::1");
        if (!unicast) {
            section.wrong(spot, "is " + in_quotes(text) + ", at which no service can be reached",
                          "write a unicast address that is not loopback");
            good = false;
        } else if (!service.addresses.empty() && service.addresses[0].is_v4() == v4) {
            section.wrong(spot, std::string("is a second ") + (v4 ? "IPv4" : "IPv6") + " address",
                          "write at most one IPv4 and one IPv6 address, and further services for "
                          "further ones");
            good = false;
        } else {
            service.addresses.push_back(*address);
        }
    }
    if (good && section.has("addresses") && service.addresses.empty() &&
        section.is_empty_list("addresses")) {
        section.wrong("addresses", "is empty", fix);
    }
}

void read_protocol(Section& section) {
    Protocol protocol = Protocol::udp;
    section.choice("protocol", {{"udp", Protocol::udp}, {"tcp", Protocol::tcp}}, protocol);
    if (protocol == Protocol::tcp) {
        section.wrong("protocol", "is \"tcp\", which is not built yet",
                      "write \"udp\"; TCP to a service is refused with a reset for now");
    }
}

// "0:4"
std::optional<Range> parse_range(std::string_view text) {
    Range range;
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, range.offset);
    if (error != std::errc{} || rest == end || *rest != ':') return std::nullopt;
    const auto length = std::from_chars(rest + 1, end, range.length);
    if (length.ec != std::errc{} || length.ptr != end) return std::nullopt;
    return range;
}

// Returns the bytes of a reply that it reads; nullopt: wrong or missing.
std::optional<Range> read_matcher(Section& section, Service& service) {
    const std::string fix =
        "write \"dns\", \"memcached\", \"fifo\" or \"OFFSET:LENGTH\", as in \"0:4\"";
    section.required("matcher", fix);
    std::string written;
    if (!section.text("matcher", written)) return std::nullopt;
    if (written == "dns") {
        service.is_dns = true;
        service.matcher = voter::Matcher(MatcherKind::dns);
        return Range{0, 2};
    }
    if (written == "memcached") {
        service.matcher = voter::Matcher(MatcherKind::memcached);
        return Range{0, 6};
    }
    if (written == "fifo") {
        service.matcher = voter::Matcher(MatcherKind::fifo);
        return Range{0, 0};
    }
    const auto range = parse_range(written);
    if (!range) {
        const auto meant = nearest(written, {"dns", "memcached", "fifo"});
        section.wrong("matcher", "is " + in_quotes(written) + ", which is no matcher",
                      meant ? "did you mean " + in_quotes(*meant) + "?" : fix);
        return std::nullopt;
    }
    if (range->length < 1 || range->length > match_length_max ||
        range->offset > datagram_length_max - range->length) {
        section.wrong("matcher", "is " + in_quotes(written) + ", out of range",
                      "write 1 to 8 bytes within a datagram, as in \"0:4\"");
        return std::nullopt;
    }
    service.matcher = voter::Matcher::offset_length(static_cast<std::uint16_t>(range->offset),
                                                    static_cast<std::uint8_t>(range->length));
    return range;
}

bool overlap(std::uint32_t offset, std::uint32_t length, const Range& range) {
    return offset < range.offset + range.length && range.offset < offset + length;
}

std::vector<MaskRange> read_mask(Section& section, const std::optional<Range>& matched) {
    std::vector<MaskRange> ranges;
    for (Section& entry : section.inline_tables("mask", voter::mask_ranges_max)) {
        MaskRange range;
        entry.required("offset", "write { offset = N, length = N }");
        entry.required("length", "write { offset = N, length = N }");
        bool good = entry.number("offset", 0, datagram_length_max - 1, range.offset);
        good = entry.number("length", 1, datagram_length_max, range.length) && good;
        entry.choice("on", {{"zero", MaskRange::On::zero}, {"taken", MaskRange::On::taken}},
                     range.on);
        entry.finish();
        if (!good) continue;
        const std::string bytes =
            std::to_string(range.offset) + " to " + std::to_string(range.offset + range.length - 1);
        if (range.offset + range.length > datagram_length_max) {
            entry.wrong("length", "ends beyond the longest datagram",
                        "write ranges below " + std::to_string(datagram_length_max));
            continue;
        }
        if (matched && overlap(range.offset, range.length, *matched)) {
            entry.wrong(entry.spot(), "covers bytes by which the matcher finds the request",
                        "leave out bytes " + std::to_string(matched->offset) + " to " +
                            std::to_string(matched->offset + matched->length - 1));
        }
        for (const MaskRange& other : ranges) {
            if (!overlap(range.offset, range.length, {other.offset, other.length})) continue;
            entry.wrong(entry.spot(), "covers bytes " + bytes + ", some of them a second time",
                        "write ranges that do not overlap");
            break;
        }
        ranges.push_back(range);
    }
    return ranges;
}

void read_comparator(Section& section, Service& service, const std::optional<Range>& matched) {
    ComparatorKind kind = service.is_dns ? ComparatorKind::dns : ComparatorKind::bytes;
    const std::size_t before = section.wrong_count();
    section.choice("comparator",
                   {{"bytes", ComparatorKind::bytes},
                    {"dns", ComparatorKind::dns},
                    {"mask", ComparatorKind::mask}},
                   kind);
    const std::vector<MaskRange> ranges = read_mask(section, matched);
    if (before != section.wrong_count()) return;
    if (kind == ComparatorKind::dns && matched && !service.is_dns) {
        section.wrong("comparator", "is \"dns\", but the matcher is not",
                      "write matcher = \"dns\", or comparator = \"bytes\"");
    } else if (kind == ComparatorKind::mask && ranges.empty()) {
        section.wrong(section.has("mask") ? "mask" : "comparator",
                      section.has("mask") ? "is empty" : "is \"mask\", but there is no mask",
                      "write mask = [{ offset = N, length = N }], or comparator = \"bytes\"");
    } else if (kind != ComparatorKind::mask && section.has("mask")) {
        section.wrong("mask", "is given, but the comparator does not use it",
                      "write comparator = \"mask\", or leave it out");
    }
    service.comparator =
        kind == ComparatorKind::mask ? voter::Comparator(ranges) : voter::Comparator(kind);
}

void read_refuse(Section& section, Service& service, bool matcher_known) {
    for (const auto& [kind, spot] : section.texts("refuse", 4)) {
        bool* const chosen = kind == "any"       ? &service.refuse.any
                             : kind == "chaos"   ? &service.refuse.chaos
                             : kind == "status"  ? &service.refuse.status
                             : kind == "opcodes" ? &service.refuse.opcodes
                                                 : nullptr;
        if (chosen == nullptr) {
            section.wrong(spot, "is " + in_quotes(kind),
                          "write \"any\", \"chaos\", \"status\" or \"opcodes\"");
        } else if (*chosen) {
            section.wrong(spot, "is " + in_quotes(kind) + " again", "write each once");
        } else {
            *chosen = true;
        }
    }
    if (section.has("refuse") && matcher_known && !service.is_dns) {
        section.wrong("refuse", "names kinds of DNS requests, but the matcher is not \"dns\"",
                      "leave it out, or write matcher = \"dns\"");
    }
}

void check_group(Section& section, const Service& service, Pass& pass, bool matcher_known) {
    const Group* group = pass.config.group(service.group);
    if (group == nullptr) {
        if (!pass.groups_known) return;
        std::vector<std::string_view> names;
        for (const Group& known : pass.config.groups) names.push_back(known.name);
        const auto meant = nearest(service.group, names);
        section.wrong("group", "is " + in_quotes(service.group) + ", and there is no such group",
                      meant ? "did you mean " + in_quotes(*meant) + "?" : "write " + one_of(names));
        return;
    }
    if (matcher_known && group->state == State::log && service.matcher.one_outstanding()) {
        section.wrong(
            "matcher",
            "is \"fifo\" for group " + in_quotes(group->name) +
                " with state = \"log\", which cannot tell a repeated request from a new "
                "one",
            "write an \"OFFSET:LENGTH\" that differs in each request, or state = \"none\"");
    }
}

void read_service(Section& section, Pass& pass, std::map<std::string, std::string>& names,
                  std::map<std::string, std::string>& endpoints) {
    Service& service = pass.config.services.emplace_back();
    read_name(section, names, service.name);
    section.required("group", "write the name of a [[group]]");
    const bool group_given = section.text("group", service.group);
    read_addresses(section, service);
    section.required("port", "write the UDP port, 1 to 65535");
    section.number("port", 1, 65'535, service.port);
    read_protocol(section);
    const std::optional<Range> matched = read_matcher(section, service);
    read_comparator(section, service, matched);
    read_refuse(section, service, matched.has_value());
    if (group_given) check_group(section, service, pass, matched.has_value());
    for (const wire::IpAddress& address : service.addresses) {
        const std::string endpoint = address.text() + " port " + std::to_string(service.port);
        const auto [found, fresh] = endpoints.emplace(endpoint, section.spot().key);
        if (fresh || service.port == 0) continue;
        section.wrong("addresses", "has " + endpoint + ", which " + found->second + " has already",
                      "give each service its own address or port");
    }
    section.finish();
}

}  // namespace

void read_services(Section& root, Pass& pass) {
    std::map<std::string, std::string> names;
    std::map<std::string, std::string> endpoints;
    const std::size_t before = pass.report.count();
    for (Section& section : root.sections("service", services_max)) {
        read_service(section, pass, names, endpoints);
    }
    if (before != pass.report.count()) return;
    if (pass.config.services.empty()) {
        root.wrong("service", "is missing", "write at least one [[service]]");
        return;
    }
    if (!pass.groups_known) return;
    for (std::size_t i = 0; i < pass.config.groups.size(); ++i) {
        const Group& group = pass.config.groups[i];
        const bool used =
            std::any_of(pass.config.services.begin(), pass.config.services.end(),
                        [&](const Service& service) { return service.group == group.name; });
        if (used) continue;
        root.wrong(
            pass.groups[i], "is " + in_quotes(group.name) + ", which no service uses",
            "write a [[service]] with group = " + in_quotes(group.name) + ", or leave it out");
    }
}

}  // namespace config
