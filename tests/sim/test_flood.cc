// Ten million flows of one packet each, from sources never seen before, through one worker whose
// replicas answer as fast as they can: memory stays as it is, and known clients go on being
// answered. QUORATE_FLOOD_FLOWS says how many.
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include <rte_ring.h>

#include "tests/appliance/environment.hh"

namespace {

using namespace appliance_test;

constexpr unsigned replicas_count = 3;
constexpr unsigned burst = 24;            // strangers a turn; a port gives 32 a turn
constexpr unsigned answers_per_turn = 6;  // what a replica manages: a quarter of what comes
constexpr unsigned known_clients = 100;
constexpr unsigned turn_us = 10;  // 2.4 million strangers a second
constexpr std::size_t payload_at = 14 + 20 + 8;

std::uint64_t resident_kb() {
    std::ifstream status("/proc/self/status");
    std::string line;
    while (std::getline(status, line)) {
        if (line.rfind("VmRSS:", 0) == 0) return std::strtoull(line.c_str() + 6, nullptr, 10);
    }
    return 0;
}

rte_mbuf* copy_of(const Octets& frame) {
    rte_mbuf* packet = rte_pktmbuf_alloc(pool().packets);
    if (packet == nullptr) return nullptr;
    std::memcpy(rte_pktmbuf_append(packet, static_cast<std::uint16_t>(frame.size())), frame.data(),
                frame.size());
    return packet;
}
std::byte* at(rte_mbuf* packet, std::size_t offset) {
    return rte_pktmbuf_mtod_offset(packet, std::byte*, offset);
}

class Flood {
  public:
    Flood() : appliance_(shape()), request_(appliance_.request(known(0), text("0000 what"))) {
        appliance_.step();
        for (unsigned slot = 0; slot < replicas_count; ++slot) {
            // As start_dpdk() names them: two client ports, then two places a slot.
            replicas_[slot] =
                proxy::ring_far_end(std::string("t").append(std::to_string(2 + slot * places)));
        }
        clients_ = proxy::ring_far_end("t0");
    }

    // A source of its own (no sum over IPv4: the appliance does not ask for one).
    void stranger(std::uint32_t number) {
        rte_mbuf* packet = copy_of(request_);
        if (packet == nullptr) return;
        wire::store_be32(at(packet, 26), 0x0a000000u + number);
        send(packet, number);
    }
    void known_asks(unsigned client, std::uint32_t number) {
        rte_mbuf* packet = copy_of(request_);
        if (packet == nullptr) return;
        wire::store_be32(at(packet, 26), 0xc6336400u + client);
        send(packet, number);
        asked_ += 1;
    }

    // Replicas answer the oldest of what they have, so many a turn, and forget what does not fit
    // into a socket's buffer.
    void turn(std::uint64_t us) {
        balanced_ = appliance_.step(us) && balanced_;
        for (const proxy::RingEnd& replica : replicas_) {
            void* next = nullptr;
            for (unsigned i = 0; i < answers_per_turn; ++i) {
                if (rte_ring_sc_dequeue(replica.from_port, &next) != 0) break;
                auto* heard = static_cast<rte_mbuf*>(next);
                rte_mbuf* reply = rte_pktmbuf_copy(heard, pool().packets, 0, UINT32_MAX);
                rte_pktmbuf_free(heard);
                if (reply == nullptr) continue;
                turn_around(at(reply, 0));
                if (rte_ring_sp_enqueue(replica.to_port, reply) != 0) rte_pktmbuf_free(reply);
            }
        }
        void* next = nullptr;
        while (rte_ring_sc_dequeue(clients_.from_port, &next) == 0) {
            auto* packet = static_cast<rte_mbuf*>(next);
            const std::uint32_t to = wire::load_be32(at(packet, 30));
            if (to >= 0xc6336400u && to < 0xc6336400u + known_clients) answered_ += 1;
            rte_pktmbuf_free(packet);
        }
    }

    std::uint64_t asked_ = 0;
    std::uint64_t answered_ = 0;
    bool balanced_ = true;
    Appliance& appliance() { return appliance_; }

