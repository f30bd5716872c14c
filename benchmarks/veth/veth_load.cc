// A closed-loop client: keeps a window of requests in flight on one UDP socket for some seconds and
// says how many were answered, rightly, and how fast. Requests are numbered; an answer must repeat
// its request byte for byte (guest/echo). What the window lets out at once leaves in one call
// (UDP_SEGMENT), so that the client is cheaper than what it measures.
//
// Known limit: one socket, so one flow and one source; a request lost for good holds its place in
// the window for --lost-ms.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <sys/time.h>

namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned window_max = 1024;  // a power of two
constexpr unsigned burst_max = 64;
constexpr std::size_t run_bytes_max = 65'000;
constexpr std::size_t payload_max = 1472;
constexpr int socket_buffer_bytes = 4 << 20;

[[noreturn]] void die(const std::string& what) {
    std::fprintf(stderr, "veth_load: %s\n", what.c_str());
    std::exit(1);
}

int connect_udp(const std::string& address, std::uint16_t port) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    if (::inet_pton(AF_INET, address.c_str(), &to.sin_addr) != 1) die("not an IPv4 address");
    const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    // Wakes to look for what is lost.
    const timeval wait{0, 20'000};
    ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    // Beyond net.core.rmem_max where we may: a window of small datagrams is large in the kernel.
    ::setsockopt(socket, SOL_SOCKET, SO_RCVBUFFORCE, &socket_buffer_bytes,
                 sizeof socket_buffer_bytes);
    if (socket < 0 || ::connect(socket, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
        die("cannot reach " + address + ": " + std::strerror(errno));
    }
    return socket;
}

struct Slot {
    std::uint64_t number = 0;  // of the request; 0: free
    Clock::time_point sent;
};

class Load {
  public:
    Load(int socket, unsigned window, std::size_t payload, Clock::duration lost_after)
        : socket_(socket),
          window_(window),
          payload_(payload),
          lost_after_(lost_after),
          buffers_(burst_max) {
        for (unsigned i = 0; i < burst_max; ++i) {
            pieces_[i] = {buffers_[i].data(), 0};
            messages_[i].msg_hdr.msg_iov = &pieces_[i];
            messages_[i].msg_hdr.msg_iovlen = 1;
        }
    }

    void run(std::chrono::duration<double> length) {
        const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(length);
        auto look_again = Clock::now() + lost_after_ / 4;
        for (;;) {
            const auto now = Clock::now();
            if (now >= end) break;
            if (now >= look_again) {
                give_up_lost(now);
                look_again = now + lost_after_ / 4;
            }
            fill(now);
            receive();
        }
    }
    // Answers that are still on their way belong to nobody any more.
    void settle() {
        const auto until = Clock::now() + lost_after_;
        while (in_flight_ != 0 && Clock::now() < until) receive();
        give_up_lost(Clock::now() + lost_after_);
    }
    std::uint64_t lost() const { return lost_; }
    void forget() { answered_ = lost_ = wrong_ = 0, latencies_us_.clear(); }

    nlohmann::json report(double seconds) {
        std::sort(latencies_us_.begin(), latencies_us_.end());
        const auto percentile = [&](double share) {
            const auto place = share * static_cast<double>(latencies_us_.size());
            return latencies_us_.empty() ? 0.0f : latencies_us_[static_cast<std::size_t>(place)];
        };
        return {{"answered", answered_},     {"lost", lost_},
                {"wrong", wrong_},           {"seconds", seconds},
                {"p50_us", percentile(0.5)}, {"p99_us", percentile(0.99)}};
    }

  private:
    unsigned burst_len_max() const {
        return std::min(burst_max, static_cast<unsigned>(run_bytes_max / payload_));
    }

    void fill(Clock::time_point now) {
        while (in_flight_ < window_) {
            unsigned count = 0;
            for (; count < burst_len_max() && in_flight_ < window_; ++count) {
                next_ += 1;
                Slot& slot = slots_[next_ % window_max];
                if (slot.number != 0) lost_ += 1, in_flight_ -= 1;  // lapped
                slot = {next_, now};
                in_flight_ += 1;
                std::memset(buffers_[count].data(), static_cast<int>(next_ & 0xff), payload_);
                std::memcpy(buffers_[count].data(), &next_, sizeof next_);
                pieces_[count].iov_len = payload_;
            }
            if (!send_run(count)) ::sendmmsg(socket_, messages_.data(), count, 0);
        }
    }

    // All pieces as one, cut apart by the kernel. False: it cannot.
    bool send_run(unsigned count) {
        alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(sizeof(std::uint16_t))> control{};
        msghdr message{};
        message.msg_iov = pieces_.data();
        message.msg_iovlen = count;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_UDP;
        header->cmsg_type = UDP_SEGMENT;
        header->cmsg_len = CMSG_LEN(sizeof(std::uint16_t));
        const auto length = static_cast<std::uint16_t>(payload_);
        std::memcpy(CMSG_DATA(header), &length, sizeof length);
        return ::sendmsg(socket_, &message, 0) >= 0;
    }

    void receive() {
        for (iovec& piece : pieces_) piece.iov_len = payload_max;
        const int got = ::recvmmsg(socket_, messages_.data(), burst_max, MSG_WAITFORONE, nullptr);
        const auto now = Clock::now();
        for (int i = 0; i < got; ++i) take(static_cast<unsigned>(i), now);
    }

    void take(unsigned index, Clock::time_point now) {
        std::uint64_t number = 0;
        const auto& bytes = buffers_[index];
        std::memcpy(&number, bytes.data(), sizeof number);
        Slot& slot = slots_[number % window_max];
        const auto fill_byte = static_cast<std::uint8_t>(number & 0xff);
        if (messages_[index].msg_len != payload_ || number == 0 || number > next_ ||
            bytes[payload_ - 1] != fill_byte) {
            wrong_ += 1;
            return;
        }
        if (slot.number != number) return;  // given up, or answered twice
        slot.number = 0;
        in_flight_ -= 1;
        answered_ += 1;
        latencies_us_.push_back(std::chrono::duration<float, std::micro>(now - slot.sent).count());
    }

    void give_up_lost(Clock::time_point now) {
        for (Slot& slot : slots_) {
            if (slot.number == 0 || now - slot.sent < lost_after_) continue;
            slot.number = 0;
            in_flight_ -= 1;
            lost_ += 1;
        }
    }

    int socket_;
    unsigned window_;
    std::size_t payload_;
    Clock::duration lost_after_;  // a request without its answer
    std::uint64_t next_ = 0;
    unsigned in_flight_ = 0;
    std::uint64_t answered_ = 0;
    std::uint64_t lost_ = 0;
    std::uint64_t wrong_ = 0;
    std::array<Slot, window_max> slots_{};
    std::vector<std::array<std::uint8_t, payload_max>> buffers_;
    std::array<iovec, burst_max> pieces_{};
    std::array<mmsghdr, burst_max> messages_{};
    std::vector<float> latencies_us_;
};

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"A closed-loop client of an echo service; one JSON object on standard output."};
    std::string address;
    std::uint16_t port = 0;
    unsigned window = 64;
    std::size_t payload = 64;
    double seconds = 2;
    double warm_seconds = 0.3;
    unsigned lost_ms = 500;
    app.add_option("address", address)->required();
    app.add_option("port", port)->required();
    app.add_option("--window", window, "requests in flight")->check(CLI::Range(1u, window_max / 2));
    app.add_option("--payload", payload, "bytes")->check(CLI::Range(std::size_t{9}, payload_max));
    app.add_option("--seconds", seconds, "measured");
    app.add_option("--lost-ms", lost_ms, "after which an answer is not waited for any more")
        ->check(CLI::Range(1u, 60'000u));
    app.add_option("--warm", warm_seconds, "before that, not counted");
    CLI11_PARSE(app, argc, argv);

    Load load(connect_udp(address, port), window, payload, std::chrono::milliseconds(lost_ms));
    load.run(std::chrono::duration<double>(warm_seconds));
    load.forget();
    const auto begin = Clock::now();
    load.run(std::chrono::duration<double>(seconds));
    const std::chrono::duration<double> took = Clock::now() - begin;
    nlohmann::json report = load.report(took.count());
    load.settle();
    report["lost"] = load.lost();
    std::puts(report.dump().c_str());
    return 0;
}
