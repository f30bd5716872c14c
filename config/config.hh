// The configuration as the program uses it: plain values, completely checked. Written as TOML;
// parse() is the only way in. Every field here is a key of the file, under the name it has here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

#include "voter/accusation.hh"
#include "voter/ballot.hh"
#include "voter/comparator.hh"
#include "voter/dns.hh"
#include "voter/matcher.hh"
#include "wire/address.hh"

namespace config {

enum class Topology : std::uint8_t { vip, inline_ };
enum class Mode : std::uint8_t { enforce, observe };
enum class State : std::uint8_t { none, log };                  // does a missed request matter?
enum class QuorumLost : std::uint8_t { silence, error, open };  // error: SERVFAIL, ICMP unreachable
enum class Suspend : std::uint8_t { manual, automatic };

// A port: "veth:IFNAME" and "af_packet:IFNAME" (the same), "af_xdp:IFNAME", "tap:IFNAME",
// "memif:SOCKET[,id=N,role=server|client]", "ring:NAME", "pcap:IN.pcap[,OUT.pcap]",
// "pci:0000:01:00.0", "netback:DOMAIN[,type=quorate|vif]
// [,scatter-gather=on|off]".
struct PortSpec {
    enum class Kind : std::uint8_t { af_packet, af_xdp, tap, memif, ring, pcap, pci, netback };
    Kind kind = Kind::af_packet;
    std::string what;  // interface, socket, name, file, address
    std::vector<std::pair<std::string, std::string>> options;  // as written, in order; the second
                                                               // file of pcap is its "out"
    std::string text() const;  // as written in the file, except that af_packet is "veth:"
    // What it takes for itself: two ports with the same resource would see each other's packets.
    std::string resource() const;
    friend bool operator==(const PortSpec&, const PortSpec&) = default;
};
// The way back from text(); the error says what is wrong with it and what would be right.
struct PortError {
    std::string what;
    std::string fix;
};
tl::expected<PortSpec, PortError> parse_port(std::string_view text);

// How the namespace host runs a replica.
struct NetnsReplica {
    std::vector<std::string> command;          // argv; {dir} is the replica's own directory
    std::map<std::string, std::string> files;  // path below {dir} -> content ({dir} replaced)
    std::map<std::string, std::string>
        copies;  // path below {dir} -> file to copy from (relative to the config)
    std::map<std::string, std::string> environment;
    std::vector<unsigned> cpus;                // pinned to these; empty: anywhere
    std::string user;                          // run as; empty: as we are
    std::vector<std::string> health;           // command inside the namespace; exit 0 = healthy
    std::uint32_t health_timeout_ms = 10'000;  // from start to healthy
};

// What one boot of a Xen domain runs.
enum class DomainType : std::uint8_t { pv, pvh };
struct XenImage {
    std::filesystem::path kernel;   // relative to the config in the file
    std::string kernel_sha256;      // 64 lower-case hexadecimal digits; checked at every build
    std::filesystem::path ramdisk;  // as it is for all; a replica's own files are appended
    std::string ramdisk_sha256;
    std::filesystem::path disk;  // its first disk, read-only, where the ramdisk wants one; or empty
    std::string disk_sha256;
    DomainType type = DomainType::pv;
    std::uint32_t memory_mb = 128;
    std::uint32_t vcpus = 1;
    bool scatter_gather = false;         // its frames may lie in several pages
    std::string command_line;            // of the kernel
    std::vector<std::string> arguments;  // appended to the command of the image's service
    std::map<std::string, std::string>   // path in the guest -> content, or file to copy from;
        files;                           // absolute, or below /etc/quorate/files
    std::map<std::string, std::string> copies;
};

// How the Xen host runs a replica.
struct XenReplica {
    std::vector<XenImage> images;   // the replica's own, then its variants, which start as that
    std::vector<unsigned> cpus;     // of the machine; empty: anywhere
    std::uint32_t cap_percent = 0;  // of one CPU's time, at most; 0: no cap
    std::uint32_t health_timeout_ms = 60'000;  // from start to healthy

