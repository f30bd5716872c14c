// What a wrong configuration is told. Each row changes one thing of a right configuration; `#!` in
// the changed text marks the line that must be named.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <ostream>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include "config/config.hh"

namespace {

using namespace config;

const std::string base = R"([appliance]
name = "box"
state_dir = "/run/box"
workers = 2
topology = "vip"

[client]
ports = ["veth:qc0"]

[eal]
memory_mb = 256

[evidence]
file_bytes = "16 MiB"

[[group]]
name = "g"
f = 1
mode = "enforce"
deadline_ms = 300

[group.accusation]
window_ms = 10000

[[group.replica]]
name = "a"
place_a = "veth:ra"

[[group.replica]]
name = "b"
place_a = "veth:rb"

[[group.replica]]
name = "c"
[group.replica.netns]
command = ["server"]

[[service]]
name = "s"
group = "g"
addresses = ["192.0.2.1"]
port = 53
matcher = "0:4"
comparator = "bytes"
)";

struct Row {
    const char* from;  // this of the base (its first occurrence) ...
    const char* to;    // ... becomes this, with #! at the end of the line to be named
    const char* key;
    const char* what;  // a piece of what is wrong
    const char* fix;   // a piece of what would be right
};

void PrintTo(const Row& row, std::ostream* out) { *out << row.key << ": " << row.what; }

constexpr const char* replica_c = "name = \"c\"\n[group.replica.netns]\ncommand = [\"server\"]";
#define HASH "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"
#define XEN_KEYS                              \
    "kernel = \"k\"\nkernel_sha256 = \"" HASH \
    "\"\nramdisk = \"r\"\n"                   \
    "ramdisk_sha256 = \"" HASH "\"\n"
#define XEN(keys) "[group.replica.xen]\n" XEN_KEYS keys
constexpr const char* xen_from = "[group.replica.netns]\ncommand = [\"server\"]";
constexpr const char* matcher = "matcher = \"0:4\"\ncomparator = \"bytes\"";

