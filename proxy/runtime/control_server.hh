// The operator's socket: a Unix stream socket, one JSON object per line each way. Non-blocking and
// bounded: a few connections, lines of limited length, and a peer that does not read its answers is
// let go.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <poll.h>
#include <tl/expected.hpp>

namespace proxy {

constexpr std::size_t control_peers_max = 16;
constexpr std::size_t control_line_max = 64 * 1024;
constexpr std::size_t control_backlog_max = 4 * 1024 * 1024;

class ControlServer {
  public:
    using Handler = std::function<nlohmann::json(const nlohmann::json&)>;

    // Replaces a socket that a dead process left (the caller holds the appliance's lock). `mode`:
    // the permissions of the socket.
    static tl::expected<ControlServer, std::string> listen(const std::filesystem::path& path,
                                                           unsigned mode, Handler handler);
    ~ControlServer();
    ControlServer(ControlServer&& other) noexcept;
    ControlServer(const ControlServer&) = delete;
    ControlServer& operator=(const ControlServer&) = delete;

    // Adds what to wait for; after poll(), hands the same range back to serve().
    void add_descriptors(std::vector<pollfd>& set) const;
    void serve(const std::vector<pollfd>& set);

  private:
    struct Peer {
        int descriptor = -1;
        std::string in;
        std::string out;
    };
    ControlServer(int listener, std::filesystem::path path, Handler handler);
    void accept_peer();
    bool read_from(Peer& peer);
    bool write_to(Peer& peer);
    std::string answer(const std::string& line) const;

    int listener_ = -1;
    std::filesystem::path path_;
    Handler handler_;
    std::vector<Peer> peers_;
};

}  // namespace proxy
