// What a voted request costs: the whole proxy (parse, checksum, match, clone, compare, counters,
// deadlines) on ring ports, n = 3, 32 requests in flight, on one core. Only run_once() is timed;
// the clients and the replicas are played outside the clock. Voting on and off take turns in the
// same run, round by round.
//
// Known limit: rings in one process; what a real port costs is benchmarks/system.
#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <rte_cycles.h>
#include <rte_mbuf.h>
#include <signal.h>
#include <sys/utsname.h>

#include "proxy/pipeline.hh"
#include "proxy/ports/eal.hh"
#include "proxy/ports/pools.hh"
#include "wire/write.hh"

namespace {

using Json = nlohmann::json;

constexpr unsigned replicas = 3;
constexpr unsigned in_flight = 32;
constexpr std::array<unsigned, 3> sizes{64, 256,
                                        1400};  // bytes of UDP payload, request and reply alike
const wire::MacAddress client_mac{{0x02, 0, 0, 0, 0, 9}};
const wire::IpAddress client_address = wire::IpAddress::v4(0x0a350002);
const wire::IpAddress service_address = wire::IpAddress::v4(0x0a350035);
constexpr std::uint16_t service_port = 53;

void fail(const std::string& text) {
    std::fprintf(stderr, "bench_pipeline: %s\n", text.c_str());
    std::exit(1);
}

// The clients, the replicas and the ports between them and the worker.
class Bench {
  public:
    explicit Bench(unsigned rounds, unsigned batches) : rounds_(rounds), batches_(batches) {
        auto pools = proxy::make_pools({});
        if (!pools) fail(pools.error());
        pools_ = *pools;
        for (unsigned i = 0; i <= replicas; ++i) {
            auto pair = proxy::open_ring_pair("bench" + std::to_string(i), 1024, pools_.packets);
            if (!pair) fail(pair.error());
            ports_[i] = *pair;
        }
        for (const bool vote : {true, false}) {
            plans_[vote] = plan(vote);
            proxy::WorkerSettings settings;
            settings.hash_secrets = {0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb, 7};
            settings.ticks_per_second = rte_get_tsc_hz();
            settings.clock = [] { return rte_rdtsc(); };
            settings.vote = vote;
            proxy::WorkerSurroundings around;
            around.packets = pools_.packets;
            around.jumbos = pools_.jumbo;
            around.counters = &counters_[vote];
            around.handoff = &handoff_;
            workers_[vote] = std::make_unique<proxy::Worker>(settings, around);
            workers_[vote]->offer(plans_[vote].get());
        }
    }
    ~Bench() {
        for (auto& worker : workers_) worker.reset();
        for (auto& port : ports_) proxy::close_port(port.port);
        proxy::free_pools(pools_);
    }

    struct Cost {
        double on_ns;  // of a request, voting: the lower quartile of the rounds
        double off_ns;
        double ratio;  // the median of the rounds' own ratios
    };
    // Rounds are short (a millisecond or two), voting and not voting in turn, because the speed of
    // a shared machine changes by half within a second: a ratio compares neighbours in time, and
    // what others do only ever adds to a time.
    Cost measure(unsigned size) {
        size_ = size;
        std::array<std::vector<double>, 2> rounds;
        std::vector<double> ratios;
        for (unsigned round = 0; round < rounds_; ++round) {
            std::array<double, 2> ns{};
            for (const bool vote : {round % 2 == 0, round % 2 != 0}) {
                for (unsigned batch = 0; batch < batches_ / 10; ++batch) run_batch(vote);
                // The median batch: an interrupt hits some batches, not most.
                std::vector<double> ticks;
                for (unsigned batch = 0; batch < batches_; ++batch) {
                    ticks.push_back(static_cast<double>(run_batch(vote)));
                }
                ns[vote] = quantile(std::move(ticks), 0.5) * 1e9 /
                           static_cast<double>(rte_get_tsc_hz()) / in_flight;
                rounds[vote].push_back(ns[vote]);
            }
            ratios.push_back(ns[true] / ns[false]);
        }
        return {quantile(rounds[true], 0.25), quantile(rounds[false], 0.25), quantile(ratios, 0.5)};
    }

    // Everything asked was agreed and answered, or the figures mean nothing.
    void check() const {
        for (const bool vote : {true, false}) {
            const proxy::GroupCounters& group = counters_[vote].groups[0];
            if (group.agreed.get() != asked_[vote] || answered_[vote] != asked_[vote] ||
                !counters_[vote].balanced()) {
                fail("asked " + std::to_string(asked_[vote]) + ", agreed " +
                     std::to_string(group.agreed.get()) + ", answered " +
                     std::to_string(answered_[vote]) + ": not everything was voted");
            }
        }
    }

