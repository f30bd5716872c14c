// The counter service, implementation A: a UDP service whose answer depends on every request it
// ever executed. ../README.md says what goes over the wire and which commands make it misbehave;
// counter.py is the other implementation. Nothing of Quorate's is used here: a replica is a guest.
//
// Known limit: one thread. `copy` waits for the other replica up to 50 ms per request, and nothing
// else is answered meanwhile.

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t request_bytes_min = 8;
constexpr std::size_t answer_bytes = 16;
constexpr std::size_t held_max = 65'536;  // answers of `late`; what comes on top is not answered
constexpr milliseconds copy_wait_max{50};
constexpr unsigned burst_max = 64;  // requests between two looks at the control socket

volatile std::sig_atomic_t stop_wanted = 0;

[[noreturn]] void die(const std::string& what) {
    std::fprintf(stderr, "counter: %s\n", what.c_str());
    std::exit(1);
}

std::string because() { return std::string(": ") + std::strerror(errno); }

void put_64(std::uint8_t* to, std::uint64_t value) {
    for (int i = 7; i >= 0; --i, value >>= 8) to[i] = static_cast<std::uint8_t>(value);
}

std::uint64_t get_64(const std::uint8_t* from) {
    std::uint64_t value = 0;
    for (int i = 0; i < 8; ++i) value = value << 8 | from[i];
    return value;
}

std::optional<std::uint64_t> number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || text.empty()) return {};
    return value;
}

// Where a request came from and which of our addresses it was sent to: the answer must leave from
// that one, also where a socket is bound to all of them.
struct Peer {
    int socket = -1;
    sockaddr_storage address{};
    socklen_t address_length = 0;
    alignas(cmsghdr)
        std::array<std::uint8_t, 64> control{};  // the packet information, as sendmsg() wants it
    std::size_t control_length = 0;
};

using Answer = std::array<std::uint8_t, answer_bytes>;

enum class Mode { honest, lie, silent, deaf, burn, late, twice, early, copy, corrupt };

struct Behaviour {
    Mode mode = Mode::honest;
    std::uint64_t by = 1;        // lie: added to the count
    milliseconds delay{0};       // late
    std::uint64_t one_in = 1;    // corrupt
    std::size_t byte = 15;       // corrupt
    std::string peer;            // copy: the other replica's control socket
    std::uint64_t answered = 0;  // since the command
};

sockaddr_un unix_address(const std::string& path, socklen_t& length) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path) {
        length = 0;
        return address;
    }
    std::copy(path.begin(), path.end(), address.sun_path);
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
    if (path[0] == '@') {
        address.sun_path[0] = '\0';
    } else {
        ++length;  // with its terminating zero
    }
    return address;
}

int bind_unix(const std::string& path) {
    const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket < 0) die("cannot make the control socket" + because());
    socklen_t length = 0;
    const sockaddr_un address = unix_address(path, length);
    if (length == 0) die("the control socket's path is empty or too long: " + path);
    struct stat status {};
    if (path[0] != '@' && ::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) {
        ::unlink(path.c_str());  // of an earlier boot
    }
    ::umask(0177);
    if (::bind(socket, reinterpret_cast<const sockaddr*>(&address), length) != 0) {
        die("cannot bind the control socket " + path + because());
    }
    return socket;
}

// The other replica's last answer, asked for over its control socket.
class Copier {
  public:
    explicit Copier(const std::string& control_path) {
        // Bound, so that the other can answer; a path also reaches across network namespaces.
        if (!control_path.empty() && control_path[0] != '@') path_ = control_path + ".copy";
    }
    ~Copier() {
        if (socket_ >= 0 && !path_.empty()) ::unlink(path_.c_str());
    }
    Copier(const Copier&) = delete;
    Copier& operator=(const Copier&) = delete;

    // Waits until the other has answered the request `wanted`; false when it did not in time.
    bool answer_of(const std::string& other, std::uint64_t wanted, Answer& answer) {
        if (socket_ < 0) open();
        socklen_t length = 0;
        const sockaddr_un to = unix_address(other, length);
        const auto until = Clock::now() + copy_wait_max;
        do {
            if (length == 0 || ::sendto(socket_, "last", 4, MSG_DONTWAIT,
                                        reinterpret_cast<const sockaddr*>(&to), length) < 0) {
                return false;
            }
            std::array<char, 128> text;
            const ssize_t got = ::recv(socket_, text.data(), text.size(), 0);
            if (got > 0) {
                std::istringstream words(std::string(text.data(), static_cast<std::size_t>(got)));
                std::uint64_t request = 0;
                std::uint64_t count = 0;
                if (words >> request >> count && request == wanted) {
                    put_64(answer.data(), request);
                    put_64(answer.data() + 8, count);
                    return true;
                }
            }
            ::poll(nullptr, 0, 1);
        } while (Clock::now() < until);
        return false;
    }

