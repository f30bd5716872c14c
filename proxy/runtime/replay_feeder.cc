#include "proxy/runtime/replay_feeder.hh"

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>

#include <rte_mbuf.h>
#include <rte_ring.h>
#include <signal.h>
#include <sys/prctl.h>

#include "proxy/limits.hh"
#include "wire/frame.hh"

namespace proxy {
namespace {

using wire::DropReason;

// The ring or the window is full. Looks at every 20 us took a third of a core from workers and
// replicas; a request takes longer than this pause.
constexpr std::uint64_t pause_busy_ns = 100'000;
constexpr std::uint64_t pause_ns_max = 1'000'000;  // between two looks for answers
constexpr std::uint64_t pause_settle_ns = 10'000'000;
constexpr unsigned quiet_looks_needed = 3;
constexpr unsigned bursts_max = 64;  // taken out before it is looked what is due

std::uint64_t now_ns() {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                          std::chrono::steady_clock::now().time_since_epoch())
                                          .count());
}

void pause(std::uint64_t ns) {
    if (ns == 0) return;
    const timespec time{0, static_cast<long>(std::min<std::uint64_t>(ns, 999'999'999))};
    ::nanosleep(&time, nullptr);
}

// Of a fragmented answer, whether this is the one with its beginning.
bool is_first_fragment(wire::Bytes bytes, const wire::Frame& frame) {
    if (frame.layer3 == wire::Layer3::ipv4) {
        return (wire::load_be16(bytes.data() + frame.l3_offset + 6) & 0x1fffu) == 0;
    }
    const std::size_t header = frame.l4_offset - wire::ipv6_fragment_header_len;
    return (wire::load_be16(bytes.data() + header + 2) & 0xfff8u) == 0;
}

bool is_answer(const rte_mbuf* packet) {
    const wire::Bytes bytes{rte_pktmbuf_mtod(packet, const std::byte*), packet->data_len};
    wire::Frame frame;
    if (wire::parse_frame(bytes, frame) != DropReason::none) return false;
    if (frame.fragment) return is_first_fragment(bytes, frame);
    return frame.layer4 == wire::Layer4::udp || frame.layer4 == wire::Layer4::icmp ||
           frame.layer4 == wire::Layer4::icmpv6;
}

}  // namespace

ReplayFeeder::ReplayFeeder(const ReplaySettings& settings, ReplaySurroundings surroundings)
    : settings_(settings), around_(std::move(surroundings)), input_(settings.descriptor) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are the control thread's
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

ReplayFeeder::~ReplayFeeder() {
    quit_.store(true, std::memory_order_relaxed);
    thread_.join();
}

