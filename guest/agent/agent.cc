// What /init in a replica needs and busybox has not: telling Dom0 how the replica is, looking at
// the service, and starting it as somebody else than root. `usage` below says all of it.
//
// Known limit: the store's answer is waited for without a deadline (the kernel gives none); a
// Dom0 that does not answer is known to it.
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/random.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "guest/agent/store.hh"

namespace {

constexpr const char* health_key = "data/quorate/health";  // below the domain's home
constexpr std::size_t health_bytes_max = 256;
constexpr int probe_ms_max = 1'000;
constexpr std::size_t seed_bytes_max = 512;

constexpr const char* usage =
    "usage: agent COMMAND ...\n"
    "  health TEXT                        tell Dom0: healthy, or failed: WHY\n"
    "  read KEY | write KEY VALUE         a key of the hypervisor's store, from the domain's home\n"
    "  relay PATH                         commands that Dom0 writes, to the service's socket\n"
    "  probe udp|tcp ADDRESS PORT HEX [BEGINNING]\n"
    "                                     send these bytes; does an answer come back within 1 s? "
    "It\n"
    "                                     begins so, in hex; '.' is any digit\n"
    "  listening udp|tcp PORT             does a process have this port?\n"
    "  run UID:GID PROGRAM [ARGUMENT]...  become this user, and then this program\n"
    "  seed FILE                          give the kernel these random bytes, and credit for them\n"
    "Exit status: 0 yes, 1 no, 2 wrong usage.\n";

int fail(const std::string& what) {
    std::fprintf(stderr, "agent: %s\n", what.c_str());
    return 1;
}

int fail_with_cause(const std::string& what) { return fail(what + ": " + std::strerror(errno)); }

template <typename Number>
std::optional<Number> number(std::string_view text, int base = 10) {
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

// --- the store

int ask_store(agent::Kind kind, const std::string& path, const std::string& value) {
    agent::Store store;
    if (const std::string error = store.open(); !error.empty()) return fail(error);
    const bool writes = kind == agent::Kind::write;
    const agent::Reply reply = writes ? store.write(path, value) : store.read(path);
    if (!reply.ok) return fail(path + ": " + reply.text);
    if (!writes) std::printf("%s\n", reply.text.c_str());
    return 0;
}

// One line of printable characters: others than us read it.
std::string tidy(std::string text) {
    if (text.size() > health_bytes_max) text.resize(health_bytes_max);
    for (char& c : text) {
        if (std::isprint(static_cast<unsigned char>(c)) == 0) c = ' ';
    }
    return text;
}

// --- commands for a service: the key `tell` holds "NUMBER COMMAND", `told` then "NUMBER REPLY"

constexpr const char* tell_key = "data/quorate/tell";
constexpr const char* told_key = "data/quorate/told";
constexpr int service_ms_max = 2'000;

// One datagram there and one back.
std::string ask_service(const sockaddr_un& service, std::string_view command) {
    const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket < 0) return "error: cannot make a socket";
    sockaddr_un own{};
    own.sun_family = AF_UNIX;
    std::string reply = "error: the service does not answer";
    std::array<char, 512> text;
    pollfd ready{socket, POLLIN, 0};
    // Bound to a name that the kernel chooses (unix(7), autobind), so that it can answer.
    if (::bind(socket, reinterpret_cast<const sockaddr*>(&own), sizeof own.sun_family) == 0 &&
        ::sendto(socket, command.data(), command.size(), 0,
                 reinterpret_cast<const sockaddr*>(&service), sizeof service) >= 0 &&
        ::poll(&ready, 1, service_ms_max) > 0) {
        const ssize_t got = ::recv(socket, text.data(), text.size(), 0);
        if (got >= 0) reply.assign(text.data(), static_cast<std::size_t>(got));
    }
    ::close(socket);
    return reply;
}

int relay(const std::string& path) {
    sockaddr_un service{};
    service.sun_family = AF_UNIX;
    if (path.size() >= sizeof service.sun_path) return fail("too long: " + path);
    std::memcpy(service.sun_path, path.data(), path.size());
    agent::Store store;
    if (const std::string error = store.open(); !error.empty()) return fail(error);
    if (const agent::Reply reply = store.watch(tell_key); !reply.ok) {
        return fail(std::string("cannot watch ") + tell_key + ": " + reply.text);
    }
    std::string last;
    while (store.wait()) {
        const agent::Reply told = store.read(tell_key);
        if (!told.ok || told.text == last) continue;
        last = told.text;
        const std::size_t space = last.find(' ');
        if (space == std::string::npos) continue;
        const std::string answer = ask_service(service, std::string_view(last).substr(space + 1));
        store.write(told_key, last.substr(0, space + 1) + tidy(answer));
    }
    return fail("the store has gone");
}

// --- looking at a service

struct Endpoint {
    int kind = SOCK_DGRAM;
    sockaddr_storage address{};
    socklen_t address_bytes = 0;
};

std::optional<int> socket_kind(std::string_view text) {
    if (text == "udp") return SOCK_DGRAM;
    if (text == "tcp") return SOCK_STREAM;
    return std::nullopt;
}

std::optional<Endpoint> endpoint(const std::string& kind, const std::string& address,
                                 const std::string& port) {
    const auto type = socket_kind(kind);
    const auto port_number = number<std::uint16_t>(port);
    if (!type || !port_number) return std::nullopt;
    Endpoint to;
    to.kind = *type;
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    if (::inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        v4.sin_port = htons(*port_number);
        to.address_bytes = sizeof v4;
        std::memcpy(&to.address, &v4, sizeof v4);
    } else if (::inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) == 1) {
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(*port_number);
        to.address_bytes = sizeof v6;
        std::memcpy(&to.address, &v6, sizeof v6);
    } else {
        return std::nullopt;
    }
    return to;
}

