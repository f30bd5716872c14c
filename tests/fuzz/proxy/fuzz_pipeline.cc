// Bytes to frames into the client's and the replicas' ports of a whole worker: the counters balance
// after every turn, and afterwards every packet is back in its pool.
//
// The input is a list of (what, length, bytes): the bytes are a frame, or the payload of a
// well-formed request or reply, so that what lies behind the parsers is reached too. The first byte
// chooses the appliance.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/appliance/appliance.hh"

namespace {

using namespace appliance_test;

const Endpoint clients[] = {{mac("02:cc:00:00:00:01"), address("198.51.100.9"), 4000},
                            {mac("02:cc:00:00:00:02"), address("2001:db8:1::9"), 4001}};

[[noreturn]] void fail(const char* why) {
    std::fprintf(stderr, "%s\n", why);
    std::abort();
}

Shape shape_of(unsigned choice) {
    Shape shape;
    shape.records = 256;
    shape.deadline_us = 1000;
    switch (choice % 4) {
        case 0:
            shape.is_dns = true;
            shape.matcher = voter::Matcher(voter::MatcherKind::dns);
            shape.comparator = voter::Comparator(voter::ComparatorKind::dns);
            shape.service_port = 53;
            break;
        case 1:
            shape.matcher = voter::Matcher(voter::MatcherKind::memcached);
            break;
        case 2:
            shape.matcher = voter::Matcher(voter::MatcherKind::fifo);
            break;
        default:
            break;
    }
    if ((choice & 4) != 0) shape.quorum_lost = config::QuorumLost::error;
    if ((choice & 8) != 0) shape.quorum_lost = config::QuorumLost::open;
    if ((choice & 16) != 0) shape.topology = config::Topology::inline_;
    if ((choice & 32) != 0) shape.mode = config::Mode::observe;
    return shape;
}

void put(Appliance& appliance, unsigned what, const Octets& bytes) {
    const Endpoint& client = clients[what >> 7];
    const bool whole = (what & 64) != 0;
    const unsigned slot = what & 3;
    if (slot == 3) {
        appliance.from_client(whole ? bytes : appliance.request(client, bytes));
    } else {
        appliance.from_replica(slot, whole ? bytes : appliance.reply(client, bytes));
    }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    if (const std::string error = start_dpdk(); !error.empty()) fail(error.c_str());
    std::atexit(stop_dpdk);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    {
        Appliance appliance(shape_of(data[0]));
        std::size_t at = 1;
        while (at + 3 <= size) {
            const unsigned what = data[at];
            const std::size_t wanted = data[at + 1] * 256u + data[at + 2];
            at += 3;
            const std::size_t length = std::min(wanted % 1500, size - at);
            Octets bytes(length);
            if (length != 0) std::memcpy(bytes.data(), data + at, length);
            at += length;
            put(appliance, what, bytes);
            // Some arrive together, some a turn or a deadline apart.
            if ((what & 8) != 0 && !appliance.step((what & 16) != 0 ? 1001 : 1)) {
                fail("the counters do not balance");
            }
            if ((what & 32) != 0) {
                appliance.suspend(0);
                if ((what & 16) != 0) appliance.admit(0, 1);
                appliance.offer();
            }
        }
        for (unsigned i = 0; i < 4; ++i) {
            if (!appliance.step(1001)) fail("the counters do not balance");
        }
        appliance.discard_output();
        if (!appliance.finish()) fail("something is held after the end");
    }
    if (pool().in_use() != 0) fail("packets were leaked");
    return 0;
}