  private:
    std::unique_ptr<proxy::Plan> plan(bool vote) const {
        auto plan = std::make_unique<proxy::Plan>();
        plan->epoch = 1;
        plan->ports_count = 1 + replicas;
        for (std::uint8_t i = 0; i <= replicas; ++i) {
            proxy::PlanPort& port = plan->ports[i];
            port.data = ports_[i].port.data;
            port.role = i == 0 ? proxy::PlanPort::Role::client : proxy::PlanPort::Role::replica;
            port.slot = voter::ReplicaId{static_cast<std::uint8_t>(i == 0 ? 0 : i - 1)};
            port.mac = ports_[i].port.mac;
        }
        plan->client_ports[0] = 0;
        plan->services_count = 1;
        plan->services[0].address = service_address;
        plan->services[0].port = service_port;
        plan->services[0].matcher = voter::Matcher::offset_length(0, 8);
        plan->groups_count = 1;
        proxy::PlanGroup& group = plan->groups[0];
        group.replicas = replicas;
        group.rules = {static_cast<std::uint8_t>(vote ? 2 : 1), voter::Release::quorum};
        group.deadline_ticks = rte_get_tsc_hz();
        group.inflight_max = group.stranger_inflight_max = 1024;
        group.stranger_records_max = 16'384;
        for (std::uint8_t slot = 0; slot < replicas; ++slot) {
            group.seats[slot] = {recovery::Standing::admitted, voter::Incarnation{slot + 1u},
                                 static_cast<std::uint8_t>(slot + 1)};
        }
        group.admitted = group.fed = voter::SlotSet::first(replicas);
        return plan;
    }

