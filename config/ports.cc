// Ports written as "KIND:WHAT[,OPTION=VALUE...]", and where the places of a slot are.
#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "config/config.hh"
#include "config/words.hh"

namespace config {

namespace {

using Kind = PortSpec::Kind;

struct KindName {
    std::string_view name;
    Kind kind;
};
// The first name of a kind is the one text() writes.
constexpr std::array<KindName, 9> kinds{{{"veth", Kind::af_packet},
                                         {"af_packet", Kind::af_packet},
                                         {"af_xdp", Kind::af_xdp},
                                         {"tap", Kind::tap},
                                         {"memif", Kind::memif},
                                         {"ring", Kind::ring},
                                         {"pcap", Kind::pcap},
                                         {"pci", Kind::pci},
                                         {"netback", Kind::netback}}};

constexpr const char* shapes =
    "write \"veth:IFNAME\", \"af_xdp:IFNAME\", \"tap:IFNAME\", "
    "\"memif:SOCKET[,id=N,role=server]\", "
    "\"ring:NAME\", \"pcap:IN[,OUT]\", \"pci:0000:01:00.0\" or \"netback:DOMAIN[,type=vif]"
    "[,scatter-gather=on][,segmentation=on]\"";

bool is_hexadecimal(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    });
}

// [DOMAIN:]BUS:DEVICE.FUNCTION
bool is_pci_address(std::string_view text) {
    if (text.size() == 12 && is_hexadecimal(text.substr(0, 4)) && text[4] == ':') {
        text.remove_prefix(5);
    }
    return text.size() == 7 && is_hexadecimal(text.substr(0, 2)) && text[2] == ':' &&
           is_hexadecimal(text.substr(3, 2)) && text[5] == '.' && text[6] >= '0' && text[6] <= '7';
}

bool is_domain_name(std::string_view text) {
    return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_' || c == '.' || c == '+';
    });
}

std::optional<PortError> check_what(const PortSpec& port) {
    const std::string shown = in_quotes(port.what);
    switch (port.kind) {
        case Kind::af_packet:
        case Kind::af_xdp:
        case Kind::tap:
            if (is_interface_name(port.what)) return std::nullopt;
            return PortError{"has " + shown + ", which is no interface name",
                             "write 1 to 15 characters, no space, '/', ':' or ','"};
        case Kind::memif:
            if (port.what.starts_with('/') && port.what.size() <= 107) return std::nullopt;
            return PortError{"has the socket " + shown,
                             "write an absolute path of at most 107 characters"};
        case Kind::ring:
            if (is_name(port.what) && port.what.size() <= 20) return std::nullopt;
            return PortError{"has the ring name " + shown,
                             "write 1 to 20 letters, digits, '-' or '_'"};
        case Kind::pcap:
            if (!port.what.empty()) return std::nullopt;
            return PortError{"names no file",
                             "write \"pcap:IN.pcap\" or \"pcap:IN.pcap,OUT.pcap\""};
        case Kind::pci:
            if (is_pci_address(port.what)) return std::nullopt;
            return PortError{"has " + shown + ", which is no PCI address",
                             "write it as in \"pci:0000:01:00.0\""};
        case Kind::netback:
            if (is_domain_name(port.what)) return std::nullopt;
            return PortError{"has " + shown + ", which is no name of a Xen domain",
                             "write the domain's name as `xl list` shows it: 1 to 128 letters, "
                             "digits and \"-_.+\""};
    }
    return std::nullopt;
}

const char* options_of(Kind kind) {
    if (kind == Kind::memif) return "the options of memif are id=N and role=server|client";
    if (kind == Kind::netback) {
        return "the options of netback are type=quorate|vif, scatter-gather=on|off and "
               "segmentation=on|off";
    }
    return "this kind of port has no options";
}

std::optional<PortError> check_option(Kind kind, const std::string& name,
                                      const std::string& value) {
    if (kind == Kind::pci && !name.empty() && !value.empty()) return std::nullopt;  // the driver's
    if (kind == Kind::memif && name == "id") {
        const bool number =
            !value.empty() && value.size() <= 9 &&
            std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
        if (number) return std::nullopt;
        return PortError{"has id=" + in_quotes(value), "write a number, as in id=0"};
    }
    if (kind == Kind::memif && name == "role") {
        if (value == "server" || value == "client") return std::nullopt;
        return PortError{"has role=" + in_quotes(value), "write role=server or role=client"};
    }
    if (kind == Kind::netback && name == "type") {
        if (value == "quorate" || value == "vif") return std::nullopt;
        return PortError{"has type=" + in_quotes(value), "write type=quorate or type=vif"};
    }
    if (kind == Kind::netback && (name == "scatter-gather" || name == "segmentation")) {
        if (value == "on" || value == "off") return std::nullopt;
        return PortError{"has " + name + "=" + in_quotes(value),
                         "write " + name + "=on or " + name + "=off"};
    }
    return PortError{"has the option " + in_quotes(name), options_of(kind)};
}

std::optional<PortError> read_options(PortSpec& port, std::string_view rest) {
    while (true) {
        const std::size_t comma = rest.find(',');
        const std::string_view part = rest.substr(0, comma);
        const std::size_t equals = part.find('=');
        std::string name(part.substr(0, equals));
        std::string value(equals == std::string_view::npos ? "" : part.substr(equals + 1));
        if (auto error = check_option(port.kind, name, value)) return error;
        const bool again = std::any_of(port.options.begin(), port.options.end(),
                                       [&](const auto& option) { return option.first == name; });
        if (again) return PortError{"has " + in_quotes(name) + " twice", "write each option once"};
        port.options.emplace_back(std::move(name), std::move(value));
        if (comma == std::string_view::npos) return std::nullopt;
        rest.remove_prefix(comma + 1);
    }
}