  private:
    void open() {
        if (path_.empty()) {
            socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
            sockaddr_un any{};
            any.sun_family = AF_UNIX;
            ::bind(socket_, reinterpret_cast<const sockaddr*>(&any), sizeof any.sun_family);
        } else {
            socket_ = bind_unix(path_);
        }
        const timeval limit{0, 5'000};
        ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    }

    std::string path_;
    int socket_ = -1;
};

class Counter {
  public:
    explicit Counter(const std::string& control_path) : copier_(control_path) {}

    bool burns() const { return behaviour_.mode == Mode::burn; }

    void request(const Peer& peer, const std::uint8_t* data, std::size_t length) {
        if (length < request_bytes_min || behaviour_.mode == Mode::deaf) return;
        const std::uint64_t request = get_64(data);
        ++count_;
        Answer answer{};
        put_64(answer.data(), request);
        put_64(answer.data() + 8, count_);
        ++behaviour_.answered;
        switch (behaviour_.mode) {
            case Mode::honest:
            case Mode::burn:
                return send(peer, answer);
            case Mode::silent:
            case Mode::deaf:
                return;
            case Mode::lie:
                put_64(answer.data() + 8, count_ + behaviour_.by);
                return send(peer, answer);
            case Mode::late:
                if (held_.size() < held_max) {
                    held_.push_back({Clock::now() + behaviour_.delay, peer, answer});
                }
                return;
            case Mode::twice:
                send(peer, answer);
                return send(peer, answer);
            case Mode::early: {
                send(peer, answer);
                Answer next{};
                put_64(next.data(), request + 1);
                put_64(next.data() + 8, count_ + 1);
                return send(peer, next);
            }
            case Mode::copy:
                if (copier_.answer_of(behaviour_.peer, request, answer)) send(peer, answer);
                return;
            case Mode::corrupt:
                if (behaviour_.answered % behaviour_.one_in == 0) answer[behaviour_.byte] ^= 0xff;
                return send(peer, answer);
        }
    }

