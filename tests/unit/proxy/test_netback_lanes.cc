// A worker's lanes against frontends in memory: bytes that arrive, copies that are refused, and
// packets that all come back to their pool.
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <rte_mbuf.h>

#include "proxy/packet.hh"
#include "proxy/ports/netback_lanes.hh"
#include "proxy/ports/pools.hh"
#include "tests/unit/proxy/port_fixture.hh"
#include "tests/unit/xen/netback/frontend.hh"
#include "wire/write.hh"

namespace proxy {
namespace {

using xen::netback::Queue;
using xen::netback::Violation;

struct CountedChannels final : xen::netback::EventChannels {
    void notify_tx() override { ++tx; }
    void notify_rx() override { ++rx; }
    bool take_events() override { return std::exchange(pending, false); }
    void listen() override { ++listened; }
    int descriptor() const override { return -1; }
    unsigned tx = 0;
    unsigned rx = 0;
    unsigned listened = 0;
    bool pending = false;
};

constexpr unsigned to_be_cut_bytes = 6'000;

// Slots live as long as the lanes.
using Slots = std::array<xen::netback::QueueSlot, 4>;

// A guest with one queue, connected to a lane.
struct Guest {
    Guest(NetbackLanes& its_lanes, Slots& slots, unsigned number, tests::Grants& pages)
        : lanes(its_lanes), grants(pages), slot(slots[number]) {
        queue.tx.begin(tx.page(), &tx_shadow);
        queue.rx.begin(rx.page(), &rx_shadow, {.scatter_gather = true, .segmentation_v4 = true});
        queue.channels = &channels;
        queue.domain = {static_cast<std::uint16_t>(number + 1)};
        slot.offer(&queue);
        lanes.use(number, &slot);
        lanes.exchange();  // takes it up
    }
    ~Guest() {
        slot.offer(nullptr);
        lanes.exchange();
        EXPECT_FALSE(slot.uses(&queue));
    }
    Guest(const Guest&) = delete;
    Guest& operator=(const Guest&) = delete;

    // A frame of so many bytes, each `fill`, in one page.
    grant_ref_t send(unsigned length, unsigned fill, unsigned offset = 0) {
        const grant_ref_t grant = grants.grant();
        std::memset(grants.bytes(grant) + offset, static_cast<int>(fill), length);
        tx.put(tests::tx_request(grant, offset, length, 0, fill));
        tx.publish();
        return grant;
    }
    // One of two pages that is to be cut: `head`, then bytes of `fill` to the end.
    void send_to_be_cut(wire::Bytes head, unsigned fill, const netif_extra_info& how) {
        const std::array<grant_ref_t, 2> pages{grants.grant(), grants.grant()};
        for (const grant_ref_t page : pages) {
            std::memset(grants.bytes(page), static_cast<int>(fill), 4096);
        }
        std::memcpy(grants.bytes(pages[0]), head.data(), head.size());
        tx.put(tests::tx_request(pages[0], 0, to_be_cut_bytes,
                                 NETTXF_more_data | NETTXF_extra_info | NETTXF_csum_blank));
        tx.put_extra(how);
        tx.put(tests::tx_request(pages[1], 0, to_be_cut_bytes - 4096));
        tx.publish();
    }
    grant_ref_t post() {
        const grant_ref_t grant = grants.grant();
        rx.put(tests::rx_request(grant, rx.prepared()));
        rx.publish();
        return grant;
    }

    NetbackLanes& lanes;
    tests::Grants& grants;
    xen::netback::QueueSlot& slot;
    tests::FrontRing<xen::netback::TxRing> tx;
    tests::FrontRing<xen::netback::RxRing> rx;
    xen::netback::RingShadow<xen::netback::TxRing> tx_shadow{};
    xen::netback::RingShadow<xen::netback::RxRing> rx_shadow{};
    CountedChannels channels;
    Queue queue;
};

class Lanes : public testing::Test {
  protected:
    Lanes() {
        PoolSizes sizes;
        sizes.packets = 511;
        sizes.jumbo = 15;
        sizes.cache_per_worker = 0;
        sizes.within_pages = true;
        pools_ = *make_pools(sizes);
        lanes_ = *NetbackLanes::make(grants_.copier(), pools_.packets);
    }
    ~Lanes() override {
        lanes_.reset();
        EXPECT_EQ(pools_.in_use(), 0u) << "packets are missing";
        free_pools(pools_);
    }

    std::vector<rte_mbuf*> receive(unsigned lane) {
        std::vector<rte_mbuf*> packets(64);
        packets.resize(lanes_->receive(lane, packets.data(), 64));
        return packets;
    }
    rte_mbuf* packet(unsigned length, int fill) {
        rte_mbuf* made = rte_pktmbuf_alloc(pools_.packets);
        std::memset(rte_pktmbuf_append(made, static_cast<std::uint16_t>(length)), fill, length);
        return made;
    }

