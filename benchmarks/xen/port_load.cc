// One guest behind each of several ports, and a load on one of them at a time, without a voter:
// what a port itself is worth. The data plane's loop in small: a turn takes what came, answers,
// sends, and sleeps when nothing has come for a while, as the proxy's workers do. Commands come a
// line at a time on standard input, each is answered with one JSON object:
//
//   wait PORT SECONDS                      until its guest answers one request
//   delivered PORT 0                       frames since the beginning that reached the guest
//   echo PORT SECONDS PAYLOAD WINDOW IDLE  a window of requests to the guest's echo service; sleeps
//                                          after so many us without an answer
//   one-way PORT SECONDS PAYLOAD           as many as the port takes, to another link address than
//                                          the guest's, so that its IP drops them at once. What
//                                          counts is what lay in the guest's pages in time
//
// Known limit: one flow; packets are built here, on the processor that the port runs on.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <rte_cycles.h>
#include <rte_mbuf.h>
#include <sys/resource.h>

#include "proxy/packet.hh"
#include "proxy/ports/eal.hh"
#include "proxy/ports/eth_port.hh"
#include "proxy/ports/netback.hh"
#include "proxy/ports/pools.hh"
#include "proxy/ports/sleeper.hh"
#include "wire/neighbour.hh"
#include "wire/write.hh"

namespace {

using Json = nlohmann::json;
using Seconds = std::chrono::duration<double>;

// The counter that the proxy's workers go by. Where Dom0's clock is Xen's, a look at steady_clock
// is a system call, as dear as half a request.
struct Clock {
    using duration = std::chrono::nanoseconds;
    using time_point = std::chrono::time_point<Clock, duration>;
    static time_point now() {
        static const double ns_per_tick = 1e9 / static_cast<double>(rte_get_tsc_hz());
        return time_point(
            duration(static_cast<duration::rep>(static_cast<double>(rte_rdtsc()) * ns_per_tick)));
    }
};

constexpr unsigned window_max = 512;
constexpr std::size_t payload_max = 1472;
constexpr std::uint16_t burst_max = proxy::burst_len_max;
// What is given to a port at once: as much as a lane gathers for a guest, and one call of
// af_packet's.
constexpr std::uint16_t send_burst_max = 2 * proxy::tx_buffer_len_max;
constexpr auto lost_after = std::chrono::seconds(2);
constexpr auto drained_within = std::chrono::seconds(10);
constexpr std::uint32_t sleep_us_max = 20'000;
constexpr std::uint16_t client_port = 40'000;
constexpr std::uint16_t echo_port = 7;
constexpr std::uint16_t discard_port = 9;

const wire::MacAddress guest_mac{{0x02, 0x51, 0, 0, 0, 2}};
const wire::IpAddress client_address = wire::IpAddress::v4(0x0a350002);
const wire::MacAddress nobodys_mac{{0x02, 0x51, 0, 0, 0, 0x7f}};

[[noreturn]] void fail(const std::string& text) {
    std::fprintf(stderr, "port_load: %s\n", text.c_str());
    std::exit(1);
}

double processor_seconds() {
    rusage used{};
    ::getrusage(RUSAGE_THREAD, &used);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return seconds(used.ru_utime) + seconds(used.ru_stime);
}

// What is wrong with an answer is the guest's or the port's fault, and makes every figure void.
struct Outcome {
    std::uint64_t answered = 0;
    std::uint64_t lost = 0;
    std::uint64_t wrong = 0;
};

class Guest {
  public:
    Guest(const std::string& name, const wire::IpAddress& address, rte_mempool* pool)
        : address_(address), pool_(pool) {
        const auto spec = config::parse_port(name);
        if (!spec) fail(spec.error().what + ": " + spec.error().fix);
        auto port = proxy::open_port(*spec, 1, pool);
        if (!port) fail(port.error());
        port_ = std::move(*port);
        lanes_ = port_.data.is_netback() ? proxy::netback_lanes(0) : nullptr;
        auto sleeper = proxy::Sleeper::make();
        if (!sleeper) fail(sleeper.error());
        sleeper_.emplace(std::move(*sleeper));
        if (!sleeper_->watch(port_.wake_descriptors)) fail("cannot sleep on " + name);
    }
    Guest(const Guest&) = delete;
    Guest& operator=(const Guest&) = delete;
    ~Guest() {
        free_unsent();
        if (lanes_ != nullptr) lanes_->release();  // this thread is its worker
        proxy::close_port(port_);
    }

