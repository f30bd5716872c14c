// Writes the corpora that the fuzzers of wire start from: make_seeds DIRECTORY makes frames/ and
// quoted/ in it. Made at build time, so that they follow the builders of the unit tests.
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/unit/wire/packets.hh"

namespace {

using namespace packets;
namespace fs = std::filesystem;

void save(const fs::path& directory, const std::string& name, const Octets& bytes) {
    std::ofstream out(directory / name, std::ios::binary);
    for (const std::byte octet : bytes) out.put(static_cast<char>(octet));
}

Octets solicitation(const wire::IpAddress& from, const Octets& options) {
    const wire::IpAddress to = ip("ff02::1:ff00:1");
    Octets message = octets({135, 0, 0, 0, 0, 0, 0, 0});
    append(message, raw(ip("2001:db8::1")));
    append(message, options);
    return ethernet(0x86dd, ipv6(from, to, 58, checksummed(from, to, 58, 2, message), 255));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    const fs::path frames = fs::path(argv[1]) / "frames";
    const fs::path quoted = fs::path(argv[1]) / "quoted";
    fs::create_directories(frames);
    fs::create_directories(quoted);

    const wire::IpAddress from4 = ip("192.0.2.7");
    const wire::IpAddress to4 = ip("198.51.100.1");
    const wire::IpAddress from6 = ip("2001:db8::7");
    const wire::IpAddress to6 = ip("2001:db8:1::1");
    const Octets datagram4 = udp(from4, 4711, to4, 53, text("question"));
    const Octets datagram6 = udp(from6, 4711, to6, 53, text("question"));
    const Octets tcp = join({be16(9), be16(80), filled(8), octets({0x50, 2}), filled(6)});
    const Octets echo = octets({8, 0, 0, 0, 0, 1, 0, 2, 65, 66});

    save(frames, "udp4", ethernet(0x0800, ipv4(from4, to4, 17, datagram4)));
    save(frames, "udp4_vlan", vlan(5, 0x0800, ipv4(from4, to4, 17, datagram4)));
    save(frames, "udp4_long", udp_frame("192.0.2.7", "198.51.100.1", filled(300)));
    save(frames, "udp6", ethernet(0x86dd, ipv6(from6, to6, 17, datagram6)));
    save(frames, "udp6_atomic",
         ethernet(0x86dd, ipv6(from6, to6, 44, join({fragment_header(17, 0), datagram6}))));
    save(frames, "fragment4", ethernet(0x0800, ipv4(from4, to4, 17, filled(16), 0x2000)));
    save(frames, "fragment6",
         ethernet(0x86dd, ipv6(from6, to6, 44, join({fragment_header(17, 9), filled(16)}))));
    save(frames, "tcp4",
         ethernet(0x0800, ipv4(from4, to4, 6, checksummed(from4, to4, 6, 16, tcp))));
    save(frames, "echo4", ethernet(0x0800, ipv4(from4, to4, 1, echo)));
    save(frames, "echo6", ethernet(0x86dd, ipv6(from6, to6, 58, echo)));
    const Octets arp =
        join({octets({0, 1, 8, 0, 6, 4, 0, 1}), raw(mac_a), raw(from4), filled(6), raw(to4)});
    save(frames, "arp", ethernet(0x0806, arp));
    const Octets link_option = join({octets({1, 1}), raw(mac_a)});
    save(frames, "solicitation", solicitation(from6, link_option));
    save(frames, "solicitation_nonce",
         solicitation(from6, join({octets({14, 1}), filled(6), link_option})));
    save(frames, "probe6", solicitation(ip("::"), {}));

    save(quoted, "udp4", ipv4(from4, to4, 17, datagram4));
    save(quoted, "udp4_fragment", ipv4(from4, to4, 17, datagram4, 0x2000));
    save(quoted, "udp6", ipv6(from6, to6, 17, datagram6));
    save(quoted, "udp6_fragment", ipv6(from6, to6, 44, join({fragment_header(17, 1), datagram6})));
    save(quoted, "tcp4", ipv4(from4, to4, 6, tcp));
    save(quoted, "echo6", ipv6(from6, to6, 58, echo));
    return 0;
}
