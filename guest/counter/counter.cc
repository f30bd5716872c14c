#include "guest/counter/counter.hh"

#include <algorithm>
#include <array>
#include <sstream>
#include <vector>

#include <poll.h>
#include <sys/time.h>
#include <unistd.h>

namespace counter {

namespace {

constexpr std::size_t held_max = 65'536;  // answers of `late`; what comes on top is not answered
constexpr milliseconds copy_wait_max{50};

}  // namespace

Copier::Copier(const std::string& control_path) {
    // Bound, so that the other can answer; a path also reaches across network namespaces.
    if (!control_path.empty() && control_path[0] != '@') path_ = control_path + ".copy";
}

Copier::~Copier() {
    if (socket_ >= 0 && !path_.empty()) ::unlink(path_.c_str());
}

bool Copier::answer_of(const std::string& other, std::uint64_t wanted, Answer& answer) {
    if (socket_ < 0) open();
    socklen_t length = 0;
    const sockaddr_un to = unix_address(other, length);
    const auto until = Clock::now() + copy_wait_max;
    do {
        if (length == 0 || ::sendto(socket_, "last", 4, MSG_DONTWAIT,
                                    reinterpret_cast<const sockaddr*>(&to), length) < 0) {
            return false;
        }
        std::array<char, 128> text;
        const ssize_t got = ::recv(socket_, text.data(), text.size(), 0);
        if (got > 0) {
            std::istringstream words(std::string(text.data(), static_cast<std::size_t>(got)));
            std::uint64_t request = 0;
            std::uint64_t count = 0;
            if (words >> request >> count && request == wanted) {
                answer = counter::answer_of(request, count);
                return true;
            }
        }
        ::poll(nullptr, 0, 1);
    } while (Clock::now() < until);
    return false;
}

void Copier::open() {
    if (path_.empty()) {
        socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        sockaddr_un any{};
        any.sun_family = AF_UNIX;
        ::bind(socket_, reinterpret_cast<const sockaddr*>(&any), sizeof any.sun_family);
    } else {
        socket_ = bind_unix(path_);
    }
    const timeval limit{0, 5'000};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

void Counter::request(const Peer& peer, std::span<const std::uint8_t> data) {
    if (data.size() < request_bytes_min || behaviour_.mode == Mode::deaf) return;
    const std::uint64_t request = get_64(data.data());
    ++count_;
    Answer answer = answer_of(request, count_);
    ++behaviour_.answered;
    switch (behaviour_.mode) {
        case Mode::honest:
        case Mode::burn:
            return send(peer, answer);
        case Mode::silent:
        case Mode::deaf:
            return;
        case Mode::lie:
            return send(peer, answer_of(request, count_ + behaviour_.by));
        case Mode::late:
            if (held_.size() < held_max) {
                held_.push_back({Clock::now() + behaviour_.delay, peer, answer});
            }
            return;
        case Mode::twice:
            send(peer, answer);
            return send(peer, answer);
        case Mode::early:
            send(peer, answer);
            return send(peer, answer_of(request + 1, count_ + 1));
        case Mode::copy:
            if (copier_.answer_of(behaviour_.peer, request, answer)) send(peer, answer);
            return;
        case Mode::corrupt:
            if (behaviour_.answered % behaviour_.one_in == 0) answer[behaviour_.byte] ^= 0xff;
            return send(peer, answer);
    }
}

int Counter::release_late() {
    const auto now = Clock::now();
    while (!held_.empty() && held_.front().due <= now) {
        send(held_.front().peer, held_.front().answer);
        held_.pop_front();
    }
    if (held_.empty()) return -1;
    const auto wait = std::chrono::ceil<milliseconds>(held_.front().due - now).count();
    return static_cast<int>(std::min<std::int64_t>(wait, 1'000));
}

std::string Counter::command(const std::string& text) {
    std::istringstream in(text);
    std::vector<std::string> words;
    for (std::string word; in >> word;) words.push_back(word);
    if (words.empty()) return "error: empty command";
    if (words.size() == 1 && words[0] == "state") return std::to_string(count_);
    if (words.size() == 1 && words[0] == "last") {
        if (!last_) return "none";
        return std::to_string(request_in(*last_)) + " " + std::to_string(count_in(*last_));
    }
    const std::optional<Behaviour> wanted = parse_behaviour(words);
    if (!wanted) return "error: unknown command: " + text;
    behaviour_ = *wanted;
    return "ok";
}

void Counter::send(const Peer& peer, const Answer& answer) {
    counter::send(peer, answer);
    last_ = answer;
}

}  // namespace counter
