#include "guest/counter/sockets.hh"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

namespace counter {

namespace {

std::string because() { return std::string(": ") + std::strerror(errno); }

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

}  // namespace

[[noreturn]] void die(const std::string& what) {
    std::fprintf(stderr, "counter: %s\n", what.c_str());
    std::exit(1);
}

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

ssize_t receive(int socket, std::span<std::uint8_t> data, Peer& peer) {
    peer = {};
    peer.socket = socket;
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
    if (got < 0) return -1;
    peer.address_length = message.msg_namelen;
    remember_destination(message, peer);
    return got;
}

void send(const Peer& peer, std::span<const std::uint8_t> data) {
    Peer to = peer;  // sendmsg() wants all of it to be changeable
    iovec piece{const_cast<std::uint8_t*>(data.data()), data.size()};
    msghdr message{};
    message.msg_name = &to.address;
    message.msg_namelen = to.address_length;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = to.control_length != 0 ? to.control.data() : nullptr;
    message.msg_controllen = to.control_length;
    ::sendmsg(to.socket, &message, 0);
}

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

}  // namespace counter