std::optional<std::string> bytes_of(std::string_view hex) {
    std::string bytes;
    if (hex.size() % 2 != 0) return std::nullopt;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        const auto value = number<std::uint8_t>(hex.substr(i, 2), 16);
        if (!value) return std::nullopt;
        bytes.push_back(static_cast<char>(*value));
    }
    return bytes;
}

// `pattern` is in hexadecimal digits, with '.' for any.
bool begins_so(std::string_view bytes, std::string_view pattern) {
    constexpr std::string_view digits = "0123456789abcdef";
    if (pattern.size() > 2 * bytes.size()) return false;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        const auto byte = static_cast<std::uint8_t>(bytes[i / 2]);
        const char digit = digits[i % 2 == 0 ? byte >> 4 : byte & 15];
        if (pattern[i] != '.' && pattern[i] != digit) return false;
    }
    return true;
}

int probe(const Endpoint& to, const std::string& bytes, std::string_view beginning) {
    const int socket = ::socket(to.address.ss_family, to.kind | SOCK_CLOEXEC, 0);
    if (socket < 0) return fail_with_cause("cannot make a socket");
    // The peer is on this machine: connecting does not take long, or fails.
    if (::connect(socket, reinterpret_cast<const sockaddr*>(&to.address), to.address_bytes) != 0) {
        return fail_with_cause("cannot connect");
    }
    if (::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) {
        return fail_with_cause("cannot send");
    }
    pollfd ready{socket, POLLIN, 0};
    if (::poll(&ready, 1, probe_ms_max) <= 0) return fail("no answer");
    std::array<char, 2'048> answer;
    const ssize_t got = ::recv(socket, answer.data(), answer.size(), 0);
    if (got <= 0) return fail_with_cause("no answer");
    const std::string_view text(answer.data(), static_cast<std::size_t>(got));
    return begins_so(text, beginning) ? 0 : fail("another answer than was wanted");
}