    Json wait(double seconds) {
        const auto end = after(seconds);
        begin(9, 1);
        while (outcome_.answered == 0 && Clock::now() < end) turn(true);
        settle();
        return {{"answered", outcome_.answered != 0}};
    }

    Json echo(double seconds, std::size_t payload, unsigned window, unsigned idle_us) {
        idle_after_ = std::chrono::microseconds(idle_us);
        begin(payload, window);
        run_until(after(seconds / 10));  // not counted
        outcome_ = {};
        const Counts before = counts();
        const auto started = Clock::now();
        run_until(after(seconds));
        const Seconds took = Clock::now() - started;
        const std::uint64_t answered = outcome_.answered;
        Json report = difference(before, took.count());
        settle();
        report["answered"] = answered;
        report["lost"] = outcome_.lost;
        report["wrong"] = outcome_.wrong;
        return report;
    }

    Json one_way(double seconds, std::size_t payload) {
        begin(payload, 0);
        std::array<std::byte, 1600> model;
        const std::size_t length =
            wire::write_udp(model, {nobodys_mac, port_.mac, 0, false}, client_address, client_port,
                            address_, discard_port, 1, wire::Bytes(payload_.data(), payload));
        const Counts before = counts();
        const auto started = Clock::now();
        const auto end = after(seconds);
        std::uint64_t sent = 0;
        while (Clock::now() < end) {
            receive();
            sent += push(wire::Bytes(model.data(), length));
        }
        const Seconds took = Clock::now() - started;
        Json report = difference(before, took.count());
        report["sent"] = sent;
        report["drained"] = drain();
        return report;
    }

    // Of all frames so far that reached the guest.
    std::uint64_t delivered() const {
        if (lanes_ != nullptr) return proxy::netback_status(port_.data.lane()).frames_out;
        std::ifstream file("/sys/class/net/" + port_.spec.what + "/statistics/tx_packets");
        std::uint64_t count = 0;
        if (!(file >> count)) fail("no statistics of " + port_.spec.what);
        return count;
    }

  private:
    struct Slot {
        std::uint64_t number = 0;  // of the request; 0: free
        Clock::time_point sent;
    };
    struct Counts {
        std::uint64_t turns = 0;
        std::uint64_t busy_turns = 0;
        std::uint64_t sleeps = 0;
        proxy::NetbackCopies copies;
        std::uint64_t delivered = 0;
        double processor_s = 0;
    };

    static Clock::time_point after(double seconds) {
        return Clock::now() + std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
    }
    wire::LinkHeader link() const { return {guest_mac, port_.mac, 0, false}; }

    Counts counts() const {
        Counts now = counts_;
        now.copies = proxy::netback_copies();
        now.delivered = delivered();
        now.processor_s = processor_seconds();
        return now;
    }
    Json difference(const Counts& before, double seconds) const {
        const Counts now = counts();
        return {{"seconds", seconds},
                {"processor_s", now.processor_s - before.processor_s},
                {"turns", now.turns - before.turns},
                {"busy_turns", now.busy_turns - before.busy_turns},
                {"sleeps", now.sleeps - before.sleeps},
                {"delivered", now.delivered - before.delivered},
                {"copy_calls", now.copies.calls - before.copies.calls},
                {"copy_segments", now.copies.segments - before.copies.segments}};
    }

    void begin(std::size_t payload, unsigned window) {
        payload_size_ = payload;
        window_ = window;
        outcome_ = {};
        payload_.fill(std::byte{0x5a});
    }
    void run_until(Clock::time_point end) {
        while (Clock::now() < end) turn(true);
    }
    // Whether all that was sent has arrived: requests behind it are answered. One every 20 ms,
    // since the kernel's netback was seen to rest on a backlog until the next frame came.
    bool drain() {
        free_unsent();
        payload_size_ = 64;
        const auto end = Clock::now() + drained_within;
        auto next = Clock::now();
        while (outcome_.answered == 0 && Clock::now() < end) {
            window_ = Clock::now() >= next ? in_flight_ + 1 : in_flight_;
            if (window_ != in_flight_) next = Clock::now() + std::chrono::milliseconds(20);
            turn(true);
        }
        const bool drained = outcome_.answered != 0;
        settle();
        return drained;
    }
    // Answers that are still on their way belong to nobody any more.
    void settle() {
        window_ = 0;
        const auto end = Clock::now() + lost_after;
        while (in_flight_ != 0 && Clock::now() < end) turn(true);
        for (Slot& slot : slots_) slot.number = 0;
        outcome_.lost += in_flight_;
        in_flight_ = 0;
        free_unsent();
    }