    // Puts a batch of requests in, plays the replicas, takes the replies out. Returns the worker's
    // ticks.
    std::uint64_t run_batch(bool vote) {
        for (unsigned i = 0; i < in_flight; ++i) {
            std::memcpy(payload_.data(), &next_request_, sizeof next_request_);
            next_request_ += 1;
            const auto port = static_cast<std::uint16_t>(10'000 + next_request_ % 1000);
            put(ports_[0], datagram({ports_[0].port.mac, client_mac, 0, false}, client_address,
                                    port, service_address, service_port));
        }
        asked_[vote] += in_flight;
        std::uint64_t ticks = turn(vote);
        for (unsigned i = 1; i <= replicas; ++i) answer(ports_[i]);
        ticks += turn(vote);
        void* packet = nullptr;
        while (rte_ring_sc_dequeue(ports_[0].far.from_port, &packet) == 0) {
            answered_[vote] += 1;
            rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
        }
        return ticks;
    }

    std::uint64_t turn(bool vote) {
        const std::uint64_t before = rte_rdtsc();
        workers_[vote]->run_once(before);
        return rte_rdtsc() - before;
    }

    void answer(proxy::RingPair& port) {
        void* entry = nullptr;
        while (rte_ring_sc_dequeue(port.far.from_port, &entry) == 0) {
            auto* request = static_cast<rte_mbuf*>(entry);
            wire::Frame frame;
            const wire::Bytes bytes = proxy::bytes_of(request);
            if (wire::parse_frame(bytes, frame) != wire::DropReason::none) fail("a bad clone");
            const wire::Bytes payload = frame.payload(bytes);
            std::memcpy(payload_.data(), payload.data(), payload.size());
            put(port, datagram({proxy::link_appliance_mac, proxy::link_replica_mac, 0, false},
                               service_address, service_port, client_address, frame.source_port));
            rte_pktmbuf_free(request);
        }
    }

    rte_mbuf* datagram(const wire::LinkHeader& link, const wire::IpAddress& from,
                       std::uint16_t from_port, const wire::IpAddress& to, std::uint16_t to_port) {
        rte_mbuf* packet = rte_pktmbuf_alloc(pools_.packets);
        if (packet == nullptr) fail("out of packets");
        const std::size_t length = wire::write_udp(proxy::room_of(packet), link, from, from_port,
                                                   to, to_port, 1, {payload_.data(), size_});
        proxy::set_length(packet, static_cast<std::uint16_t>(length));
        return packet;
    }

    static void put(proxy::RingPair& port, rte_mbuf* packet) {
        if (rte_ring_sp_enqueue(port.far.to_port, packet) != 0) fail("a ring is full");
    }

    static double quantile(std::vector<double> values, double share) {
        std::sort(values.begin(), values.end());
        return values[static_cast<std::size_t>(static_cast<double>(values.size()) * share)];
    }

    unsigned rounds_;
    unsigned batches_;
    unsigned size_ = 64;
    std::uint64_t next_request_ = 1;
    std::array<std::uint64_t, 2> asked_{};
    std::array<std::uint64_t, 2> answered_{};
    std::array<std::byte, 1500> payload_{};
    proxy::Pools pools_;
    proxy::Handoff handoff_;
    std::array<proxy::RingPair, 1 + replicas> ports_;
    std::array<proxy::WorkerCounters, 2> counters_;
    std::array<std::unique_ptr<proxy::Plan>, 2> plans_;
    std::array<std::unique_ptr<proxy::Worker>, 2> workers_;
};

std::string machine() {
    std::ifstream info("/proc/cpuinfo");
    std::string model = "unknown CPU";
    for (std::string line; std::getline(info, line);) {
        if (line.starts_with("model name")) {
            model = line.substr(line.find(':') + 2);
            break;
        }
    }
    utsname name{};
    uname(&name);
    return model + ", " + std::to_string(rte_get_tsc_hz() / 1'000'000) + " MHz TSC, Linux " +
           name.release;
}

Json figure(double value, const char* unit, const std::string& how) {
    return {{"value", value}, {"unit", unit}, {"how", how}};
}

// DPDK wants a directory for its sockets; nobody talks to a benchmark. So it goes as soon as DPDK
// has started, and nothing is left however the benchmark ends.
void start_dpdk() {
    sigset_t endings;
    sigset_t before;
    sigemptyset(&endings);
    sigaddset(&endings, SIGINT);
    sigaddset(&endings, SIGTERM);
    sigprocmask(SIG_BLOCK, &endings, &before);
    char directory[] = "/tmp/quorate-bench-XXXXXX";
    if (mkdtemp(directory) == nullptr) fail("cannot make a directory in /tmp");
    config::Eal eal;
    eal.memory_mb = 256;
    const auto started = proxy::start_eal(eal, "bench", directory);
    std::error_code ignored;
    std::filesystem::remove_all(directory, ignored);
    sigprocmask(SIG_SETMASK, &before, nullptr);
    if (!started) fail(started.error());
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{
        "What a voted request costs on ring ports: ns per request, and the ratio to voting off."};
    unsigned rounds = 150;
    unsigned batches = 150;
    bool as_json = false;
    bool tiny = false;
    std::vector<unsigned> only;
    app.add_option("--rounds", rounds, "so many, each with voting and without")
        ->check(CLI::Range(3u, 1000u));
    app.add_option("--batches", batches, "of 32 requests, each round")
        ->check(CLI::Range(1u, 1'000'000u));
    app.add_flag("--json", as_json, "one object on standard output");
    app.add_option("--size", only, "only these payload sizes, in bytes")
        ->check(CLI::IsMember(sizes));
    app.add_flag("--tiny", tiny, "a few batches, to see that it still runs");
    CLI11_PARSE(app, argc, argv);
    if (tiny) rounds = 3, batches = 20;
    if (only.empty()) only.assign(sizes.begin(), sizes.end());

    start_dpdk();
    Json figures = Json::object();
    {
        Bench bench(rounds, batches);
        for (const unsigned size : only) {
            const auto [on, off, ratio] = bench.measure(size);
            const std::string key = std::to_string(size);
            figures["ns_per_request_" + key] =
                figure(on, "ns",
                       "one core, n = 3, UDP payload of " + key +
                           " B each way, 32 in flight on rings; lower quartile of " +
                           std::to_string(rounds) + " rounds; run_once() alone");
            figures["ns_vote_off_" + key] =
                figure(off, "ns", "the same, cloned to 3, the first reply released unvoted");
            figures["ratio_vote_off_" + key] =
                figure(ratio, "1", "voting on / off, in turn; median of the rounds' ratios");
        }
        bench.check();
    }
    proxy::stop_eal();
    if (as_json) {
        std::puts(Json{{"name", "pipeline"}, {"machine", machine()}, {"figures", figures}}
                      .dump(1)
                      .c_str());
        return 0;
    }
    std::printf("%s\n%8s %14s %14s %8s\n", machine().c_str(), "payload", "voting", "not voting",
                "ratio");
    for (const unsigned size : only) {
        const std::string key = std::to_string(size);
        std::printf("%6u B %11.0f ns %11.0f ns %8.2f\n", size,
                    figures["ns_per_request_" + key]["value"].get<double>(),
                    figures["ns_vote_off_" + key]["value"].get<double>(),
                    figures["ratio_vote_off_" + key]["value"].get<double>());
    }
    return 0;
}