void ReplayFeeder::run() {
    ::prctl(PR_SET_TIMERSLACK, 1'000, 0, 0, 0);  // the default makes each pause 50 us longer
    while (!quit_.load(std::memory_order_relaxed)) {
        take_answers(around_.client.from_port, true);
        if (around_.passed != nullptr) take_answers(around_.passed, false);
        switch (state_.load(std::memory_order_relaxed)) {
            case State::feeding:
                pause(feed());
                break;
            case State::settling:
                pause(settle());
                break;
            case State::done:
            case State::broken:
                pause(pause_settle_ns);
                break;
        }
    }
}

std::uint64_t ReplayFeeder::feed() {
    ReplayInput::State input = ReplayInput::State::end;
    if (!stop_.load(std::memory_order_relaxed)) input = input_.look();
    if (input == ReplayInput::State::nothing_yet) return pause_ns_max;
    if (input != ReplayInput::State::record) {
        const bool broken = input == ReplayInput::State::broken;
        input_.close();
        moved_ns_ = now_ns();
        state_.store(broken ? State::broken : State::settling, std::memory_order_release);
        return 0;
    }
    const std::uint64_t now = now_ns();
    if (started_ns_ == 0) {
        started_ns_ = moved_ns_ = now;
        first_ns_.set(now);
    }
    const unsigned free = room();
    if (free == 0) return pause_busy_ns;
    std::uint64_t wait_ns = 0;
    const unsigned put = put_due(free, now, wait_ns);
    if (put != 0) around_.wake();
    return std::min(wait_ns, pause_ns_max);
}

// How many requests may be put into the ring now.
unsigned ReplayFeeder::room() {
    const unsigned ring =
        std::min<unsigned>(burst_len_max, rte_ring_free_count(around_.client.to_port));
    if (settings_.window == 0) return ring;
    const std::uint64_t now = now_ns();
    const std::uint64_t seen = ended();
    if (seen != ended_seen_) {
        ended_seen_ = seen;
        moved_ns_ = now;
    }
    const std::uint64_t over = seen + forgiven_;
    std::uint64_t under_way = sent_.get() > over ? sent_.get() - over : 0;
    const auto patience_ns = static_cast<std::uint64_t>(settings_.patience.count()) * 1'000'000;
    if (under_way >= settings_.window && now - moved_ns_ > patience_ns) {
        forgiven_ += under_way;
        under_way = 0;
        moved_ns_ = now;
    }
    if (under_way >= settings_.window) return 0;
    return std::min<unsigned>(ring, static_cast<unsigned>(settings_.window - under_way));
}

// The records that are due, as one burst; `wait_ns`: until the next one is, where that is known.
unsigned ReplayFeeder::put_due(unsigned room, std::uint64_t now, std::uint64_t& wait_ns) {
    std::array<void*, burst_len_max> burst;
    unsigned count = 0;
    std::uint64_t bytes = 0;
    const std::uint64_t elapsed = now - started_ns_;
    while (count < room && input_.look() == ReplayInput::State::record) {
        const ReplayRecord& record = input_.record();
        if (record.due_ns > elapsed) {
            wait_ns = record.due_ns - elapsed;
            break;
        }
        rte_mbuf* packet = packet_of(input_.frame());
        if (packet == nullptr) {
            wait_ns = pause_busy_ns;
            break;
        }
        if (record.due_ns != 0) late_ns_max_.raise_to(elapsed - record.due_ns);
        bytes += record.length;
        burst[count++] = packet;
        input_.pop();
    }
    if (count == 0) return 0;
    // Alone on this side of the ring, and there was room.
    rte_ring_sp_enqueue_bulk(around_.client.to_port, burst.data(), count, nullptr);
    bytes_.add(bytes);
    last_ns_.set(now);
    sent_.add(count);
    return count;
}

rte_mbuf* ReplayFeeder::packet_of(std::span<const std::byte> frame) {
    rte_mbuf* packet = rte_pktmbuf_alloc(around_.packets);
    if (packet == nullptr) return nullptr;
    auto* bytes = reinterpret_cast<std::byte*>(
        rte_pktmbuf_append(packet, static_cast<std::uint16_t>(frame.size())));
    std::memcpy(bytes, frame.data(), frame.size());
    if (frame.size() >= around_.mac.octets.size()) {
        std::memcpy(bytes, around_.mac.octets.data(), around_.mac.octets.size());
    }
    return packet;
}

void ReplayFeeder::take_answers(rte_ring* ring, bool count) {
    std::array<void*, burst_len_max> burst;
    std::uint64_t answers = 0;
    for (unsigned bursts = 0; bursts < bursts_max; ++bursts) {
        const unsigned got = rte_ring_sc_dequeue_burst(ring, burst.data(), burst_len_max, nullptr);
        if (got == 0) break;
        for (unsigned i = 0; i < got; ++i) {
            auto* packet = static_cast<rte_mbuf*>(burst[i]);
            if (count && is_answer(packet)) ++answers;
            rte_pktmbuf_free(packet);
        }
    }
    answers_.add(answers);
}

// Requests that are no longer under way. One that was refused by kind was answered, and is counted
// where it comes out.
std::uint64_t ReplayFeeder::ended() const {
    std::uint64_t total = answers_.get();
    for (const WorkerCounters& worker : around_.counters) {
        for (auto reason = static_cast<std::size_t>(DropReason::no_service);
             reason < static_cast<std::size_t>(DropReason::mbufs_exhausted); ++reason) {
            if (reason == static_cast<std::size_t>(DropReason::refused_kind)) continue;
            total += worker.dropped[reason].get();
        }
    }
    return total;
}

bool ReplayFeeder::nothing_held() const {
    if (rte_ring_count(around_.client.to_port) != 0) return false;
    return std::all_of(around_.counters.begin(), around_.counters.end(),
                       [](const WorkerCounters& worker) { return worker.held.get() == 0; });
}

// Late votes are counted until the deadline: done when nothing is held any more, a few looks long,
// or when the last deadline has passed.
std::uint64_t ReplayFeeder::settle() {
    quiet_looks_ = nothing_held() ? quiet_looks_ + 1 : 0;
    const auto bound_ns = static_cast<std::uint64_t>(settings_.patience.count()) * 2'000'000;
    const bool late = now_ns() - moved_ns_ > bound_ns;
    if (quiet_looks_ >= quiet_looks_needed || late) {
        state_.store(State::done, std::memory_order_release);
    }
    return pause_settle_ns;
}

nlohmann::json ReplayFeeder::status() const {
    static constexpr std::array<const char*, 4> words{"feeding", "settling", "done", "broken"};
    // Partner: the release stores of state_. What is said of a state was written before it.
    const auto state = static_cast<std::size_t>(state_.load(std::memory_order_acquire));
    const std::uint64_t first = first_ns_.get();
    const std::uint64_t last = std::max(last_ns_.get(), first);
    return {{"state", words[state]},
            {"sent", sent_.get()},
            {"bytes", bytes_.get()},
            {"answers", answers_.get()},
            {"seconds", static_cast<double>(last - first) / 1e9},
            {"late_us_max", static_cast<double>(late_ns_max_.get()) / 1e3}};
}

}  // namespace proxy
