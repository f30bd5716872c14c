#include "proxy/ports/packet_sockets.hh"

#include <cerrno>
#include <cstring>
#include <thread>

#include <linux/if_packet.h>
#include <sys/socket.h>

#include "proxy/ports/system_call_filter.hh"

namespace proxy {
namespace {

void swallow_fanout_requests() {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (filter == nullptr) return;
    add_rule(filter, SCMP_ACT_ERRNO(0), SCMP_SYS(setsockopt),
             {argument_is(1, SOL_PACKET), argument_is(2, PACKET_FANOUT)});
    seccomp_load(filter);
    seccomp_release(filter);
}

std::string cause() { return std::strerror(errno); }

// Newer than the headers this is built with. Where the kernel does not know it, the host's own
// packets are seen, and dropped further up as not ours.
constexpr std::uint32_t fanout_flag_ignore_outgoing = 0x4000;

tl::expected<void, std::string> join_fanout(const std::vector<int>& sockets) {
    std::uint32_t spread = PACKET_FANOUT_HASH | fanout_flag_ignore_outgoing;
    std::uint32_t argument = (spread | PACKET_FANOUT_FLAG_UNIQUEID) << 16;
    const auto join = [&](int fd) {
        return setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &argument, sizeof argument) == 0;
    };
    for (const int fd : sockets) {
        bool joined_group = join(fd);
        if (!joined_group && fd == sockets.front()) {
            spread = PACKET_FANOUT_HASH;
            argument = (spread | PACKET_FANOUT_FLAG_UNIQUEID) << 16;
            joined_group = join(fd);
        }
        if (!joined_group) {
            return tl::unexpected("the kernel cannot spread packets over " +
                                  std::to_string(sockets.size()) + " queues (" + cause() +
                                  "): use one worker");
        }
        std::uint32_t joined = 0;
        socklen_t length = sizeof joined;
        getsockopt(fd, SOL_PACKET, PACKET_FANOUT, &joined, &length);
        argument = (spread << 16) | (joined & 0xffffu);
    }
    return {};
}

}  // namespace

void without_packet_fanout(const std::function<void()>& open) {
    std::thread thread([&] {
        swallow_fanout_requests();
        open();
    });
    thread.join();
}

bool packet_fanout_joined(int socket) {
    std::uint32_t joined = 0;
    socklen_t length = sizeof joined;
    return getsockopt(socket, SOL_PACKET, PACKET_FANOUT, &joined, &length) == 0 && joined != 0;
}

tl::expected<void, std::string> settle_packet_sockets(const std::vector<int>& sockets,
                                                      int interface_index) {
    const int on = 1;
    packet_mreq promiscuous{};
    promiscuous.mr_ifindex = interface_index;
    promiscuous.mr_type = PACKET_MR_PROMISC;
    for (const int fd : sockets) {
        if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) != 0) {
            return tl::unexpected("the kernel cannot hide the host's own packets (" + cause() +
                                  "): Linux 4.20 or later is needed");
        }
        if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous) !=
            0) {
            return tl::unexpected("the interface cannot be made promiscuous: " + cause());
        }
    }
    if (sockets.size() < 2 || packet_fanout_joined(sockets.front())) return {};
    return join_fanout(sockets);
}

bool packet_socket_orphaned(int socket) {
    sockaddr_ll address{};
    socklen_t length = sizeof address;
    return getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) == 0 &&
           address.sll_ifindex <= 0;
}

std::uint32_t take_packet_socket_drops(int socket) {
    tpacket_stats statistics{};
    socklen_t length = sizeof statistics;
    if (getsockopt(socket, SOL_PACKET, PACKET_STATISTICS, &statistics, &length) != 0) return 0;
    return statistics.tp_drops;
}

}  // namespace proxy