  private:
    static Shape shape() {
        Shape shape;
        shape.records = 16'384;
        shape.deadline_us = 300'000;
        return shape;
    }
    static Endpoint known(unsigned client) {
        return {mac("02:cc:00:00:00:01"), wire::IpAddress::v4(0xc6336400u + client), 4000};
    }
    void send(rte_mbuf* packet, std::uint32_t number) {
        wire::store_be32(at(packet, payload_at), number);
        seal(at(packet, 0));
        if (rte_ring_sp_enqueue(clients_.to_port, packet) != 0) rte_pktmbuf_free(packet);
    }
    static void swap(std::byte* a, std::byte* b, std::size_t length) {
        for (std::size_t i = 0; i < length; ++i) std::swap(a[i], b[i]);
    }
    static void turn_around(std::byte* frame) {
        swap(frame, frame + 6, 6);
        swap(frame + 26, frame + 30, 4);
        swap(frame + 34, frame + 36, 2);  // no sum changes by exchanging
    }
    // The header's sum anew, and none of UDP.
    static void seal(std::byte* frame) {
        wire::store_be16(frame + 24, 0);
        std::uint32_t sum = 0;
        for (unsigned i = 14; i < 34; i += 2) sum += wire::load_be16(frame + i);
        while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
        wire::store_be16(frame + 24, static_cast<std::uint16_t>(~sum));
        wire::store_be16(frame + 40, 0);
    }

    Appliance appliance_;
    Octets request_;
    proxy::RingEnd clients_;
    std::array<proxy::RingEnd, replicas_count> replicas_{};
};

TEST(Flood, MemoryIsFlatAndKnownClientsAreServed) {
    const char* wanted = std::getenv("QUORATE_FLOOD_FLOWS");
    const std::uint32_t flows =
        wanted == nullptr ? 10'000'000 : static_cast<std::uint32_t>(std::atol(wanted));
    Flood flood;
    std::uint32_t number = 0;
    // Clients become known.
    for (unsigned round = 0; round < 4; ++round) {
        for (unsigned client = 0; client < known_clients; ++client) {
            flood.known_asks(client, number++);
            flood.turn(turn_us);
            flood.turn(turn_us);
        }
    }
    for (unsigned i = 0; i < 100; ++i) flood.turn(turn_us);
    ASSERT_EQ(flood.answered_, flood.asked_);

    std::uint64_t warm_kb = 0;
    std::uint32_t sent = 0;
    for (unsigned turn = 0; sent < flows; ++turn) {
        for (unsigned i = 0; i < burst; ++i) flood.stranger(sent++);
        if (turn % 8 == 0) flood.known_asks(turn / 8 % known_clients, number++);
        flood.turn(turn_us);
        if (warm_kb == 0 && sent > flows / 10) warm_kb = resident_kb();
    }
    const std::uint64_t flooded_kb = resident_kb();
    for (unsigned i = 0; i < 1000; ++i) flood.turn(turn_us);
    const double share = static_cast<double>(flood.answered_) / static_cast<double>(flood.asked_);
    proxy::GroupCounters& group = flood.appliance().group();
    std::printf(
        "%u strangers, %llu agreed, known clients %llu of %llu (%.2f %%), resident %llu kB "
        "after a tenth, %llu kB at the end\n",
        sent, static_cast<unsigned long long>(group.agreed.get()),
        static_cast<unsigned long long>(flood.answered_),
        static_cast<unsigned long long>(flood.asked_), share * 100,
        static_cast<unsigned long long>(warm_kb), static_cast<unsigned long long>(flooded_kb));
    EXPECT_GE(share, 0.99);
    EXPECT_LE(flooded_kb, warm_kb + 64) << "memory grows";
    EXPECT_TRUE(flood.balanced_);
    EXPECT_GT(flood.appliance().dropped(wire::DropReason::strangers_full), 0u) << "no flood at all";
    // Some strangers are served as well, and nobody is blamed.
    EXPECT_GT(group.agreed.get(), flood.asked_);
    EXPECT_TRUE(flood.appliance().events().empty());
    EXPECT_TRUE(flood.appliance().finish());
}

}  // namespace
