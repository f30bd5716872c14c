// The count, and what becomes of a request under each behaviour.
//
// Known limit: one thread. `copy` waits for the other replica up to 50 ms per request, and nothing
// else is answered meanwhile.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>

#include "guest/counter/behaviour.hh"
#include "guest/counter/sockets.hh"
#include "guest/counter/wire.hh"

namespace counter {

using Clock = std::chrono::steady_clock;

// The other replica's last answer, asked for over its control socket.
class Copier {
  public:
    explicit Copier(const std::string& control_path);
    ~Copier();
    Copier(const Copier&) = delete;
    Copier& operator=(const Copier&) = delete;

    // Waits until the other has answered the request `wanted`; false when it did not in time.
    bool answer_of(const std::string& other, std::uint64_t wanted, Answer& answer);

  private:
    void open();

    std::string path_;
    int socket_ = -1;
};

class Counter {
  public:
    // `control_path`: of our own control socket, for `copy`; may be empty.
    explicit Counter(const std::string& control_path) : copier_(control_path) {}

    bool burns() const { return behaviour_.mode == Mode::burn; }
    void request(const Peer& peer, std::span<const std::uint8_t> data);
    // Sends what was held long enough; the time until the next, in ms, or -1.
    int release_late();
    // The reply to a command.
    std::string command(const std::string& text);

  private:
    struct Held {
        Clock::time_point due;
        Peer peer;
        Answer answer;
    };

    void send(const Peer& peer, const Answer& answer);

    std::uint64_t count_ = 0;
    Behaviour behaviour_;
    std::deque<Held> held_;
    std::optional<Answer> last_;
    Copier copier_;
};

}  // namespace counter
