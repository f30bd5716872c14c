#include "tests/unit/tools/fake_proxy.hh"

#include <cstring>
#include <utility>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace test {

FakeProxy::FakeProxy(std::filesystem::path socket, Answer answer)
    : socket_(std::move(socket)), answer_(std::move(answer)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    EXPECT_LT(socket_.native().size(), sizeof address.sun_path);
    std::strncpy(address.sun_path, socket_.c_str(), sizeof address.sun_path - 1);
    listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_, 4), 0);
    stop_ = ::eventfd(0, EFD_CLOEXEC);
    thread_ = std::thread([this] { serve(); });
}

FakeProxy::~FakeProxy() {
    ::eventfd_write(stop_, 1);
    thread_.join();
    ::close(listener_);
    ::close(stop_);
    std::error_code ignored;
    std::filesystem::remove(socket_, ignored);
}

bool FakeProxy::readable(int fd) const {
    pollfd waited[2] = {{fd, POLLIN, 0}, {stop_, POLLIN, 0}};
    while (::poll(waited, 2, -1) < 0 && errno == EINTR) {
    }
    return waited[1].revents == 0;
}

void FakeProxy::serve() {
    while (readable(listener_)) {
        const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (connection < 0) continue;
        converse(connection);
        ::close(connection);
    }
}

void FakeProxy::converse(int connection) {
    std::string received;
    char buffer[4096];
    while (readable(connection)) {
        const ssize_t count = ::recv(connection, buffer, sizeof buffer, 0);
        if (count <= 0) return;
        received.append(buffer, static_cast<std::size_t>(count));
        for (auto end = received.find('\n'); end != std::string::npos; end = received.find('\n')) {
            std::string reply = answer_(received.substr(0, end));
            received.erase(0, end + 1);
            const std::size_t last = reply.find(hang_up);
            const std::size_t length = std::min(last, reply.size());
            ::send(connection, reply.data(), length, MSG_NOSIGNAL);
            if (last != std::string::npos) return;
        }
    }
}

std::string status_reply(unsigned requests) {
    const nlohmann::json replica{{"slot", 0},           {"name", "a"},
                                 {"incarnation", 1},    {"place", "a"},
                                 {"port", "veth:ra"},   {"standing", "admitted"},
                                 {"replies", requests}, {"dissent", 0},
                                 {"silence", 0},        {"suspect", false}};
    const nlohmann::json group{
        {"name", "g"},     {"quorum", 1},          {"f", 0},
        {"state", "none"}, {"mode", "enforce"},    {"masking", 0},
        {"halted", false}, {"requests", requests}, {"agreed", requests},
        {"split", 0},      {"expired", 0},         {"replicas", nlohmann::json::array({replica})}};
    const nlohmann::json reply{
        {"ok", true},
        {"status", {{"name", "box"}, {"pid", 7}, {"groups", nlohmann::json::array({group})}}}};
    return reply.dump() + "\n";
}

}  // namespace test