const Row rows[] = {
    // Not TOML, or not a file of ours.
    {"workers = 2", "workers = #!", "", "is not TOML", "KEY = VALUE"},
    {"workers = 2", "workers = 2\nworkers = 3 #!", "", "is not TOML", ""},
    {"workers = 2", "a.b.c.d.e.f.g.h.i.j = 2 #!", "", "too many parts", "README"},
    {"workers = 2", "workers = [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]] #!", "", "is not TOML", ""},
    {"[eal]", "[eals] #!", "eals", "is not a key of this section", "did you mean eal?"},
    {"[eal]", "[[eal]] #!", "eal", "is a list of tables", "single brackets: [eal]"},
    {"[[group]]\n", "[[groups]] #!\n", "groups", "is not a key", "did you mean group?"},
    {"[eal]", "[quux] #!", "quux", "is not a key of this section", "the keys here are appliance"},

    // [appliance]
    {"name = \"box\"", "name = \"Box\" #!", "appliance.name", "is \"Box\"", "a-z, 0-9"},
    {"name = \"box\"", "name = \"a-name-of-17-char\" #!", "appliance.name", "17-char", "1 to 16"},
    {"name = \"box\"", "name = 7 #!", "appliance.name", "is a number", "double quotes"},
    {"name = \"box\"", "name = \"\" #!", "appliance.name", "is empty", "leave the key out"},
    {"\"/run/box\"", "\"run/box\" #!", "appliance.state_dir", "run/box", "absolute path"},
    {"\"/run/box\"",
     "\"/"
     "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"
     "12345678\" #!",
     "appliance.state_dir", "has 100 characters", "at most 94"},
    {"workers = 2", "workers = 0 #!", "appliance.workers", "is 0, out of range", "1 to 16"},
    {"workers = 2", "workers = 17 #!", "appliance.workers", "is 17", "1 to 16"},
    {"workers = 2", "workers = \"2\" #!", "appliance.workers", "is a text", "without quotes"},
    {"workers = 2", "workers = 1.5 #!", "appliance.workers", "number with a point", "whole number"},
    {"workers = 2", "worker = 2 #!", "appliance.worker", "not a key", "did you mean workers?"},
    {"workers = 2", "cpus = [0, 1] #!", "appliance.cpus", "2 CPUs for 1 worker",
     "one CPU for each"},
    {"workers = 2", "cpus = [4] #!", "appliance.cpus[0]", "does not have", "0 to 3"},
    {"workers = 2", "workers = 2\ncpus = [1,\n1] #!", "appliance.cpus[1]", "is 1 again", "once"},
    {"workers = 2", "cpus = 1 #!", "appliance.cpus", "is a number", "a list"},
    {"workers = 2", "cpus = [\"0\"] #!", "appliance.cpus[0]", "is a text", "numbers from 0"},
    {"workers = 2", "idle_us = -1 #!", "appliance.idle_us", "is -1", "0 to 1000000"},
    {"workers = 2", "control_mode = \"0666\" #!", "appliance.control_mode", "everybody", "0660"},
    {"workers = 2", "control_mode = \"060\" #!", "appliance.control_mode", "owner out", "0600"},
    {"workers = 2", "control_mode = \"rw\" #!", "appliance.control_mode", "is \"rw\"", "octal"},
    {"workers = 2", "control_mode = 600 #!", "appliance.control_mode", "a number", "quotes"},
    {"workers = 2", "ballots_max = 1000 #!", "appliance.ballots_max", "power of two",
     "512 or 1024"},
    {"workers = 2", "ballots_max = 128 #!", "appliance.ballots_max", "out of range", "256"},
    {"\"vip\"", "\"vpi\" #!", "appliance.topology", "cannot be", "\"vip\" or \"inline\""},

    // [client]
    {"\"vip\"\n\n[client]\nports = [\"veth:qc0\"]",
     "\"inline\"\n[client]\nports = [\"veth:qc0\"] #!", "client.ports", "has 1 port",
     "outside and inside"},
    {"\"veth:qc0\"]", "\"veth:qc0\", \"tap:a\", \"tap:b\"] #!", "client.ports", "has 3 entries",
     "at most 2"},
    {"[client]\nports = [\"veth:qc0\"]", "[client] #!", "client.ports", "is missing",
     "veth:IFNAME"},
    {"[\"veth:qc0\"]", "[] #!", "client.ports", "has 0 ports", "one port"},
    {"[\"veth:qc0\"]", "[\"veth:a\", \"veth:b\"] #!", "client.ports", "has 2 ports", "one port"},
    {"veth:qc0\"]", "qc0\"] #!", "client.ports[0]", "is no port", "veth:IFNAME"},
    {"veth:qc0\"]", "veht:qc0\"] #!", "client.ports[0]", "is no port", "veth:IFNAME"},
    {"veth:qc0\"]", "veth:a-name-too-long-\"] #!", "client.ports[0]", "no interface name",
     "1 to 15"},
    {"veth:qc0\"]", "veth:qc0,id=1\"] #!", "client.ports[0]", "option \"id\"", "no options"},
    {"veth:qc0\"]", "memif:x\"] #!", "client.ports[0]", "socket \"x\"", "absolute path"},
    {"veth:qc0\"]", "memif:/x,role=cook\"] #!", "client.ports[0]", "cook", "role=server"},
    {"veth:qc0\"]", "memif:/x,id=1,id=1\"] #!", "client.ports[0]", "twice", "once"},
    {"veth:qc0\"]", "pci:01:00\"] #!", "client.ports[0]", "no PCI address", "0000:01:00.0"},
    {"veth:qc0\"]", "pcap:a,b,c\"] #!", "client.ports[0]", "pcap:a,b,c", "OUT.pcap"},
    {"\"veth:qc0\"]", "\"veth:qc0\"]\ngateway = \"02:00\" #!", "client.gateway", "02:00", "MAC"},
    {"\"veth:qc0\"]", "\"veth:qc0\"]\ngateway = \"03:00:00:00:00:01\" #!", "client.gateway",
     "no station's", "unicast"},

    // [eal], [evidence]
    {"memory_mb = 256", "memory_mb = 1 #!", "eal.memory_mb", "is 1", "64 to"},
    {"memory_mb = 256", "hugepages = \"no\" #!", "eal.hugepages", "is a text", "true or false"},
    {"memory_mb = 256", "arguments = \"-v\" #!", "eal.arguments", "is a text", "a list"},
    {"16 MiB\"", "16 Mib\" #!", "evidence.file_bytes", "is no size", "\"16 MiB\""},
    {"16 MiB\"", "1 KiB\" #!", "evidence.file_bytes", "out of range", "64 KiB to 4 GiB"},
    {"\"16 MiB\"", "-1 #!", "evidence.file_bytes", "is no size", "bytes as a number"},
    {"16 MiB\"", "16 MiB\"\ndirectory = \"x\" #!", "evidence.directory", "is \"x\"", "absolute"},
    {"16 MiB\"", "16 MiB\"\nfiles_max = 0 #!", "evidence.files_max", "is 0", "1 to 10000"},
    {"16 MiB\"", "16 MiB\"\nper_second = 1 #!", "evidence.per_second", "not a key",
     "did you mean per_second_max?"},

    // [[group]]
    {"[[group]]\n", "[group] #!\n", "group", "is a table", "double brackets"},
    {"[[group]]\nname = \"g\"", "[[group]] #!", "group[0].name", "is missing", "name ="},
    {"name = \"g\"", "name = \"a/b\" #!", "group[0].name", "is \"a/b\"", "letters, digits"},
    {"f = 1", "f = 4 #!", "group[0].f", "is 4", "0 to 3"},
    {"f = 1", "f = 2 #!", "group[0].f", "has 3 replicas, but f = 2 takes 5",
     "5 [[group.replica]]s, or f = 1"},
    {"f = 1", "quorum = 1 #!", "group[0].quorum", "two camps could both win", "2 to 3"},
    {"f = 1", "quorum = 4 #!", "group[0].quorum", "can never agree", "2 to 3"},
    {"f = 1", "quorum = 9 #!", "group[0].quorum", "is 9", "1 to 7"},
    {"f = 1", "f = 2 #!\nquorum = 2", "group[0].f", "f liars could win", "f = 1 or less"},
    {"f = 1", "state = \"logs\" #!", "group[0].state", "is \"logs\"", "did you mean \"log\"?"},
    {"f = 1", "release = \"any\" #!", "group[0].release", "\"any\"", "\"quorum\" or \"all\""},
    {"f = 1", "log_bytes = \"64 MiB\" #!", "group[0].log_bytes", "keeps no log", "state = \"log\""},
    {"f = 1", "inflight_max = 0 #!", "group[0].inflight_max", "is 0", "1 to"},
    {"f = 1", "reserved_percent = 91 #!", "group[0].reserved_percent", "is 91", "0 to 90"},
    {"f = 1", "suspend = true #!", "group[0].suspend", "is true or false", "\"manual\""},
    {"f = 1", "quorum_lost = \"closed\" #!", "group[0].quorum_lost", "closed", "\"silence\""},
    {"[[group]]\nname", "[[group]] #!\nquorum_lost = \"open\"\nname", "group[0].primary",
     "is missing, and quorum_lost = \"open\"", "name or slot"},
    {"[[group]]\nname = \"g\"\nf = 1\nmode = \"enforce\"",
     "[[group]] #!\nname = \"g\"\nmode = \"observe\"", "group[0].primary", "mode = \"observe\"",
     "name or slot"},
    {"f = 1", "primary = 3 #!", "group[0].primary", "is 3", "0 to 2"},
    {"f = 1", "primary = \"d\" #!", "group[0].primary", "no replica of this group",
     "\"a\", \"b\" or \"c\""},
    {"f = 1", "primary = true #!", "group[0].primary", "is true or false", "double quotes"},
    {"deadline_ms = 300", "deadline_ms = 9 #!", "group[0].deadline_ms", "is 9", "10 to 10000"},
    {"deadline_ms = 300", "deadline = 300 #!", "group[0].deadline", "not a key",
     "did you mean deadline_ms?"},
    {"window_ms = 10000", "window_ms = 1 #!", "group[0].accusation.window_ms", "is 1", "100 to"},
    {"window_ms = 10000", "share = 1 #!", "group[0].accusation.share", "not a key",
     "did you mean share_percent?"},

    // [[group.replica]]
    {"name = \"b\"", "name = \"a\" #!", "group[0].replica[1].name",
     "is \"a\", which group[0].replica[0].name is called", "its own name"},
    {"veth:rb\"", "veth:ra\" #!", "group[0].replica[1].place_a", "group[0].replica[0].place_a has",
     "its own port"},
    {"veth:rb\"", "af_xdp:ra\" #!", "group[0].replica[1].place_a",
     "group[0].replica[0].place_a has", "its own port"},
    {"veth:rb\"", "veth:qc0\" #!", "group[0].replica[1].place_a", "client.ports[0] has already",
     "its own port"},
    {"place_a = \"veth:rb\"", "place_b = \"veth:rb\" #!", "group[0].replica[1].place_b",
     "without place_a", "place_a ="},
    {"[[group.replica]]\nname = \"b\"\nplace_a = \"veth:rb\"", "[[group.replica]] #!\nname = \"b\"",
     "group[0].replica[1].place_a", "is missing", "[group.replica.netns]"},
    {replica_c, "name = \"c\"\nplace_a = \"veth:rc\" #!\n[group.replica.netns]\ncommand = [\"x\"]",
     "group[0].replica[2].place_a", "given for a replica with netns", "leave it out"},
    {replica_c, "name = \"c\"\n[group.replica.netns] #!\nuser = \"x\"",
     "group[0].replica[2].netns.command", "is missing", "command ="},
    {"[\"server\"]", "[] #!", "group[0].replica[2].netns.command", "is empty", "PROGRAM"},
    {"[\"server\"]", "[\"\"] #!", "group[0].replica[2].netns.command[0]", "is empty", "program"},
    {"[\"server\"]", "\"server\" #!", "group[0].replica[2].netns.command", "is a text", "a list"},
    {"[\"server\"]", "[\"a\"]\nfiles = { \"../x\" = \"\" } #!",
     "group[0].replica[2].netns.files.\"../x\"", "no path", "without \"..\""},
    {"[\"server\"]", "[\"a\"]\nfiles = { x = 1 } #!", "group[0].replica[2].netns.files.x",
     "is a number", "double quotes"},
    {"[\"server\"]", "[\"a\"]\nfiles = { x = \"\" }\ncopies = { x = \"y\" } #!",
     "group[0].replica[2].netns.copies.x", "is in files, too", "in files or in copies"},
    {"[\"server\"]", "[\"a\"]\ncopies = { \"/x\" = \"y\" } #!",
     "group[0].replica[2].netns.copies.\"/x\"", "no path", "below"},
    {"[\"server\"]", "[\"a\"]\nenvironment = { \"A-B\" = \"y\" } #!",
     "group[0].replica[2].netns.environment.A-B", "no name of a variable", "letters"},
    {"[\"server\"]", "[\"a\"]\nenvironment = { A = \"\\u0000\" } #!",
     "group[0].replica[2].netns.environment.A", "NUL", "leave it out"},
    {"[\"server\"]", "[\"a\"]\ncpus = [9] #!", "group[0].replica[2].netns.cpus[0]", "not have",
     "0 to 3"},
    {"[\"server\"]", "[\"a\"]\nhealth_timeout_ms = 0 #!",
     "group[0].replica[2].netns.health_timeout_ms", "is 0", "100 to 600000"},

    // [group.replica.xen]
    {xen_from, "[group.replica.xen] #!\nramdisk = \"r\"", "group[0].replica[2].xen.kernel",
     "is missing", "guest/image/build"},
    {xen_from,
     "[group.replica.xen]\nkernel = \"k\"\nkernel_sha256 = \"" HASH
     "\"\nramdisk = \"r\"\nramdisk_sha256 = \"0123\" #!",
     "group[0].replica[2].xen.ramdisk_sha256", "no SHA-256", "64 hexadecimal"},
    {xen_from, "[group.replica.xen] #!\n" XEN_KEYS "disk = \"d\"",
     "group[0].replica[2].xen.disk_sha256", "is missing", "both disk and disk_sha256"},
    {xen_from, XEN("memory_mb = 64 #!"), "group[0].replica[2].xen.memory_mb", "is 64",
     "80 to 1048576"},
    {xen_from, XEN("type = \"hvm\" #!"), "group[0].replica[2].xen.type", "\"hvm\"", "\"pvh\""},
    {xen_from, XEN("files = { \"/etc/../x\" = \"\" } #!"),
     "group[0].replica[2].xen.files.\"/etc/../x\"", "no path", "in the guest"},
    {xen_from, XEN("arguments = [\"a\\nb\"] #!"), "group[0].replica[2].xen.arguments[0]",
     "line end", "one line"},
    {xen_from, XEN("cpus = [7, 7] #!"), "group[0].replica[2].xen.cpus[1]", "is 7 again", "once"},
    {xen_from, XEN("cap_percent = 101 #!"), "group[0].replica[2].xen.cap_percent",
     "more than its 1 vcpu can use", "at most 100"},
    {xen_from, XEN("[[group.replica.xen.variant]] #!\nkernel = \"other\""),
     "group[0].replica[2].xen.variant[0].kernel_sha256", "is missing", "both kernel and"},
    {xen_from, XEN("[[group.replica.xen.variant]]\ncpus = [1] #!"),
     "group[0].replica[2].xen.variant[0].cpus", "", ""},
    {replica_c, "name = \"c\"\nplace_b = \"veth:rc\" #!\n[group.replica.xen]\n" XEN_KEYS,
     "group[0].replica[2].place_b", "given for a replica with xen", "leave it out"},
    {xen_from, "[group.replica.netns]\ncommand = [\"x\"]\n[group.replica.xen] #!\n" XEN_KEYS,
     "group[0].replica[2].xen", "for a replica with netns", "netns] or"},

    // [[service]]
    {"group = \"g\"", "group = \"dg\" #!", "service[0].group", "no such group",
     "did you mean \"g\"?"},
    {"group = \"g\"", "group = \"other\" #!", "service[0].group", "no such group", "write \"g\""},
    {"[\"192.0.2.1\"]", "[] #!", "service[0].addresses", "is empty", "192.0.2.1"},
    {"[\"192.0.2.1\"]", "[\"192.0.2\"] #!", "service[0].addresses[0]", "no address", "192.0.2.1"},
    {"[\"192.0.2.1\"]", "[\"224.0.0.1\"] #!", "service[0].addresses[0]", "no service", "unicast"},
    {"[\"192.0.2.1\"]", "[\"127.0.0.1\"] #!", "service[0].addresses[0]", "no service", "loopback"},
    {"[\"192.0.2.1\"]", "[\"0.0.0.0\"] #!", "service[0].addresses[0]", "no service", "unicast"},
    {"[\"192.0.2.1\"]", "[\"::1\"] #!", "service[0].addresses[0]", "no service", "unicast"},
    {"[\"192.0.2.1\"]", "[\"::\"] #!", "service[0].addresses[0]", "no service", "unicast"},
    {"[\"192.0.2.1\"]", "[\"ff02::1\"] #!", "service[0].addresses[0]", "no service", "unicast"},
    {"[\"192.0.2.1\"]", "[\"192.0.2.1\",\n\"192.0.2.2\"] #!", "service[0].addresses[1]",
     "second IPv4", "at most one"},
    {"[\"192.0.2.1\"]", "[\"2001:db8::1\", \"2001:db8::2\"] #!", "service[0].addresses[1]",
     "second IPv6", "at most one"},
    {"port = 53", "port = 0 #!", "service[0].port", "is 0", "1 to 65535"},
    {"port = 53", "port = 53\nprotocol = \"tcp\" #!", "service[0].protocol", "not built yet",
     "udp"},
    {"port = 53", "port = 53\nprotocol = \"sctp\" #!", "service[0].protocol", "sctp", "\"udp\""},
    {matcher, "matcher = \"dsn\" #!", "service[0].matcher", "no matcher", "did you mean \"dns\"?"},
    {matcher, "matcher = \"4\" #!", "service[0].matcher", "no matcher", "OFFSET:LENGTH"},
    {matcher, "matcher = \"0:9\" #!", "service[0].matcher", "out of range", "1 to 8 bytes"},
    {matcher, "matcher = \"0:0\" #!", "service[0].matcher", "out of range", "1 to 8 bytes"},
    {matcher, "matcher = \"65507:1\" #!", "service[0].matcher", "out of range", "datagram"},
    {matcher, "matcher = \"99999999999:1\" #!", "service[0].matcher", "no matcher", "OFFSET"},
    {"\"bytes\"", "\"dns\" #!", "service[0].comparator", "the matcher is not", "matcher = \"dns\""},
    {"\"bytes\"", "\"mask\" #!", "service[0].comparator", "there is no mask", "mask = [{"},
    {"\"bytes\"", "\"mask\"\nmask = [] #!", "service[0].mask", "is empty", "mask = [{"},
    {"\"bytes\"", "\"bytes\"\nmask = [{offset = 4, length = 1}] #!", "service[0].mask",
     "does not use it", "comparator = \"mask\""},
    {"\"bytes\"", "\"mask\"\nmask = [{offset = 3, length = 4}] #!", "service[0].mask[0]",
     "by which the matcher", "leave out bytes 0 to 3"},
    {"\"bytes\"", "\"mask\"\nmask = [{offset = 4, length = 4},\n{offset = 7, length = 1}] #!",
     "service[0].mask[1]", "bytes 7 to 7", "do not overlap"},
    {"\"bytes\"", "\"mask\"\nmask = [{offset = 4}] #!", "service[0].mask[0].length", "is missing",
     "length = N"},
    {"\"bytes\"", "\"mask\"\nmask = [{offset = 4, length = 0}] #!", "service[0].mask[0].length",
     "is 0", "1 to"},
    {"\"bytes\"", "\"mask\"\nmask = [{offset = 65506, length = 2}] #!", "service[0].mask[0].length",
     "beyond the longest", "below 65507"},
    {"\"bytes\"", "\"mask\"\nmask = [{offset = 4, length = 1, on = \"one\"}] #!",
     "service[0].mask[0].on", "is \"one\"", "\"zero\" or \"taken\""},
    {"\"bytes\"", "\"mask\"\nmask = [4] #!", "service[0].mask[0]", "is a number", "[{...}"},
    {"\"bytes\"", "\"bytes\"\nrefuse = [\"any\"] #!", "service[0].refuse", "kinds of DNS requests",
     "matcher = \"dns\""},
    {matcher, "matcher = \"dns\"\nrefuse = [\"axfr\"] #!", "service[0].refuse[0]", "is \"axfr\"",
     "\"any\", \"chaos\", \"status\" or \"opcodes\""},
    {matcher, "matcher = \"dns\"\nrefuse = [\"any\", \"any\"] #!", "service[0].refuse[1]", "again",
     "once"},

    // What spans sections.
    {"\"bytes\"",
     "\"bytes\"\n[[service]]\nname = \"t\"\ngroup = \"g\"\n"
     "addresses = [\"2001:db8::1\", \"192.0.2.1\"] #!\nport = 53\nmatcher = \"dns\"",
     "service[1].addresses", "has 192.0.2.1 port 53, which service[0] has", "address or port"},
    {"\"bytes\"",
     "\"bytes\"\n[[service]]\nname = \"s\" #!\ngroup = \"g\"\n"
     "addresses = [\"192.0.2.2\"]\nport = 53\nmatcher = \"dns\"",
     "service[1].name", "is \"s\", which service[0].name is called", "its own name"},
    {"\"bytes\"",
     "\"bytes\"\n[[group]] #!\nname = \"h\"\nf = 0\n[[group.replica]]\nname = \"a\"\n"
     "place_a = \"tap:t\"",
     "group[1]", "is \"h\", which no service uses", "group = \"h\""},
    {"\"bytes\"",
     "\"bytes\"\n[[group]]\nname = \"h\"\nf = 0\nstate = \"log\"\n[[group.replica]]\n"
     "name = \"a\"\nplace_a = \"tap:t\"\n[[service]]\nname = \"t\"\ngroup = \"h\"\n"
     "addresses = [\"192.0.2.1\"]\nport = 1\nmatcher = \"fifo\" #!",
     "service[1].matcher", "cannot tell a repeated request", "OFFSET:LENGTH"},
    {"\"bytes\"",
     "\"bytes\"\n[[group]]\nname = \"g\" #!\nf = 0\n[[group.replica]]\nname = \"a\"\n"
     "place_a = \"tap:t\"",
     "group[1].name", "is \"g\"", "its own name"},
    {"\"bytes\"", "\"bytes\"\n[[group]] #!\nname = \"h\"", "group[1].replica", "is missing",
     "[[group.replica]]"},
};