    Pools pools_;
    tests::Grants grants_;
    Slots slots_;
    std::unique_ptr<NetbackLanes> lanes_;
};

TEST_F(Lanes, FramesOfAllGuestsArriveInOneCopy) {
    Guest a(*lanes_, slots_, 0, grants_);
    Guest b(*lanes_, slots_, 1, grants_);
    for (unsigned i = 0; i < 5; ++i) a.send(60 + i, 10 + i);
    b.send(1514, 99, 2000);
    const std::uint64_t copies = lanes_->copies();
    lanes_->exchange();
    EXPECT_EQ(lanes_->copies(), copies + 1);
    EXPECT_EQ(lanes_->segments(), 6u);
    const auto from_a = receive(0);
    ASSERT_EQ(from_a.size(), 5u);
    for (unsigned i = 0; i < 5; ++i) {
        EXPECT_EQ(from_a[i]->pkt_len, 60 + i);
        EXPECT_EQ(bytes_of(from_a[i])[59 + i], std::byte(10 + i));
        rte_pktmbuf_free(from_a[i]);
    }
    const auto from_b = receive(1);
    ASSERT_EQ(from_b.size(), 1u);
    EXPECT_EQ(bytes_of(from_b[0])[1513], std::byte(99));
    rte_pktmbuf_free(from_b[0]);
    EXPECT_EQ(a.tx.responses().size(), 5u);
    EXPECT_EQ(a.channels.tx, 1u) << "one notification for a burst";
}

TEST_F(Lanes, PacketsLieWithinAPage) {
    Guest guest(*lanes_, slots_, 0, grants_);
    for (unsigned i = 0; i < 32; ++i) guest.send(1514, i);
    lanes_->exchange();
    for (rte_mbuf* one : receive(0)) {
        const auto begin = reinterpret_cast<std::uintptr_t>(bytes_of(one).data());
        EXPECT_EQ(begin / 4096, (begin + one->data_len - 1) / 4096);
        rte_pktmbuf_free(one);
    }
}

TEST_F(Lanes, AFrameOfManyPiecesBecomesAChain) {
    Guest guest(*lanes_, slots_, 0, grants_);
    for (unsigned i = 0; i < 3; ++i) {
        const grant_ref_t grant = grants_.grant();
        std::memset(grants_.bytes(grant), static_cast<int>(i + 1), 4096);
        guest.tx.put(
            tests::tx_request(grant, 0, i == 0 ? 3 * 4096 : 4096, i < 2 ? NETTXF_more_data : 0, i));
    }
    guest.tx.publish();
    lanes_->exchange();
    const auto got = receive(0);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0]->pkt_len, 3u * 4096);
    std::vector<std::byte> whole(3 * 4096);
    ASSERT_NE(rte_pktmbuf_read(got[0], 0, 3 * 4096, whole.data()), nullptr);
    EXPECT_EQ(whole[0], std::byte(1));
    EXPECT_EQ(whole[4096], std::byte(2));
    EXPECT_EQ(whole[3 * 4096 - 1], std::byte(3));
    rte_pktmbuf_free(got[0]);
}

// The headers of a TCP segment over IPv4, as far as they matter here.
std::array<std::byte, 54> tcp_head(std::uint8_t protocol = wire::protocol_tcp,
                                   std::uint8_t data_offset = 5) {
    std::array<std::byte, 54> head{};
    wire::write_link_header(head, {}, wire::ether_type_ipv4);
    wire::write_ipv4_header(wire::MutableBytes(head).subspan(14), wire::IpAddress::v4(0x0a000001),
                            wire::IpAddress::v4(0x0a000002), protocol, to_be_cut_bytes - 34, 0);
    head[46] = std::byte(data_offset << 4);
    return head;
}