    // Renewals take turns.
    const XenImage& image(voter::Incarnation incarnation) const {
        return images[incarnation.value % images.size()];
    }
};

struct Replica {
    std::string name;                 // unique in the group
    std::optional<PortSpec> place_a;  // where the slot's two places are; left out
    std::optional<PortSpec> place_b;  // where a host makes them
    std::optional<NetnsReplica> netns;
    std::optional<XenReplica> xen;
};

struct Group {
    std::string name;
    std::uint8_t f = 1;       // 0 .. 3; replicas = 2f+1 unless quorum is given
    std::uint8_t quorum = 2;  // default f+1
    State state = State::none;
    voter::Release release = voter::Release::quorum;
    Mode mode = Mode::enforce;
    std::uint8_t primary = 0;  // slot; for observe and quorum_lost = open
    QuorumLost quorum_lost = QuorumLost::silence;
    std::uint32_t deadline_ms = 300;
    std::uint32_t inflight_max = 96;      // requests a replica may have unanswered
    std::uint32_t reserved_percent = 25;  // of tables and windows, for known sources
    std::uint64_t log_bytes = 64u << 20;  // state = log
    Suspend suspend = Suspend::automatic;
    voter::AccusationRules accusation{};  // window in ms in the file: window_ms
    std::uint32_t accusation_window_ms = 10'000;
    std::vector<Replica> replicas;  // position = slot
};

struct Service {
    std::string name;
    std::string group;                       // name of a group
    std::vector<wire::IpAddress> addresses;  // at most one IPv4 and one IPv6
    std::uint16_t port = 0;                  // UDP (TCP to it is refused with RST)
    voter::Matcher matcher;
    voter::Comparator comparator;
    voter::dns::RefuseSet refuse;  // dns only
    bool is_dns = false;           // the protocol of `error` replies
};

struct Evidence {
    bool enabled = true;
    std::filesystem::path directory;       // default STATE_DIR/evidence
    std::uint64_t file_bytes = 16u << 20;  // a file is closed when it has this many
    std::uint32_t files_max = 8;           // the oldest goes
    std::uint32_t per_second_max = 1000;   // records; more are counted, not written
    bool redact_payload = false;
};

struct Eal {
    bool hugepages = false;
    std::uint32_t memory_mb = 256;
    std::vector<std::string> arguments;  // further, as they are
};

struct Config {
    std::filesystem::path file;         // where it was read
    std::string name = "quorate";       // of this appliance: [a-z0-9-], at most 16
    std::filesystem::path state_dir;    // default /run/quorate/NAME ($XDG_RUNTIME_DIR if not root)
    std::uint32_t control_mode = 0600;  // permissions of STATE_DIR/control.sock
    unsigned workers = 1;               // 1 .. 16
    std::vector<unsigned> cpus;         // of the workers; empty: not pinned
    std::uint32_t idle_us = 50;         // polls this long without a packet before sleeping
    Topology topology = Topology::vip;
    std::vector<PortSpec> client_ports;       // vip: 1; inline: outside, inside
    std::optional<wire::MacAddress> gateway;  // replies go here instead of to the request's sender
    std::uint32_t ballots_max = 65'536;       // per worker, power of two
    Eal eal;
    Evidence evidence;
    std::vector<Group> groups;
    std::vector<Service> services;

    const Group* group(std::string_view name) const;
    std::optional<std::size_t> group_index(std::string_view name) const;
    std::filesystem::path control_socket() const { return state_dir / "control.sock"; }
    std::filesystem::path roster_file() const { return state_dir / "roster.json"; }
    // Of a group with state = log; no file: nothing was asked of it yet.
    std::filesystem::path request_log(const Group& group) const {
        return state_dir / ("requests-" + group.name);
    }
};

// Where a slot's place A (second = false) or B is found. Places of a netns replica are veths that
// its host makes under a name derived from the appliance, the group's index and the slot, at most
// 15 characters ("qfbf63eg0r2a"), so that host and proxy agree without asking each other.
// nullopt: this replica has no such place, or is a Xen domain.
std::optional<PortSpec> place_port(const Config& config, std::size_t group, voter::ReplicaId slot,
                                   bool second);
std::string place_interface(const Config& config, std::size_t group, voter::ReplicaId slot,
                            bool second);
// The name of the domain of a boot of a Xen replica:
// "quorate-APPLIANCE-GROUP-SLOT-PLACE-INCARNATION", never given twice.
std::string domain_name(const Config& config, std::size_t group, voter::ReplicaId slot, bool second,
                        voter::Incarnation incarnation);
// How the proxy reaches a boot of a replica of any kind.
std::optional<PortSpec> seat_port(const Config& config, std::size_t group, voter::ReplicaId slot,
                                  bool second, voter::Incarnation incarnation);

// One line a person can act on.
struct Error {
    std::filesystem::path file;
    unsigned line = 0;
    std::string key;           // dotted, e.g. group[0].quorum
    std::string what;          // what is wrong
    std::string fix;           // what would be right
    std::string text() const;  // "FILE:LINE: KEY: WHAT; FIX"
};

// What of the machine a configuration is checked against, beyond the file itself.
struct Machine {
    unsigned cpus = 0;   // how many it has; 0: not checked
    bool files = false;  // check that commands, files and users are there
    std::filesystem::path run_directory = "/run/quorate";  // parent of the default state_dir

    static Machine here();
};

// Reads and checks everything; the first error in file order is returned. parse() looks at nothing
// but the text, unless told about a machine.
tl::expected<Config, Error> load(const std::filesystem::path& file,
                                 const Machine& machine = Machine::here());
tl::expected<Config, Error> parse(std::string_view toml, const std::filesystem::path& file,
                                  const Machine& machine = {});

constexpr std::size_t groups_max = 8;
constexpr std::size_t services_max = 32;
constexpr unsigned workers_max = 16;

}  // namespace config