    void turn(bool may_sleep) {
        const unsigned got = receive();
        fill();
        send_unsent();
        counts_.turns += 1;
        counts_.busy_turns += got != 0;
        const auto now = Clock::now();
        if (got != 0 || !unsent_.empty()) {
            last_packet_ = now;
        } else if (may_sleep && now - last_packet_ > idle_after_) {
            idle();
            give_up_lost(Clock::now());
        }
    }

    // Arm, look once more, sleep: nothing that comes in between is lost.
    void idle() {
        sleeper_->arm();
        if ((lanes_ != nullptr && lanes_->arm()) || receive() != 0) {
            sleeper_->disarm();
            return;
        }
        counts_.sleeps += 1;
        sleeper_->sleep(sleep_us_max);
        if (lanes_ != nullptr) lanes_->woke();
    }

    unsigned receive() {
        if (lanes_ != nullptr) lanes_->exchange();
        std::array<rte_mbuf*, burst_max> burst;
        const std::uint16_t got = port_.data.rx_burst(0, burst.data(), burst_max);
        for (std::uint16_t i = 0; i < got; ++i) take(burst[i]);
        if (got != 0) rte_pktmbuf_free_bulk(burst.data(), got);
        return got;
    }

    void take(const rte_mbuf* packet) {
        wire::Frame frame;
        const wire::Bytes bytes = proxy::bytes_of(packet);
        if (wire::parse_frame(bytes, frame) != wire::DropReason::none) return;
        if (frame.layer3 == wire::Layer3::arp) return answer_neighbour(bytes, frame);
        if (frame.layer4 != wire::Layer4::udp || frame.destination_port != client_port) return;
        const wire::Bytes payload = frame.payload(bytes);
        std::uint64_t number = 0;
        if (payload.size() >= sizeof number) std::memcpy(&number, payload.data(), sizeof number);
        Slot& slot = slots_[number % window_max];
        if (number == 0 || number > next_ || payload.back() != payload_.back()) {
            outcome_.wrong += 1;
            return;
        }
        if (slot.number != number) return;  // given up
        if (payload.size() != payload_size_) outcome_.wrong += 1;
        slot.number = 0;
        in_flight_ -= 1;
        outcome_.answered += 1;
    }

    // The guest asks for its gateway, whoever that is.
    void answer_neighbour(wire::Bytes bytes, const wire::Frame& frame) {
        wire::DropReason why = wire::DropReason::none;
        const auto question = wire::neighbour_question(bytes, frame, why);
        rte_mbuf* packet = question ? rte_pktmbuf_alloc(pool_) : nullptr;
        if (packet == nullptr) return;
        const std::size_t length =
            wire::write_neighbour_answer(frame, *question, port_.mac, proxy::room_of(packet));
        proxy::set_length(packet, static_cast<std::uint16_t>(length));
        unsent_.push_back(packet);
    }

    void fill() {
        const auto now = Clock::now();
        while (in_flight_ < window_ && unsent_.size() < window_max) {
            rte_mbuf* packet = rte_pktmbuf_alloc(pool_);
            if (packet == nullptr) return;
            next_ += 1;
            Slot& slot = slots_[next_ % window_max];
            if (slot.number != 0) outcome_.lost += 1, in_flight_ -= 1;  // lapped
            slot = {next_, now};
            in_flight_ += 1;
            std::memcpy(payload_.data(), &next_, sizeof next_);
            const std::size_t length = wire::write_udp(
                proxy::room_of(packet), link(), client_address, client_port, address_, echo_port,
                static_cast<std::uint16_t>(next_), wire::Bytes(payload_.data(), payload_size_));
            proxy::set_length(packet, static_cast<std::uint16_t>(length));
            unsent_.push_back(packet);
        }
    }

    void send_unsent() {
        while (!unsent_.empty()) {
            std::array<rte_mbuf*, send_burst_max> burst;
            const auto count =
                static_cast<std::uint16_t>(std::min<std::size_t>(send_burst_max, unsent_.size()));
            std::copy_n(unsent_.begin(), count, burst.begin());
            const std::uint16_t sent = port_.data.tx_burst(0, burst.data(), count);
            unsent_.erase(unsent_.begin(), unsent_.begin() + sent);
            if (sent < count) return;
        }
    }

