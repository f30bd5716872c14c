// The cheapest service there is: every datagram goes back as it came. For measuring what stands in
// front of it. Nothing of Quorate's is used here: a replica is a guest.
//
// Runs of datagrams of one length from one peer go back in one call (UDP_SEGMENT, Linux 4.18),
// which halves the cost of sending.
//
// Known limit: one address, one thread, no bounds on what it echoes.
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

namespace {

constexpr unsigned burst_max = 64;
constexpr std::size_t datagram_bytes_max = 2'048;
constexpr std::size_t run_bytes_max = 65'000;
constexpr int socket_buffer_bytes = 4 << 20;

[[noreturn]] void die(const std::string& what) {
    std::fprintf(stderr, "udp_echo: %s\n", what.c_str());
    std::exit(1);
}

// Bound to the one address that is asked, so that answers leave from it.
int bind_udp(const char* address, std::uint16_t port) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    if (::inet_pton(AF_INET, address, &to.sin_addr) != 1) {
        die(std::string("not an IPv4 address: ") + address);
    }
    const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket < 0) die(std::string("cannot make a socket: ") + std::strerror(errno));
    // Beyond net.core.rmem_max only where we may; else what is allowed.
    if (::setsockopt(socket, SOL_SOCKET, SO_RCVBUFFORCE, &socket_buffer_bytes,
                     sizeof socket_buffer_bytes) != 0) {
        ::setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &socket_buffer_bytes,
                     sizeof socket_buffer_bytes);
    }
    if (::bind(socket, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
        die(std::string("cannot bind ") + address + ": " + std::strerror(errno));
    }
    return socket;
}

struct Burst {
    std::array<std::array<std::uint8_t, datagram_bytes_max>, burst_max> bytes;
    std::array<sockaddr_in, burst_max> peers;
    std::array<iovec, burst_max> pieces;
    std::array<mmsghdr, burst_max> messages;
};

bool alike(const Burst& burst, unsigned a, unsigned b) {
    return burst.pieces[a].iov_len == burst.pieces[b].iov_len &&
           burst.peers[a].sin_port == burst.peers[b].sin_port &&
           burst.peers[a].sin_addr.s_addr == burst.peers[b].sin_addr.s_addr;
}

// `count` datagrams of one length to one peer, cut apart by the kernel. False: it cannot.
bool send_run(int socket, Burst& burst, unsigned first, unsigned count) {
    alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(sizeof(std::uint16_t))> control{};
    msghdr message{};
    message.msg_name = &burst.peers[first];
    message.msg_namelen = sizeof burst.peers[first];
    message.msg_iov = &burst.pieces[first];
    message.msg_iovlen = count;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof(std::uint16_t));
    const auto length = static_cast<std::uint16_t>(burst.pieces[first].iov_len);
    std::memcpy(CMSG_DATA(header), &length, sizeof length);
    return ::sendmsg(socket, &message, 0) >= 0;
}

void answer(int socket, Burst& burst, unsigned count) {
    for (unsigned first = 0; first < count;) {
        unsigned next = first + 1;
        std::size_t bytes = burst.pieces[first].iov_len;
        while (next < count && alike(burst, first, next) &&
               bytes + burst.pieces[next].iov_len <= run_bytes_max) {
            bytes += burst.pieces[next++].iov_len;
        }
        if (next == first + 1 || !send_run(socket, burst, first, next - first)) {
            // What cannot be sent is lost, as UDP is.
            ::sendmmsg(socket, &burst.messages[first], next - first, 0);
        }
        first = next;
    }
}

// Until a signal ends the process.
[[noreturn]] void serve(int socket) {
    static Burst burst;
    for (;;) {
        for (unsigned i = 0; i < burst_max; ++i) {
            burst.pieces[i] = {burst.bytes[i].data(), datagram_bytes_max};
            burst.messages[i] = {};
            burst.messages[i].msg_hdr.msg_name = &burst.peers[i];
            burst.messages[i].msg_hdr.msg_namelen = sizeof burst.peers[i];
            burst.messages[i].msg_hdr.msg_iov = &burst.pieces[i];
            burst.messages[i].msg_hdr.msg_iovlen = 1;
        }
        const int got =
            ::recvmmsg(socket, burst.messages.data(), burst_max, MSG_WAITFORONE, nullptr);
        if (got <= 0) continue;
        const auto count = static_cast<unsigned>(got);
        for (unsigned i = 0; i < count; ++i) burst.pieces[i].iov_len = burst.messages[i].msg_len;
        answer(socket, burst, count);
    }
}

}  // namespace

int main(int argc, char** argv) {
    std::uint16_t port = 0;
    if (argc == 3) {
        const std::string_view text = argv[2];
        std::from_chars(text.data(), text.data() + text.size(), port);
    }
    if (port == 0) die("usage: udp_echo ADDRESS PORT");
    // It may be process 1 of its namespace, where a signal without a handler is ignored.
    for (const int number : {SIGTERM, SIGINT}) std::signal(number, [](int) { std::_Exit(0); });
    serve(bind_udp(argv[1], port));
}
