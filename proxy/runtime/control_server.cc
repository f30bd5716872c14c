#include "proxy/runtime/control_server.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace proxy {

tl::expected<ControlServer, std::string> ControlServer::listen(const std::filesystem::path& path,
                                                               unsigned mode, Handler handler) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.string().size() >= sizeof address.sun_path) {
        return tl::unexpected("the control socket's path is too long (" + path.string() +
                              "): shorten appliance.state_dir");
    }
    std::memcpy(address.sun_path, path.c_str(), path.string().size() + 1);
    const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ::unlink(path.c_str());
    // Nobody may connect before the permissions are what they should be.
    const mode_t before = ::umask(0177);
    const bool bound = listener >= 0 &&
                       ::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    ::umask(before);
    if (!bound || ::chmod(path.c_str(), static_cast<mode_t>(mode)) != 0 ||
        ::listen(listener, static_cast<int>(control_peers_max)) != 0) {
        const std::string error = "cannot listen on " + path.string() + ": " + std::strerror(errno);
        if (listener >= 0) ::close(listener);
        return tl::unexpected(error);
    }
    return ControlServer(listener, path, std::move(handler));
}

ControlServer::ControlServer(int listener, std::filesystem::path path, Handler handler)
    : listener_(listener), path_(std::move(path)), handler_(std::move(handler)) {}

ControlServer::ControlServer(ControlServer&& other) noexcept
    : listener_(std::exchange(other.listener_, -1)),
      path_(std::move(other.path_)),
      handler_(std::move(other.handler_)),
      peers_(std::move(other.peers_)) {}

ControlServer::~ControlServer() {
    for (const Peer& peer : peers_) ::close(peer.descriptor);
    if (listener_ < 0) return;
    ::close(listener_);
    ::unlink(path_.c_str());
}

void ControlServer::add_descriptors(std::vector<pollfd>& set) const {
    if (peers_.size() < control_peers_max) set.push_back({listener_, POLLIN, 0});
    for (const Peer& peer : peers_) {
        const int wanted = POLLIN | (peer.out.empty() ? 0 : POLLOUT);
        set.push_back({peer.descriptor, static_cast<short>(wanted), 0});
    }
}

void ControlServer::serve(const std::vector<pollfd>& set) {
    for (const pollfd& ready : set) {
        if (ready.revents == 0) continue;
        if (ready.fd == listener_) {
            accept_peer();
            continue;
        }
        const auto peer = std::find_if(peers_.begin(), peers_.end(),
                                       [&](const Peer& p) { return p.descriptor == ready.fd; });
        if (peer == peers_.end()) continue;
        const bool stays = ((ready.revents & (POLLIN | POLLHUP)) == 0 || read_from(*peer)) &&
                           (ready.revents & POLLERR) == 0 && write_to(*peer);
        if (stays) continue;
        ::close(peer->descriptor);
        peers_.erase(peer);
    }
}

void ControlServer::accept_peer() {
    const int descriptor = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor >= 0) peers_.push_back({descriptor, {}, {}});
}

// False: the peer is done, or has said too much.
bool ControlServer::read_from(Peer& peer) {
    char buffer[4096];
    const ssize_t got = ::read(peer.descriptor, buffer, sizeof buffer);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got == 0) return false;
    peer.in.append(buffer, static_cast<std::size_t>(got));
    for (std::size_t end = peer.in.find('\n'); end != std::string::npos; end = peer.in.find('\n')) {
        peer.out += answer(peer.in.substr(0, end)) + '\n';
        peer.in.erase(0, end + 1);
        if (peer.out.size() > control_backlog_max) return false;
    }
    return peer.in.size() <= control_line_max;
}

bool ControlServer::write_to(Peer& peer) {
    if (peer.out.empty()) return true;
    const ssize_t put = ::send(peer.descriptor, peer.out.data(), peer.out.size(), MSG_NOSIGNAL);
    if (put < 0) return errno == EAGAIN || errno == EINTR;
    peer.out.erase(0, static_cast<std::size_t>(put));
    return true;
}

std::string ControlServer::answer(const std::string& line) const {
    const auto request = nlohmann::json::parse(line, nullptr, false);
    if (request.is_discarded()) {
        return R"({"ok":false,"error":"not JSON: send one object per line"})";
    }
    return handler_(request).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace proxy
