#include "proxy/ports/kernel_interface.hh"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <iterator>

#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace proxy {
namespace {

class Descriptor {
  public:
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() {
        if (fd_ >= 0) close(fd_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int get() const { return fd_; }

  private:
    int fd_;
};

ifreq request_for(const std::string& name) {
    ifreq request{};
    std::memcpy(request.ifr_name, name.data(), std::min<std::size_t>(name.size(), IFNAMSIZ - 1));
    return request;
}

std::string cause() { return std::strerror(errno); }

std::vector<int> difference(const std::vector<int>& before, const std::vector<int>& after) {
    std::vector<int> fresh;
    std::set_difference(after.begin(), after.end(), before.begin(), before.end(),
                        std::back_inserter(fresh));
    return fresh;
}

}  // namespace

tl::expected<KernelInterface, std::string> find_interface(const std::string& name) {
    if (name.empty() || name.size() >= IFNAMSIZ) {
        return tl::unexpected("\"" + name +
                              "\" cannot be an interface: names have 1 to 15 characters");
    }
    const Descriptor socket_fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request = request_for(name);
    if (ioctl(socket_fd.get(), SIOCGIFINDEX, &request) != 0) {
        return tl::unexpected("interface " + name +
                              " does not exist in this network namespace: create it, or correct "
                              "the port's name (ip link shows what there is)");
    }
    KernelInterface found;
    found.index = request.ifr_ifindex;
    if (ioctl(socket_fd.get(), SIOCGIFFLAGS, &request) == 0) {
        found.up = (request.ifr_flags & IFF_UP) != 0;
    }
    if (ioctl(socket_fd.get(), SIOCGIFMTU, &request) == 0) {
        found.mtu = static_cast<std::uint16_t>(std::clamp(request.ifr_mtu, 0, 65535));
    }
    if (ioctl(socket_fd.get(), SIOCGIFHWADDR, &request) == 0) {
        std::memcpy(found.mac.octets.data(), request.ifr_hwaddr.sa_data, found.mac.octets.size());
    }
    return found;
}

tl::expected<void, std::string> bring_up(const std::string& name) {
    const Descriptor socket_fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request = request_for(name);
    if (ioctl(socket_fd.get(), SIOCGIFFLAGS, &request) != 0) {
        return tl::unexpected("interface " + name + " cannot be read: " + cause());
    }
    if ((request.ifr_flags & IFF_UP) != 0) return {};
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
    if (ioctl(socket_fd.get(), SIOCSIFFLAGS, &request) != 0) {
        return tl::unexpected("interface " + name + " is down and cannot be brought up (" +
                              cause() + "): run ip link set " + name + " up");
    }
    return {};
}

unsigned interface_channels(const std::string& name) {
    const Descriptor socket_fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ethtool_channels channels{};
    channels.cmd = ETHTOOL_GCHANNELS;
    ifreq request = request_for(name);
    request.ifr_data = reinterpret_cast<char*>(&channels);
    if (ioctl(socket_fd.get(), SIOCETHTOOL, &request) != 0) return 1;
    return std::max(1u, std::max(channels.combined_count, channels.rx_count));
}

tl::expected<void, std::string> may_open_packet_sockets() {
    const Descriptor socket_fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    if (socket_fd.get() >= 0) return {};
    return tl::unexpected("packet sockets are not allowed here (" + cause() +
                          "): run as root, with CAP_NET_RAW and CAP_NET_ADMIN, or inside "
                          "unshare -Urn");
}

tl::expected<void, std::string> may_lock_memory(std::size_t bytes) {
    rlimit limit{};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    if (limit.rlim_cur < bytes && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_MEMLOCK, &limit);
    }
    void* trial = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
    if (trial != MAP_FAILED) {
        munmap(trial, bytes);
        return {};
    }
    return tl::unexpected("its rings need " + std::to_string(bytes >> 10) +
                          " KiB of locked memory at once, and " +
                          std::to_string(limit.rlim_cur >> 10) +
                          " KiB are allowed: raise the limit (ulimit -l, LimitMEMLOCK)");
}

std::vector<int> open_descriptors() {
    std::vector<int> open;
    std::error_code error;
    for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end;
         it.increment(error)) {
        const std::string text = it->path().filename().string();
        int fd = -1;
        std::from_chars(text.data(), text.data() + text.size(), fd);
        if (fd >= 0) open.push_back(fd);
    }
    // The directory itself was open while it was read.
    std::erase_if(open, [](int fd) { return fcntl(fd, F_GETFD) < 0; });
    std::sort(open.begin(), open.end());
    return open;
}

std::vector<int> new_sockets(const std::vector<int>& before, const std::vector<int>& after,
                             int family) {
    // The order of descriptors is not the order of creation when another thread closes one in
    // between. Socket inode numbers grow per processor.
    std::vector<std::pair<std::uint64_t, int>> found;
    for (const int fd : difference(before, after)) {
        int domain = 0;
        socklen_t length = sizeof domain;
        struct stat status {};
        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == family &&
            fstat(fd, &status) == 0) {
            found.emplace_back(status.st_ino, fd);
        }
    }
    std::sort(found.begin(), found.end());
    std::vector<int> fds;
    for (const auto& [inode, fd] : found) fds.push_back(fd);
    return fds;
}

void close_leftover_xdp_socket(int socket) {
    int domain = 0;
    socklen_t length = sizeof domain;
    if (getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_XDP) {
        close(socket);
    }
}

std::vector<int> new_tuns(const std::vector<int>& before, const std::vector<int>& after) {
    std::vector<int> found;
    for (const int fd : difference(before, after)) {
        struct stat status {};
        if (fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) &&
            status.st_rdev == makedev(10, 200)) {
            found.push_back(fd);
        }
    }
    return found;
}

}  // namespace proxy
