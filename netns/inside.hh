// Process 1 of a replica's namespaces: it sets up the inside of the link, starts the service,
// asks for its health, and reaps. When it ends, however that comes about, the kernel ends every
// process of the namespaces; it ends with its supervisor.
//
// It and its supervisor talk in datagrams of a Unix socket: one letter, then text for people.
#pragma once

#include <string>

#include "netns/record.hh"

namespace netns {

namespace message {
// supervisor -> inside
inline constexpr char go = 'g';         // the link is there
inline constexpr char terminate = 't';  // SIGTERM to the service
inline constexpr char pause = 's';      // stop all processes
inline constexpr char resume = 'c';
// inside -> supervisor
inline constexpr char healthy = 'h';
inline constexpr char failed = 'e';  // it could not be started; why
inline constexpr char ended = 'x';   // the service ended; how
inline constexpr char done = 'p';    // paused or resumed
inline constexpr char words = 'w';   // what the health check has said so far
}  // namespace message

inline constexpr std::size_t message_bytes_max = 4'096;

// Never returns. `supervisor` is the socket; `output` is where the service's output goes.
[[noreturn]] void run_inside(const Spec& spec, int supervisor, int output);

}  // namespace netns
