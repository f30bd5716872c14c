// Sockets for requests (UDP, IPv4 and IPv6) and for commands (Unix datagrams). What cannot be had
// at the start ends the process and says why.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <sys/socket.h>
#include <sys/un.h>

namespace counter {

[[noreturn]] void die(const std::string& what);

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

// -1 when the machine does not know the address family.
int bind_udp(const std::string& address, std::uint16_t port);
// The length of what lies in `data`; -1 when nothing waits.
ssize_t receive(int socket, std::span<std::uint8_t> data, Peer& peer);
// What cannot be sent is lost, as UDP is.
void send(const Peer& peer, std::span<const std::uint8_t> data);

// A path, or @NAME for an abstract one. A length of 0: it is empty or too long.
sockaddr_un unix_address(const std::string& path, socklen_t& length);
// A path that an earlier boot left behind is replaced.
int bind_unix(const std::string& path);

}  // namespace counter