std::string changed(const Row& row) {
    std::string text = base;
    const std::size_t at = text.find(row.from);
    EXPECT_NE(at, std::string::npos) << "the base has no " << row.from;
    if (at != std::string::npos) text.replace(at, std::string(row.from).size(), row.to);
    return text;
}

unsigned line_of(const std::string& text, std::size_t at) {
    return 1 + static_cast<unsigned>(
                   std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
}

const Machine four_cpus{4, false, "/run/quorate"};

class Wrong : public testing::TestWithParam<Row> {};

TEST_P(Wrong, IsToldWhereWhatAndHow) {
    const Row& row = GetParam();
    const std::string text = changed(row);
    const std::size_t mark = text.find("#!");
    ASSERT_NE(mark, std::string::npos);
    const auto parsed = parse(text, "test.toml", four_cpus);
    ASSERT_FALSE(parsed.has_value()) << text;
    const Error& error = parsed.error();
    EXPECT_EQ(error.line, line_of(text, mark)) << error.text();
    EXPECT_EQ(error.key, row.key) << error.text();
    EXPECT_NE(error.what.find(row.what), std::string::npos) << error.text();
    EXPECT_NE(error.fix.find(row.fix), std::string::npos) << error.text();
    EXPECT_FALSE(error.what.empty() || error.fix.empty());
    EXPECT_EQ(error.text().find('\n'), std::string::npos) << "one line";
    EXPECT_TRUE(error.text().starts_with("test.toml:" + std::to_string(error.line) + ": "));
}

INSTANTIATE_TEST_SUITE_P(Table, Wrong, testing::ValuesIn(rows));

TEST(Base, IsRight) {
    const auto parsed = parse(base, "test.toml", four_cpus);
    EXPECT_TRUE(parsed.has_value()) << parsed.error().text();
}

// The parser itself says which keys it knows: each must be in the example and in the README.
TEST(Documents, NameEveryKey) {
    const auto read = [](const char* file) {
        std::ifstream in(file);
        return std::string(std::istreambuf_iterator<char>(in), {});
    };
    const std::string readme = read(README);
    const std::string example = read(EXAMPLE_TOML);
    const std::string masked = "\"mask\"\nmask = [{offset = 4, length = 1}]";
    std::string text = base;
    text.replace(text.find("\"bytes\""), 7, masked);
    const std::string xen =
        "[[group.replica]]\nname = \"d\"\n" XEN("[[group.replica.xen.variant]]\n");
    text.insert(text.find("[[service]]"), xen);
    text.replace(text.find("f = 1"), 5, "quorum = 3");
    unsigned keys = 0;
    for (const char* place : {"[appliance]\n", "[client]\n", "[eal]\n", "[evidence]\n",
                              "[[group]]\n", "[group.accusation]\n", "[[group.replica]]\n",
                              "[group.replica.netns]\n", "[group.replica.xen]\n",
                              "[[group.replica.xen.variant]]\n", "[[service]]\n", "mask = [{"}) {
        std::string changed = text;
        const std::size_t at = changed.find(place) + std::string(place).size();
        changed.insert(at, std::string(place).ends_with('{') ? "qqqqqq = 1, " : "qqqqqq = 1\n");
        const auto parsed = parse(changed, "x", four_cpus);
        ASSERT_FALSE(parsed.has_value()) << place;
        const std::string lead = "the keys here are ";
        ASSERT_TRUE(parsed.error().fix.starts_with(lead)) << place << parsed.error().text();
        std::stringstream words(parsed.error().fix.substr(lead.size()));
        for (std::string key; words >> key; ++keys) {
            if (key.ends_with(',')) key.pop_back();
            EXPECT_NE(example.find(key), std::string::npos) << place << key;
            const bool in_readme = readme.find("`" + key + "`") != std::string::npos ||
                                   readme.find(key + "]**") != std::string::npos ||
                                   readme.find(key + "]]**") != std::string::npos ||
                                   std::string(place) == "mask = [{";
            EXPECT_TRUE(in_readme) << place << key;
        }
    }
    EXPECT_GT(keys, 50u);
}

TEST(Order, TheFirstInTheFileIsNamedHoweverTheSectionsStand) {
    // [[service]] is read last and stands first.
    const std::string service = base.substr(base.find("[[service]]"));
    std::string text = service + base.substr(0, base.find("[[service]]"));
    text.replace(text.find("workers = 2"), 11, "workers = 0");
    EXPECT_EQ(parse(text, "x").error().key, "appliance.workers");
    text.replace(text.find("port = 53"), 9, "port = 0 ");
    EXPECT_EQ(parse(text, "x").error().key, "service[0].port");
}

TEST(Order, AWrongValueCausesNoFurtherComplaints) {
    // Each of these stands *after* what it would make wrong elsewhere.
    std::string text = base;
    text.replace(text.find("[appliance]"), 0, "");
    const std::string appliance = base.substr(0, base.find("[client]"));
    text = base.substr(base.find("[client]")) + appliance;
    text.replace(text.find("\"vip\""), 5, "\"in\"");
    EXPECT_EQ(parse(text, "x").error().key, "appliance.topology") << "one port may be right";

    text = base;
    text.replace(text.find("name = \"g\""), 10, "name = \"/\"");
    const std::size_t service = text.find("[[service]]");
    text = text.substr(service) + text.substr(0, service);
    EXPECT_EQ(parse(text, "x").error().key, "group[0].name") << "the service's group may be there";
}

TEST(File, ThatIsMissingUnreadableOrHuge) {
    const auto missing = load("/nonexistent/file.toml");
    ASSERT_FALSE(missing.has_value());
    EXPECT_NE(missing.error().what.find("No such file"), std::string::npos)
        << missing.error().text();
    EXPECT_FALSE(load("/").has_value());
    EXPECT_NE(load("/").error().what.find("directory"), std::string::npos);
    const auto huge = parse(std::string((4u << 20) + 1, '#'), "x");
    ASSERT_FALSE(huge.has_value());
    EXPECT_NE(huge.error().fix.find("4 MiB"), std::string::npos);
    EXPECT_FALSE(parse("", "x").has_value());
    EXPECT_FALSE(parse(std::string_view("\0", 1), "x").has_value());
}

TEST(File, WhatItNamesMustBeThereWhereItIsRun) {
    const Machine here{0, true, "/run/quorate"};
    const auto told = [&](const std::string& from, const std::string& to) {
        std::string text = base;
        text.replace(text.find(from), from.size(), to);
        const auto parsed = parse(text, "/etc/test.toml", here);
        return parsed ? std::string() : parsed.error().key + " " + parsed.error().what;
    };
    const std::string netns = "group[0].replica[2].netns.";
    EXPECT_EQ(told("[\"server\"]", "[\"/bin/sh\"]"), "");
    EXPECT_TRUE(told("[\"server\"]", "[\"/no/such\"]").starts_with(netns + "command[0] is \"/no"));
    EXPECT_EQ(told("[\"server\"]", "[\"{dir}/x\"]\ncopies = { x = \"passwd\" }"), "");
    EXPECT_TRUE(told("[\"server\"]", "[\"s\"]\ncopies = { x = \"no/such\" }")
                    .starts_with(netns + "copies.x is \"no/such\""));
    const std::string xen = "group[0].replica[2].xen.";
    EXPECT_TRUE(told(xen_from, XEN("")).starts_with(xen + "kernel is \"k\", which is not there"));
    EXPECT_EQ(told("[\"server\"]", "[\"s\"]\nuser = \"root\""), "");
    EXPECT_TRUE(told("[\"server\"]", "[\"s\"]\nuser = \"no-such-user\"")
                    .starts_with(netns + "user is \"no-such-user\""));
}

TEST(StateDirectory, WithoutADefaultMustBeGiven) {
    std::string text = base;
    text.replace(text.find("state_dir = \"/run/box\""), 22, "");
    EXPECT_EQ(parse(text, "x", Machine{0, false, "/run/user/7/quorate"})->state_dir,
              "/run/user/7/quorate/box");
    const auto none = parse(text, "x", Machine{0, false, {}});
    ASSERT_FALSE(none.has_value());
    EXPECT_EQ(none.error().key, "appliance.state_dir");
}

}  // namespace