TEST_F(Lanes, ASegmentToBeCutGoesFromGuestToGuestAsItIs) {
    Guest from(*lanes_, slots_, 0, grants_);
    Guest to(*lanes_, slots_, 1, grants_);
    const auto head = tcp_head();
    from.send_to_be_cut(head, 0x44, tests::segmentation_extra(1448));
    lanes_->exchange();
    auto got = receive(0);
    ASSERT_EQ(got.size(), 1u);
    rte_mbuf* packet = got[0];
    // As DPDK's devices and librte_gso want it.
    EXPECT_EQ(packet->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IPV4),
              RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IPV4);
    EXPECT_EQ(packet->tso_segsz, 1448);
    EXPECT_EQ(packet->l2_len + packet->l3_len + packet->l4_len, 54);
    EXPECT_EQ(packet->pkt_len, to_be_cut_bytes);
    EXPECT_EQ(lanes_->counters(0).to_be_cut.get(), 1u);
    EXPECT_EQ(lanes_->counters(0).checksums_filled.get(), 0u) << "who cuts it sums it";

    const std::array<grant_ref_t, 3> pages{to.post(), to.post(), to.post()};
    ASSERT_EQ(lanes_->send(1, &packet, 1), 1);
    lanes_->exchange();
    const auto first = to.rx.entry(0).rsp;
    EXPECT_EQ(first.status, 4096);
    EXPECT_NE(first.flags & NETRXF_extra_info, 0);
    netif_extra_info how;
    std::memcpy(&how, &to.rx.entry(1), sizeof how);
    EXPECT_EQ(how.u.gso.size, 1448);
    EXPECT_EQ(to.rx.entry(2).rsp.status, to_be_cut_bytes - 4096);
    EXPECT_EQ(std::memcmp(grants_.bytes(pages[0]), head.data(), head.size()), 0);
    EXPECT_EQ(grants_.bytes(pages[2])[to_be_cut_bytes - 4096 - 1], std::byte{0x44});
}

// What a guest says of its frame counts only where the frame is that.
TEST_F(Lanes, AWordOnSegmentationThatTheFrameBeliesIsNothing) {
    Guest guest(*lanes_, slots_, 0, grants_);
    netif_extra_info as_ipv6 = tests::segmentation_extra(1428);
    as_ipv6.u.gso.type = XEN_NETIF_GSO_TYPE_TCPV6;
    guest.send_to_be_cut(tcp_head(wire::protocol_udp), 0, tests::segmentation_extra(1448));
    guest.send_to_be_cut(tcp_head(wire::protocol_tcp, 4), 0, tests::segmentation_extra(1448));
    guest.send_to_be_cut(tcp_head(), 0, as_ipv6);
    auto options = tcp_head();
    options[14] = std::byte{0x46};
    guest.send_to_be_cut(options, 0, tests::segmentation_extra(1448));
    lanes_->exchange();
    const auto got = receive(0);
    EXPECT_EQ(got.size(), 4u);
    for (rte_mbuf* one : got) {
        EXPECT_EQ(one->ol_flags & RTE_MBUF_F_TX_TCP_SEG, 0u);
        EXPECT_EQ(one->tso_segsz, 0);
        rte_pktmbuf_free(one);
    }
    EXPECT_EQ(lanes_->counters(0).to_be_cut.get(), 0u);
}

TEST_F(Lanes, ARefusedGrantCostsItsFrameOnly) {
    Guest liar(*lanes_, slots_, 0, grants_);
    Guest honest(*lanes_, slots_, 1, grants_);
    grants_.revoke(liar.send(60, 1));
    liar.send(60, 2);
    honest.send(60, 3);
    lanes_->exchange();
    const auto from_liar = receive(0);
    const auto from_honest = receive(1);
    ASSERT_EQ(from_liar.size(), 1u);
    ASSERT_EQ(from_honest.size(), 1u);
    EXPECT_EQ(lanes_->counters(0).refused_grants.get(), 1u);
    EXPECT_EQ(lanes_->counters(1).refused_grants.get(), 0u);
    const auto responses = liar.tx.responses();
    ASSERT_EQ(responses.size(), 2u);
    EXPECT_EQ(responses[0].status, NETIF_RSP_ERROR);
    EXPECT_EQ(responses[1].status, NETIF_RSP_OKAY);
    rte_pktmbuf_free(from_liar[0]);
    rte_pktmbuf_free(from_honest[0]);
}

TEST_F(Lanes, AFailedCopyIsNobodysFault) {
    Guest guest(*lanes_, slots_, 0, grants_);
    guest.send(60, 1);
    grants_.fail_with = ENOMEM;
    lanes_->exchange();
    EXPECT_TRUE(receive(0).empty());
    EXPECT_EQ(lanes_->counters(0).refused_grants.get(), 0u);
    EXPECT_EQ(lanes_->counters(0).failed_copies.get(), 1u);
    grants_.fail_with = 0;
}

TEST_F(Lanes, ABrokenRingIsLeftAloneAndTold) {
    Guest liar(*lanes_, slots_, 0, grants_);
    Guest honest(*lanes_, slots_, 1, grants_);
    liar.tx.shared().req_prod = 5'000;
    honest.send(60, 3);
    lanes_->exchange();
    EXPECT_EQ(lanes_->counters(0).broken.get(),
              static_cast<std::uint64_t>(Violation::ring_overflow));
    EXPECT_EQ(lanes_->counters(1).broken.get(), 0u);
    const auto from_honest = receive(1);
    ASSERT_EQ(from_honest.size(), 1u);
    rte_pktmbuf_free(from_honest[0]);
}