    // A burst of one and the same frame; what the port did not take waits. Returns what it took.
    unsigned push(wire::Bytes model) {
        while (unsent_.size() < send_burst_max) {
            rte_mbuf* packet = rte_pktmbuf_alloc(pool_);
            if (packet == nullptr) break;
            std::memcpy(proxy::room_of(packet).data(), model.data(), model.size());
            proxy::set_length(packet, static_cast<std::uint16_t>(model.size()));
            unsent_.push_back(packet);
        }
        const std::size_t before = unsent_.size();
        send_unsent();
        return static_cast<unsigned>(before - unsent_.size());
    }

    void free_unsent() {
        for (rte_mbuf* packet : unsent_) rte_pktmbuf_free(packet);
        unsent_.clear();
    }

    void give_up_lost(Clock::time_point now) {
        for (Slot& slot : slots_) {
            if (slot.number == 0 || now - slot.sent < lost_after) continue;
            slot.number = 0;
            in_flight_ -= 1;
            outcome_.lost += 1;
        }
    }

    proxy::OpenedPort port_;
    proxy::NetbackLanes* lanes_ = nullptr;
    std::optional<proxy::Sleeper> sleeper_;
    wire::IpAddress address_;
    rte_mempool* pool_;
    std::deque<rte_mbuf*> unsent_;
    std::array<Slot, window_max> slots_{};
    std::array<std::byte, payload_max> payload_{};
    std::size_t payload_size_ = 64;
    unsigned window_ = 0;
    Clock::duration idle_after_ = std::chrono::microseconds(50);  // as the proxy's workers
    unsigned in_flight_ = 0;
    std::uint64_t next_ = 0;
    Outcome outcome_;
    Counts counts_;
    Clock::time_point last_packet_ = Clock::now();
};

Json obey(std::deque<Guest>& guests, const std::string& line) {
    std::istringstream words(line);
    std::string verb;
    std::size_t number = 0;
    double seconds = 0;
    std::size_t payload = 0;
    unsigned window = 0;
    words >> verb >> number >> seconds;
    if (!words || number >= guests.size() || seconds < 0 || seconds > 600) {
        return {{"error", "what is '" + line + "'?"}};
    }
    Guest& guest = guests[number];
    if (verb == "wait") return guest.wait(seconds);
    if (verb == "delivered") return {{"delivered", guest.delivered()}};
    words >> payload;
    if (!words || payload < 16 || payload > payload_max) return {{"error", "bytes of payload?"}};
    if (verb == "one-way") return guest.one_way(seconds, payload);
    unsigned idle_us = 0;
    words >> window >> idle_us;
    if (!words || window == 0 || window > window_max / 2) return {{"error", "which window?"}};
    if (verb == "echo") return guest.echo(seconds, payload, window, idle_us);
    return {{"error", "what is " + verb + "?"}};
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Loads one port at a time, by commands on standard input."};
    std::vector<std::string> ports;
    std::string state_dir;
    std::string address_text = "10.53.0.53";
    unsigned memory_mb = 96;
    app.add_option("--port", ports, "as in a configuration: netback:DOMAIN, veth:INTERFACE")
        ->required();
    app.add_option("--state-dir", state_dir, "an empty directory")->required();
    app.add_option("--address", address_text, "of each guest, IPv4");
    app.add_option("--memory-mb", memory_mb, "for DPDK");
    CLI11_PARSE(app, argc, argv);

    const auto address = wire::IpAddress::parse(address_text);
    if (!address) fail("not an address: " + address_text);
    config::Eal eal;
    eal.memory_mb = memory_mb;
    if (const auto started = proxy::start_eal(eal, "port-load", state_dir); !started) {
        fail(started.error());
    }
    // As in an appliance with domains: a packet within a page.
    proxy::PoolSizes sizes;
    sizes.packets = 8191;
    sizes.within_pages = true;
    auto pools = proxy::make_pools(sizes);
    if (!pools) fail(pools.error());
    const auto is_netback = [](const std::string& port) { return port.starts_with("netback:"); };
    if (std::any_of(ports.begin(), ports.end(), is_netback)) {
        const auto started = proxy::start_netback({state_dir, 1, pools->packets});
        if (!started) fail(started.error());
    }
    {
        std::deque<Guest> guests;
        for (const auto& port : ports) guests.emplace_back(port, *address, pools->packets);
        std::puts("{\"ready\": true}");
        std::fflush(stdout);
        for (std::string line; std::getline(std::cin, line);) {
            std::puts(obey(guests, line).dump().c_str());
            std::fflush(stdout);
        }
    }
    proxy::stop_netback();
    proxy::free_pools(*pools);
    proxy::stop_eal();
    return 0;
}
