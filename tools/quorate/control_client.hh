// Talks to a running proxy: a Unix stream socket, one JSON object per line each way.
//
// Every wait has the same deadline, a reply is at most reply_bytes_max, and what comes back is an
// object whose "ok" is true; everything else is a ControlError. One request at a time.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>
#include <tl/expected.hpp>

namespace quorate {

constexpr std::size_t reply_bytes_max = 1u << 20;

struct ControlError {
    std::string what;      // with its cause, for people
    bool refused = false;  // the proxy answered: no. Else it could not be reached or understood
};

class ControlClient {
  public:
    // Waits at most `timeout` for the proxy, here and in each ask().
    static tl::expected<ControlClient, ControlError> connect(const std::filesystem::path& socket,
                                                             std::chrono::milliseconds timeout);
    ControlClient(ControlClient&& other) noexcept;
    ControlClient& operator=(ControlClient&& other) noexcept;
    ~ControlClient();

    // Sends {"command": ..., ...}; returns the reply object. After an error that is not `refused`
    // the connection is of no use any more.
    tl::expected<nlohmann::json, ControlError> ask(const nlohmann::json& request);
    // {"command":"status"}, and of the reply the object "status".
    tl::expected<nlohmann::json, ControlError> ask_status();

  private:
    using Clock = std::chrono::steady_clock;

    ControlClient(int fd, std::filesystem::path socket, std::chrono::milliseconds timeout);
    ControlError failure(const std::string& what) const;
    ControlError failure_errno(const std::string& what) const;
    tl::expected<void, ControlError> wait(short events, Clock::time_point deadline) const;
    tl::expected<void, ControlError> send_line(std::string line, Clock::time_point deadline);
    tl::expected<std::string, ControlError> read_line(Clock::time_point deadline);

    int fd_ = -1;
    std::filesystem::path socket_;
    std::chrono::milliseconds timeout_;
    std::string received_;  // beyond the last line
};

}  // namespace quorate
