// The counter service, implementation A: a UDP service whose answer depends on every request it
// ever executed. ../README.md says what goes over the wire and which commands make it misbehave;
// counter.py is the other implementation. Nothing of Quorate's is used here: a replica is a guest.
//
// Start at counter.hh; this file is the command line and the loop.
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <poll.h>
#include <unistd.h>

#include "guest/counter/counter.hh"

namespace {

using counter::Counter;
using counter::die;

constexpr unsigned burst_max = 64;  // requests between two looks at the control socket

volatile std::sig_atomic_t stop_wanted = 0;

void receive_requests(int socket, Counter& counter) {
    std::array<std::uint8_t, 2'048> data;
    counter::Peer peer;
    for (unsigned i = 0; i < burst_max; ++i) {
        const ssize_t got = counter::receive(socket, data, peer);
        if (got < 0) return;
        counter.request(peer, std::span(data).first(static_cast<std::size_t>(got)));
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
            port = counter::number(value);
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
        const int socket = counter::bind_udp(address, static_cast<std::uint16_t>(*port));
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
        if (!control_path.empty()) control = counter::bind_unix(control_path);
        serve(sockets, control, counter, before);
    }
    if (control >= 0 && control_path[0] != '@') ::unlink(control_path.c_str());
    return 0;
}
