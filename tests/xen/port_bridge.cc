// Two guests behind netback and a wire between them, without a voter: what one sends goes to the
// other as it is. For what the appliance's services do not do yet: TCP, in segments longer than a
// frame, from one unmodified frontend to another.
//
//   port_bridge --state-dir DIR PORT PORT    until standard input ends; then one JSON object
//
// Known limit: frames that the other guest has no room for are lost, as on a wire.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <rte_mbuf.h>
#include <unistd.h>

#include "proxy/ports/eal.hh"
#include "proxy/ports/eth_port.hh"
#include "proxy/ports/netback.hh"
#include "proxy/ports/pools.hh"
#include "proxy/ports/sleeper.hh"

namespace {

using Json = nlohmann::json;

constexpr unsigned idle_turns_max = 1'000;
constexpr std::uint32_t sleep_us_max = 20'000;
// Frames of 64 KiB, a chain of thirty-two packets each, in both directions.
constexpr std::uint32_t packets = 16'383;

[[noreturn]] void fail(const std::string& text) {
    std::fprintf(stderr, "port_bridge: %s\n", text.c_str());
    std::exit(1);
}

template <class Value>
Value must(tl::expected<Value, std::string>&& value) {
    if (!value) fail(value.error());
    return std::move(*value);
}

struct End {
    proxy::OpenedPort port;
    std::uint32_t longest = 0;  // frame of its guest
    std::uint64_t lost = 0;     // frames of its guest for which the other had no room

    Json report() const {
        const proxy::NetbackStatus status = proxy::netback_status(port.data.lane());
        return {{"frames_in", status.frames_in},
                {"frames_out", status.frames_out},
                {"to_be_cut", status.to_be_cut},
                {"longest", longest},
                {"lost", lost},
                {"unwanted", status.unwanted},
                {"no_memory", status.no_memory},
                {"violation", text_of(status.violation).name}};
    }
};

unsigned pass(End& from, End& to) {
    std::array<rte_mbuf*, proxy::burst_len_max> burst;
    const std::uint16_t got = from.port.data.rx_burst(0, burst.data(), burst.size());
    for (std::uint16_t i = 0; i < got; ++i) {
        from.longest = std::max(from.longest, burst[i]->pkt_len);
    }
    const std::uint16_t sent = to.port.data.tx_burst(0, burst.data(), got);
    for (std::uint16_t i = sent; i < got; ++i) rte_pktmbuf_free(burst[i]);
    from.lost += got - sent;
    return got;
}

bool input_ended() {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    char byte = 0;
    return ::poll(&input, 1, 0) == 1 && ::read(STDIN_FILENO, &byte, 1) <= 0;
}

void run(End& one, End& other) {
    proxy::NetbackLanes& lanes = *proxy::netback_lanes(0);
    proxy::Sleeper sleeper = must(proxy::Sleeper::make());
    if (!sleeper.watch(one.port.wake_descriptors)) fail("cannot sleep");
    for (unsigned idle = 0;;) {
        lanes.exchange();
        idle = pass(one, other) + pass(other, one) == 0 ? idle + 1 : 0;
        if (idle < idle_turns_max) continue;
        idle = 0;
        if (input_ended()) break;
        sleeper.arm();
        if (lanes.arm()) {
            sleeper.disarm();
        } else {
            sleeper.sleep(sleep_us_max);  // pause: until a guest has sent something
            lanes.woke();
        }
    }
    lanes.release();  // this thread is its worker
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Passes frames between two guests behind netback until standard input ends."};
    std::vector<std::string> names;
    std::string state_dir;
    app.add_option("ports", names, "netback:DOMAIN[,OPTION...]")->required()->expected(2);
    app.add_option("--state-dir", state_dir, "an empty directory")->required();
    CLI11_PARSE(app, argc, argv);

    config::Eal eal;
    eal.memory_mb = 64;
    if (const auto done = proxy::start_eal(eal, "bridge", state_dir); !done) fail(done.error());
    proxy::PoolSizes sizes;
    sizes.packets = packets;
    sizes.within_pages = true;
    proxy::Pools pools = must(proxy::make_pools(sizes));
    if (const auto done = proxy::start_netback({state_dir, 1, pools.packets}); !done) {
        fail(done.error());
    }
    std::array<End, 2> ends;
    for (unsigned i = 0; i < ends.size(); ++i) {
        const auto spec = config::parse_port(names[i]);
        if (!spec) fail(spec.error().what + ": " + spec.error().fix);
        if (spec->kind != config::PortSpec::Kind::netback) fail(names[i] + " is not netback's");
        ends[i].port = must(proxy::open_port(*spec, 1, pools.packets));
    }
    std::puts("{\"ready\": true}");
    std::fflush(stdout);
    run(ends[0], ends[1]);
    std::puts(Json{ends[0].report(), ends[1].report()}.dump().c_str());
    for (End& end : ends) proxy::close_port(end.port);
    proxy::stop_netback();
    std::printf("{\"packets_missing\": %u}\n", pools.in_use());
    proxy::free_pools(pools);
    proxy::stop_eal();
    return 0;
}
