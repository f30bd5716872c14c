// What DPDK's af_packet driver decides for itself about its sockets, put right from outside:
//
// - It always joins a fanout group that reassembles IPv4 fragments in the kernel; what comes out is
//   longer than a frame of its ring and arrives cut off. Fragments are ours to bound and
//   reassemble, so the driver's request is swallowed, and groups (needed with several queues only)
//   are made here, without reassembly and without roll-over to other queues: a flow has one queue,
//   the same on all ports with as many queues.
// - It also sees what the host's own network stack sends on the interface. Not ours: ignored.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <tl/expected.hpp>

namespace proxy {

// Runs `open` to its end on a thread of its own, on which setsockopt(PACKET_FANOUT) has no effect.
// Where the kernel has no seccomp, it has its effect; packet_fanout_joined() tells.
void without_packet_fanout(const std::function<void()>& open);
bool packet_fanout_joined(int socket);

// For sockets in order of their queues, as soon as they are open. They receive what is not for the
// interface's own address too, until they are closed.
tl::expected<void, std::string> settle_packet_sockets(const std::vector<int>& sockets,
                                                      int interface_index);

// The interface below has been removed.
bool packet_socket_orphaned(int socket);

// Frames that found the ring full, since the last call.
std::uint32_t take_packet_socket_drops(int socket);

}  // namespace proxy