    // Sends what was held long enough; the time until the next, in ms, or -1.
    int release_late() {
        const auto now = Clock::now();
        while (!held_.empty() && held_.front().due <= now) {
            send(held_.front().peer, held_.front().answer);
            held_.pop_front();
        }
        if (held_.empty()) return -1;
        const auto wait = std::chrono::ceil<milliseconds>(held_.front().due - now).count();
        return static_cast<int>(std::min<std::int64_t>(wait, 1'000));
    }

    std::string command(const std::string& text) {
        std::istringstream in(text);
        std::vector<std::string> words;
        for (std::string word; in >> word;) words.push_back(word);
        if (words.empty()) return "error: empty command";
        if (words.size() == 1 && words[0] == "state") return std::to_string(count_);
        if (words.size() == 1 && words[0] == "last") {
            if (!last_) return "none";
            return std::to_string(get_64(last_->data())) + " " +
                   std::to_string(get_64(last_->data() + 8));
        }
        const std::optional<Behaviour> wanted = behaviour(words);
        if (!wanted) return "error: unknown command: " + text;
        behaviour_ = *wanted;
        return "ok";
    }

  private:
    struct Held {
        Clock::time_point due;
        Peer peer;
        Answer answer;
    };

    static std::optional<Behaviour> behaviour(const std::vector<std::string>& words) {
        const std::string& name = words[0];
        const auto argument = [&](std::size_t i) {
            return i < words.size() ? number(words[i]) : std::nullopt;
        };
        constexpr std::pair<const char*, Mode> plain[] = {
            {"honest", Mode::honest}, {"silent", Mode::silent}, {"deaf", Mode::deaf},
            {"burn", Mode::burn},     {"twice", Mode::twice},   {"early", Mode::early}};
        Behaviour wanted;
        for (const auto& [word, mode] : plain) {
            if (name != word || words.size() != 1) continue;
            wanted.mode = mode;
            return wanted;
        }
        if (name == "lie" && (words.size() == 1 || (words.size() == 2 && argument(1)))) {
            wanted.mode = Mode::lie;
            wanted.by = argument(1).value_or(1);
            return wanted;
        }
        if (name == "late" && words.size() == 2 && argument(1) && *argument(1) <= 60'000) {
            wanted.mode = Mode::late;
            wanted.delay = milliseconds(*argument(1));
            return wanted;
        }
        if (name == "copy" && words.size() == 2) {
            wanted.mode = Mode::copy;
            wanted.peer = words[1];
            return wanted;
        }
        if (name == "corrupt" && (words.size() == 2 || (words.size() == 3 && argument(2)))) {
            wanted.mode = Mode::corrupt;
            wanted.one_in = argument(1).value_or(0);
            const std::uint64_t byte = argument(2).value_or(15);
            if (wanted.one_in == 0 || byte >= answer_bytes) return {};
            wanted.byte = static_cast<std::size_t>(byte);
            return wanted;
        }
        return {};
    }

    void send(const Peer& peer, const Answer& answer) {
        Answer data = answer;
        iovec piece{data.data(), data.size()};
        Peer to = peer;
        msghdr message{};
        message.msg_name = &to.address;
        message.msg_namelen = to.address_length;
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        message.msg_control = to.control_length != 0 ? to.control.data() : nullptr;
        message.msg_controllen = to.control_length;
        ::sendmsg(peer.socket, &message, 0);  // what cannot be sent is lost, as UDP is
        last_ = answer;
    }

    std::uint64_t count_ = 0;
    Behaviour behaviour_;
    std::deque<Held> held_;
    std::optional<Answer> last_;
    Copier copier_;
};

// Writes what must go with an answer, so that it leaves from the address that was asked.
void remember_destination(const msghdr& message, Peer& peer) {
    for (const cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr;
         c = CMSG_NXTHDR(const_cast<msghdr*>(&message), const_cast<cmsghdr*>(c))) {
        msghdr out{};
        out.msg_control = peer.control.data();
        out.msg_controllen = peer.control.size();
        cmsghdr* header = CMSG_FIRSTHDR(&out);
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            in_pktinfo information;
            std::memcpy(&information, CMSG_DATA(c), sizeof information);
            in_pktinfo source{};
            source.ipi_spec_dst = information.ipi_addr;
            header->cmsg_level = IPPROTO_IP;
            header->cmsg_type = IP_PKTINFO;
            header->cmsg_len = CMSG_LEN(sizeof source);
            std::memcpy(CMSG_DATA(header), &source, sizeof source);
            peer.control_length = CMSG_SPACE(sizeof source);
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            header->cmsg_level = IPPROTO_IPV6;
            header->cmsg_type = IPV6_PKTINFO;
            header->cmsg_len = CMSG_LEN(sizeof(in6_pktinfo));
            std::memcpy(CMSG_DATA(header), CMSG_DATA(c), sizeof(in6_pktinfo));
            peer.control_length = CMSG_SPACE(sizeof(in6_pktinfo));
        }
    }
}

void receive_requests(int socket, Counter& counter) {
    for (unsigned i = 0; i < burst_max; ++i) {
        Peer peer;
        peer.socket = socket;
        std::array<std::uint8_t, 2'048> data;
        alignas(cmsghdr) std::array<std::uint8_t, 256> control;
        iovec piece{data.data(), data.size()};
        msghdr message{};
        message.msg_name = &peer.address;
        message.msg_namelen = sizeof peer.address;
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const ssize_t got = ::recvmsg(socket, &message, MSG_DONTWAIT);
        if (got < 0) return;
        peer.address_length = message.msg_namelen;
        remember_destination(message, peer);
        counter.request(peer, data.data(), static_cast<std::size_t>(got));
    }
}

void receive_commands(int socket, Counter& counter) {
    for (unsigned i = 0; i < burst_max; ++i) {
        std::array<char, 512> text;
        sockaddr_un sender{};
        socklen_t length = sizeof sender;
        const ssize_t got = ::recvfrom(socket, text.data(), text.size(), MSG_DONTWAIT,
                                       reinterpret_cast<sockaddr*>(&sender), &length);
        if (got < 0) return;
        const std::string reply =
            counter.command(std::string(text.data(), static_cast<std::size_t>(got)));
        if (length > sizeof sender.sun_family) {
            ::sendto(socket, reply.data(), reply.size(), MSG_DONTWAIT,
                     reinterpret_cast<const sockaddr*>(&sender), length);
        }
    }
}

// -1 when the machine does not know the address family.
int bind_udp(const std::string& address, std::uint16_t port) {
    const bool v6 = address.find(':') != std::string::npos;
    sockaddr_in6 to6{};
    to6.sin6_family = AF_INET6;
    to6.sin6_port = htons(port);
    sockaddr_in to4{};
    to4.sin_family = AF_INET;
    to4.sin_port = htons(port);
    void* where = v6 ? static_cast<void*>(&to6.sin6_addr) : static_cast<void*>(&to4.sin_addr);
    if (::inet_pton(v6 ? AF_INET6 : AF_INET, address.c_str(), where) != 1) {
        die("not an IP address: " + address);
    }
    const int socket = ::socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket < 0 && errno == EAFNOSUPPORT) return -1;
    if (socket < 0) die("cannot make a socket" + because());
    const int on = 1;
    const int buffer = 1 << 20;
    ::setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    if (v6) {
        ::setsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        ::setsockopt(socket, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
    } else {
        ::setsockopt(socket, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
    }
    const auto* to = v6 ? reinterpret_cast<sockaddr*>(&to6) : reinterpret_cast<sockaddr*>(&to4);
    if (::bind(socket, to, v6 ? sizeof to6 : sizeof to4) != 0) {
        die("cannot bind " + address + " port " + std::to_string(port) + because());
    }
    return socket;
}

timespec time_of(int ms) { return {ms / 1'000, ms % 1'000 * 1'000'000L}; }

// Until SIGTERM or SIGINT, which `through` lets in.
void serve(const std::vector<int>& sockets, int control, Counter& counter,
           const sigset_t& through) {
    std::vector<pollfd> waiting;
    for (const int socket : sockets) waiting.push_back({socket, POLLIN, 0});
    if (control >= 0) waiting.push_back({control, POLLIN, 0});
    while (stop_wanted == 0) {
        const int next_ms = counter.release_late();
        const timespec limit = counter.burns() ? timespec{} : time_of(std::max(next_ms, 0));
        const bool forever = next_ms < 0 && !counter.burns();
        // Signals get through only here, so that none is missed just before the wait.
        if (::ppoll(waiting.data(), waiting.size(), forever ? nullptr : &limit, &through) <= 0) {
            continue;
        }
        for (const pollfd& ready : waiting) {
            if (ready.revents == 0) continue;
            if (ready.fd == control) {
                receive_commands(control, counter);
            } else {
                receive_requests(ready.fd, counter);
            }
        }
    }
}

constexpr const char* usage =
    "usage: counter --port N [--address IP]... [--control PATH] [--behave COMMAND]\n"
    "  --port N        UDP port\n"
    "  --address IP    listen on this address (default: 0.0.0.0 and ::)\n"
    "  --control PATH  Unix datagram socket for commands; @NAME is an abstract one\n"
    "  --behave COMMAND  a command that is executed at the start: 'lie 5'\n";

}  // namespace

int main(int argc, char** argv) {
    std::vector<std::string> addresses;
    std::string control_path;
    std::string first_command;
    std::optional<std::uint64_t> port;
    for (int i = 1; i < argc; ++i) {
        const std::string_view option = argv[i];
        if (option == "--help") return std::fputs(usage, stdout) < 0;
        if (i + 1 >= argc) die("no value for " + std::string(option) + "\n" + usage);
        const char* value = argv[++i];
        if (option == "--port") {
            port = number(value);
        } else if (option == "--address") {
            addresses.emplace_back(value);
        } else if (option == "--control") {
            control_path = value;
        } else if (option == "--behave") {
            first_command = value;
        } else {
            die("unknown option " + std::string(option) + "\n" + usage);
        }
    }
    if (!port || *port == 0 || *port > 65'535)
        die(std::string("--port is missing or wrong\n") + usage);

    sigset_t ending;
    sigset_t before;
    ::sigemptyset(&ending);
    ::sigaddset(&ending, SIGTERM);
    ::sigaddset(&ending, SIGINT);
    ::sigprocmask(SIG_BLOCK, &ending, &before);
    ::sigdelset(&before, SIGTERM);
    ::sigdelset(&before, SIGINT);
    struct sigaction action {};
    action.sa_handler = [](int) { stop_wanted = 1; };
    ::sigaction(SIGTERM, &action, nullptr);
    ::sigaction(SIGINT, &action, nullptr);

    const bool any = addresses.empty();
    if (any) addresses = {"0.0.0.0", "::"};
    std::vector<int> sockets;
    for (const std::string& address : addresses) {
        const int socket = bind_udp(address, static_cast<std::uint16_t>(*port));
        if (socket >= 0) sockets.push_back(socket);
        if (socket < 0 && !any) die("this machine does not know addresses like " + address);
    }
    int control = -1;
    {
        Counter counter(control_path);
        if (!first_command.empty()) {
            const std::string reply = counter.command(first_command);
            if (reply != "ok") die("--behave: " + reply);
        }
        if (!control_path.empty()) control = bind_unix(control_path);
        serve(sockets, control, counter, before);
    }
    if (control >= 0 && control_path[0] != '@') ::unlink(control_path.c_str());
    return 0;
}