TEST_F(Lanes, WithoutMemoryAFrameIsLostAndNoneIsMixedUp) {
    Guest a(*lanes_, slots_, 0, grants_);
    Guest b(*lanes_, slots_, 1, grants_);
    std::vector<rte_mbuf*> all(511);
    ASSERT_EQ(rte_pktmbuf_alloc_bulk(pools_.packets, all.data(), 510), 0);  // one is left
    for (unsigned i = 0; i < 3; ++i) {
        const grant_ref_t grant = grants_.grant();
        std::memset(grants_.bytes(grant), 0x11, 4096);
        a.tx.put(
            tests::tx_request(grant, 0, i == 0 ? 3 * 4096 : 4096, i < 2 ? NETTXF_more_data : 0, i));
    }
    a.tx.publish();
    b.send(60, 0x22);
    lanes_->exchange();
    EXPECT_TRUE(receive(0).empty());
    for (rte_mbuf* one : receive(1)) {
        EXPECT_EQ(bytes_of(one)[0], std::byte(0x22));
        rte_pktmbuf_free(one);
    }
    EXPECT_EQ(lanes_->counters(0).no_memory.get(), 1u);
    rte_pktmbuf_free_bulk(all.data(), 510);
}

TEST_F(Lanes, FramesToGuestsLeaveInOneCopy) {
    Guest a(*lanes_, slots_, 0, grants_);
    Guest b(*lanes_, slots_, 1, grants_);
    const grant_ref_t of_a = a.post();
    const grant_ref_t of_b = b.post();
    rte_mbuf* clone = packet(200, 0x33);
    rte_mbuf_refcnt_set(clone, 2);  // one frame for both
    EXPECT_EQ(lanes_->send(0, &clone, 1), 1);
    EXPECT_EQ(lanes_->send(1, &clone, 1), 1);
    const std::uint64_t copies = lanes_->copies();
    lanes_->exchange();
    EXPECT_EQ(lanes_->copies(), copies + 1);
    EXPECT_EQ(grants_.bytes(of_a)[199], std::byte(0x33));
    EXPECT_EQ(grants_.bytes(of_b)[199], std::byte(0x33));
    EXPECT_EQ(a.rx.responses().at(0).status, 200);
    EXPECT_EQ(b.rx.responses().at(0).status, 200);
    EXPECT_EQ(a.channels.rx, 1u);
}

TEST_F(Lanes, AGuestWithoutPagesTakesNothing) {
    Guest guest(*lanes_, slots_, 0, grants_);
    rte_mbuf* one = packet(60, 1);
    EXPECT_EQ(lanes_->send(0, &one, 1), 0);
    EXPECT_EQ(lanes_->counters(0).no_room.get(), 1u);
    rte_pktmbuf_free(one);
}

TEST_F(Lanes, AQueueThatIsWithdrawnIsLetGoOf) {
    Guest guest(*lanes_, slots_, 0, grants_);
    ASSERT_TRUE(guest.slot.uses(&guest.queue));
    guest.post();
    rte_mbuf* one = packet(60, 1);
    ASSERT_EQ(lanes_->send(0, &one, 1), 1);
    guest.slot.offer(nullptr);
    EXPECT_TRUE(guest.slot.uses(&guest.queue)) << "until the end of the next exchange";
    lanes_->exchange();
    EXPECT_FALSE(guest.slot.uses(&guest.queue));
    one = packet(60, 1);
    EXPECT_EQ(lanes_->send(0, &one, 1), 0);
    rte_pktmbuf_free(one);
}

TEST_F(Lanes, ARetiredLaneGivesBackWhatNobodyTook) {
    Guest guest(*lanes_, slots_, 0, grants_);
    guest.send(60, 1);
    lanes_->exchange();
    guest.slot.offer(nullptr);
    lanes_->retire(0);
    lanes_->exchange();
    EXPECT_TRUE(receive(0).empty());
}

TEST_F(Lanes, AFloodOfNotificationsIsNotListenedTo) {
    Guest guest(*lanes_, slots_, 0, grants_);
    for (unsigned i = 0; i < 1'000; ++i) {
        guest.channels.pending = true;
        lanes_->woke();
    }
    EXPECT_LT(guest.channels.listened, 100u);
    guest.send(60, 1);
    lanes_->exchange();
    EXPECT_GE(guest.channels.listened, 64u);
    for (rte_mbuf* one : receive(0)) rte_pktmbuf_free(one);
    const unsigned before = guest.channels.listened;
    guest.channels.pending = true;
    lanes_->woke();
    EXPECT_EQ(guest.channels.listened, before + 1);
}

}  // namespace
}  // namespace proxy
