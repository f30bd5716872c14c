#include "tools/quorate/control_client.hh"

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

namespace quorate {

namespace {

std::string cause(int error) {
    switch (error) {
        case ENOENT:
            return "there is no such socket; is quorate-proxy running?";
        case ECONNREFUSED:
            return "nobody listens there; quorate-proxy has ended";
        case EACCES:
            return "permission denied; see control_mode in the configuration";
        case EAGAIN:
            return "no answer in time";
        default:
            return std::generic_category().message(error);
    }
}

ControlError unreachable(const std::filesystem::path& socket, const std::string& why) {
    return ControlError{"cannot reach the proxy at " + socket.string() + ": " + why, false};
}

}  // namespace

tl::expected<ControlClient, ControlError> ControlClient::connect(
    const std::filesystem::path& socket, std::chrono::milliseconds timeout) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string& path = socket.native();
    if (path.empty() || path.size() >= sizeof address.sun_path) {
        return tl::unexpected(unreachable(socket, "a socket's path has 1 to 107 characters"));
    }
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return tl::unexpected(unreachable(socket, cause(errno)));
    ControlClient client(fd, socket, timeout);
    // connect() on a Unix socket waits while the listener's queue is full, as long as a send may.
    timeval limit{};
    limit.tv_sec = static_cast<time_t>(timeout.count() / 1000);
    limit.tv_usec = static_cast<suseconds_t>(timeout.count() % 1000 * 1000);
    ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return tl::unexpected(unreachable(socket, cause(errno)));
    }
    return client;
}

ControlClient::ControlClient(int fd, std::filesystem::path socket,
                             std::chrono::milliseconds timeout)
    : fd_(fd), socket_(std::move(socket)), timeout_(timeout) {}

ControlClient::ControlClient(ControlClient&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      socket_(std::move(other.socket_)),
      timeout_(other.timeout_),
      received_(std::move(other.received_)) {}

ControlClient& ControlClient::operator=(ControlClient&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(socket_, other.socket_);
    std::swap(timeout_, other.timeout_);
    std::swap(received_, other.received_);
    return *this;
}

ControlClient::~ControlClient() {
    if (fd_ >= 0) ::close(fd_);
}

ControlError ControlClient::failure(const std::string& what) const {
    return ControlError{"the proxy at " + socket_.string() + " " + what, false};
}

ControlError ControlClient::failure_errno(const std::string& what) const {
    return failure(what + ": " + std::generic_category().message(errno));
}

tl::expected<void, ControlError> ControlClient::wait(short events,
                                                     Clock::time_point deadline) const {
    while (true) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
        if (left <= 0) {
            return tl::unexpected(
                failure("did not answer within " + std::to_string(timeout_.count()) + " ms"));
        }
        pollfd waited{fd_, events, 0};
        const int ready = ::poll(&waited, 1, static_cast<int>(left));
        if (ready > 0) return {};
        if (ready < 0 && errno != EINTR) return tl::unexpected(failure_errno("is not there"));
    }
}

tl::expected<void, ControlError> ControlClient::send_line(std::string line,
                                                          Clock::time_point deadline) {
    line += '\n';
    std::size_t sent = 0;
    while (sent < line.size()) {
        const ssize_t count =
            ::send(fd_, line.data() + sent, line.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count >= 0) {
            sent += static_cast<std::size_t>(count);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (auto waited = wait(POLLOUT, deadline); !waited) return waited;
        } else if (errno != EINTR) {
            return tl::unexpected(failure_errno("hung up"));
        }
    }
    return {};
}

tl::expected<std::string, ControlError> ControlClient::read_line(Clock::time_point deadline) {
    std::size_t searched = 0;
    while (true) {
        const std::size_t end = received_.find('\n', searched);
        if (end != std::string::npos) {
            std::string line = received_.substr(0, end);
            received_.erase(0, end + 1);
            return line;
        }
        searched = received_.size();
        if (received_.size() > reply_bytes_max) {
            return tl::unexpected(failure("sent a line of more than 1 MiB"));
        }
        if (auto waited = wait(POLLIN, deadline); !waited) return tl::unexpected(waited.error());
        char buffer[16'384];
        const ssize_t count = ::recv(fd_, buffer, sizeof buffer, MSG_DONTWAIT);
        if (count > 0) {
            received_.append(buffer, static_cast<std::size_t>(count));
        } else if (count == 0) {
            return tl::unexpected(failure("hung up without an answer"));
        } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
            return tl::unexpected(failure_errno("hung up"));
        }
    }
}

tl::expected<nlohmann::json, ControlError> ControlClient::ask(const nlohmann::json& request) {
    const Clock::time_point deadline = Clock::now() + timeout_;
    if (auto sent = send_line(request.dump(), deadline); !sent) return tl::unexpected(sent.error());
    const auto line = read_line(deadline);
    if (!line) return tl::unexpected(line.error());
    nlohmann::json reply = nlohmann::json::parse(*line, nullptr, false);
    const auto ok = reply.is_object() ? reply.find("ok") : reply.end();
    if (!reply.is_object() || ok == reply.end() || !ok->is_boolean()) {
        return tl::unexpected(
            failure("answered something that is no reply: is it a quorate-proxy?"));
    }
    if (!ok->get<bool>()) {
        const auto why = reply.find("error");
        const bool said = why != reply.end() && why->is_string();
        return tl::unexpected(
            ControlError{said ? why->get<std::string>() : "refused, without a reason", true});
    }
    return reply;
}

tl::expected<nlohmann::json, ControlError> ControlClient::ask_status() {
    auto reply = ask({{"command", "status"}});
    if (!reply) return reply;
    const auto status = reply->find("status");
    if (status == reply->end() || !status->is_object()) {
        return tl::unexpected(failure("answered without a status"));
    }
    return *status;
}

}  // namespace quorate
