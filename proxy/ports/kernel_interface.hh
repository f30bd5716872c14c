// What the slow path asks the kernel about a network interface, in the caller's namespace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "wire/address.hh"

namespace proxy {

struct KernelInterface {
    int index = 0;
    std::uint16_t mtu = 0;
    bool up = false;
    wire::MacAddress mac;
};

// The error says what to do.
tl::expected<KernelInterface, std::string> find_interface(const std::string& name);
tl::expected<void, std::string> bring_up(const std::string& name);

// How many receive queues AF_XDP can bind to: 1 where the driver does not say.
unsigned interface_channels(const std::string& name);

// May this thread open packet sockets here? The error says what is missing.
tl::expected<void, std::string> may_open_packet_sockets();

// May this process map so many locked bytes at once? (Without CAP_IPC_LOCK there is a limit; it is
// raised as far as it can be.)
tl::expected<void, std::string> may_lock_memory(std::size_t bytes);

// The open descriptors of this process, ascending.
std::vector<int> open_descriptors();
// Those of `after` that are not in `before`, and are sockets of this address family (AF_PACKET,
// AF_XDP), in the order in which they were made, provided that was on one processor.
std::vector<int> new_sockets(const std::vector<int>& before, const std::vector<int>& after,
                             int family);
// Closes it if it is open, and still an AF_XDP socket.
void close_leftover_xdp_socket(int socket);
// Those that are /dev/net/tun, ascending.
std::vector<int> new_tuns(const std::vector<int>& before, const std::vector<int>& after);

}  // namespace proxy