// Lines of /proc/net/udp and its likes: "SLOT: LOCAL:PORT REMOTE:PORT STATE ...", in hex.
bool listens(const char* table, std::uint16_t port, bool stream) {
    std::FILE* file = std::fopen(table, "re");
    if (file == nullptr) return false;
    std::array<char, 512> line;
    bool found = false;
    while (!found && std::fgets(line.data(), static_cast<int>(line.size()), file) != nullptr) {
        unsigned local = 0;
        unsigned state = 0;
        if (std::sscanf(line.data(), " %*[0-9]: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x", &local,
                        &state) != 2) {
            continue;
        }
        constexpr unsigned tcp_listen = 0x0A;
        found = local == port && (!stream || state == tcp_listen);
    }
    std::fclose(file);
    return found;
}

int listening(int kind, std::uint16_t port) {
    const bool stream = kind == SOCK_STREAM;
    const char* v4 = stream ? "/proc/net/tcp" : "/proc/net/udp";
    const char* v6 = stream ? "/proc/net/tcp6" : "/proc/net/udp6";
    if (listens(v4, port, stream) || listens(v6, port, stream)) return 0;
    return fail("nobody has port " + std::to_string(port));
}

// --- starting it

int run_as(const std::string& user, char** command) {
    const std::size_t colon = user.find(':');
    if (colon == std::string::npos) return fail("not UID:GID: " + user);
    const auto uid = number<uid_t>(std::string_view(user).substr(0, colon));
    const auto gid = number<gid_t>(std::string_view(user).substr(colon + 1));
    if (!uid || !gid) return fail("not UID:GID: " + user);
    if (::setgroups(0, nullptr) != 0 || ::setgid(*gid) != 0 || ::setuid(*uid) != 0) {
        return fail_with_cause("cannot become " + user);
    }
    ::execv(command[0], command);
    return fail_with_cause(std::string("cannot start ") + command[0]);
}

// As the kernel wants it in one piece: struct rand_pool_info with its bytes (random(4)).
struct Entropy {
    int bits = 0;
    int size_bytes = 0;
    std::array<char, seed_bytes_max> bytes{};
};

int seed(const char* path) {
    Entropy entropy;
    const int file = ::open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return fail_with_cause(path);
    const ssize_t got = ::read(file, entropy.bytes.data(), entropy.bytes.size());
    ::close(file);
    if (got <= 0) return fail(std::string(path) + " is empty");
    entropy.size_bytes = static_cast<int>(got);
    entropy.bits = entropy.size_bytes * 8;
    const int random = ::open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    if (random < 0) return fail_with_cause("/dev/urandom");
    const int done = ::ioctl(random, RNDADDENTROPY, &entropy);
    ::close(random);
    return done == 0 ? 0 : fail_with_cause("cannot add randomness");
}

int wrong_usage() {
    std::fputs(usage, stderr);
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    const std::string command = words.empty() ? "" : words[0];
    const std::size_t count = words.empty() ? 0 : words.size() - 1;
    if (command == "--help") return std::fputs(usage, stdout) < 0;
    if (command == "health" && count == 1) {
        return ask_store(agent::Kind::write, health_key, tidy(words[1]));
    }
    if (command == "write" && count == 2) {
        return ask_store(agent::Kind::write, words[1], words[2]);
    }
    if (command == "read" && count == 1) return ask_store(agent::Kind::read, words[1], {});
    if (command == "relay" && count == 1) return relay(words[1]);
    if (command == "probe" && (count == 4 || count == 5)) {
        const auto to = endpoint(words[1], words[2], words[3]);
        const auto bytes = bytes_of(words[4]);
        return to && bytes ? probe(*to, *bytes, count == 5 ? words[5] : "") : wrong_usage();
    }
    if (command == "listening" && count == 2) {
        const auto kind = socket_kind(words[1]);
        const auto port = number<std::uint16_t>(words[2]);
        return kind && port ? listening(*kind, *port) : wrong_usage();
    }
    if (command == "run" && count >= 2) return run_as(words[1], argv + 3);
    if (command == "seed" && count == 1) return seed(words[1].c_str());
    return wrong_usage();
}
