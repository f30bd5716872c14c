// A quorate-proxy of our own: started, listened to, ended. It ends with us, however we end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>
#include <tl/expected.hpp>

namespace quorate {

class ProxyProcess {
  public:
    // Replays what is written to requests() (proxy/runtime/replay_record.hh). `window`: requests
    // under way at most; 0: any number. Call it from the thread that lives longest.
    static tl::expected<ProxyProcess, std::string> replay(const std::filesystem::path& config,
                                                          std::uint64_t window);
    ProxyProcess(ProxyProcess&& other) noexcept;
    ProxyProcess& operator=(ProxyProcess&&) = delete;
    ~ProxyProcess();

    // The descriptor to write to, now the caller's. Once.
    int take_requests();
    // What it said since the last call, whole lines.
    std::vector<std::string> take_lines();
    // How it ended ("exit status 1", "signal 9"); nullopt: it runs.
    std::optional<std::string> ended();
    // SIGTERM; SIGKILL where that does not help.
    void end();

  private:
    ProxyProcess(pid_t pid, int requests, int output)
        : pid_(pid), requests_(requests), output_(output) {}

    pid_t pid_;
    int requests_;
    int output_;
    std::string unfinished_;  // the beginning of a line
    std::optional<std::string> ended_;
};

}  // namespace quorate