// FNV-1a, 64 bits: stable over builds and machines, which std::hash is not.
std::uint64_t stable_hash(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (const char c : text) {
        hash ^= static_cast<unsigned char>(c);
        hash *= 0x100000001b3u;
    }
    return hash;
}

}  // namespace

std::string PortSpec::text() const {
    std::string out;
    for (const KindName& known : kinds) {
        if (known.kind != kind) continue;
        out = known.name;
        break;
    }
    out += ":" + what;
    for (const auto& [name, value] : options) {
        out += ',';
        if (kind != Kind::pcap) out.append(name).append("=");
        out += value;
    }
    return out;
}

std::string PortSpec::resource() const {
    switch (kind) {
        case Kind::af_packet:
        case Kind::af_xdp:
        case Kind::tap:
            return "interface " + what;  // however it is opened
        case Kind::memif: {
            std::string id = "0";
            for (const auto& [name, value] : options) {
                if (name == "id") id = value;
            }
            id.erase(0, std::min(id.find_first_not_of('0'), id.size() - 1));
            return "memif " + what + " " + id;
        }
        case Kind::ring:
            return "ring " + what;
        case Kind::pcap:
            return "file " + what;
        case Kind::pci: {
            std::string address = what.size() == 7 ? "0000:" + what : what;
            std::transform(address.begin(), address.end(), address.begin(), [](char c) {
                return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
            });
            return "pci " + address;
        }
        case Kind::netback:
            return "domain " + what;
    }
    return text();
}

tl::expected<PortSpec, PortError> parse_port(std::string_view text) {
    const std::size_t colon = text.find(':');
    const std::string_view name = text.substr(0, colon);
    const auto known = std::find_if(kinds.begin(), kinds.end(), [&](const KindName& candidate) {
        return candidate.name == name;
    });
    if (colon == std::string_view::npos || known == kinds.end()) {
        return tl::unexpected(PortError{"is " + in_quotes(text) + ", which is no port", shapes});
    }
    const bool plain = std::none_of(text.begin(), text.end(), [](char c) {
        return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    });
    if (!plain) {
        return tl::unexpected(PortError{"has control characters in " + in_quotes(text), shapes});
    }
    const std::string_view rest = text.substr(colon + 1);
    const std::size_t comma = rest.find(',');
    PortSpec port;
    port.kind = known->kind;
    port.what = rest.substr(0, comma);
    if (auto error = check_what(port)) return tl::unexpected(*error);
    if (comma == std::string_view::npos) return port;
    const std::string_view options = rest.substr(comma + 1);
    if (port.kind == Kind::pcap) {
        if (options.empty() || options.find(',') != std::string_view::npos) {
            return tl::unexpected(PortError{"is " + in_quotes(text),
                                            "write \"pcap:IN.pcap\" or \"pcap:IN.pcap,OUT.pcap\""});
        }
        port.options.emplace_back("out", options);
        return port;
    }
    if (auto error = read_options(port, options)) return tl::unexpected(*error);
    return port;
}

std::string place_interface(const Config& config, std::size_t group, voter::ReplicaId slot,
                            bool second) {
    char name[32];
    std::snprintf(name, sizeof name, "q%06llxg%zur%u%c",
                  static_cast<unsigned long long>(stable_hash(config.name) & 0xff'ffffu), group,
                  unsigned{slot.value}, second ? 'b' : 'a');
    return name;
}

std::optional<PortSpec> place_port(const Config& config, std::size_t group, voter::ReplicaId slot,
                                   bool second) {
    if (group >= config.groups.size() || slot.value >= config.groups[group].replicas.size()) {
        return std::nullopt;
    }
    const Replica& replica = config.groups[group].replicas[slot.value];
    if (replica.xen) return std::nullopt;
    if (!replica.netns) return second ? replica.place_b : replica.place_a;
    PortSpec port;
    port.what = place_interface(config, group, slot, second);
    return port;
}

std::string domain_name(const Config& config, std::size_t group, voter::ReplicaId slot, bool second,
                        voter::Incarnation incarnation) {
    return "quorate-" + config.name + "-" + config.groups[group].name + "-" +
           std::to_string(slot.value) + (second ? "-b-" : "-a-") +
           std::to_string(incarnation.value);
}

std::optional<PortSpec> seat_port(const Config& config, std::size_t group, voter::ReplicaId slot,
                                  bool second, voter::Incarnation incarnation) {
    auto port = place_port(config, group, slot, second);
    if (port || group >= config.groups.size() ||
        slot.value >= config.groups[group].replicas.size() ||
        !config.groups[group].replicas[slot.value].xen) {
        return port;
    }
    port.emplace();
    port->kind = PortSpec::Kind::netback;
    port->what = domain_name(config, group, slot, second, incarnation);
    if (config.groups[group].replicas[slot.value].xen->image(incarnation).scatter_gather) {
        port->options.emplace_back("scatter-gather", "on");
    }
    return port;
}

static_assert(groups_max <= 100 && voter::replicas_max <= 10,
              "a place's interface name is at most q + 6 + g + 2 + r + 1 + 1 = 13 characters");

}  // namespace config
