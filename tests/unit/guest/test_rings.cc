// The hostile frontend's rings: the layout of Xen's public/io/netif.h and ring.h, byte for byte,
// and what it answers while it is honest.
#include <array>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "guest/hostile/rings.hh"

namespace hostile {
namespace {

struct Page {
    alignas(page_bytes) std::array<std::byte, page_bytes> bytes{};
    unsigned at(std::size_t i) const { return std::to_integer<unsigned>(bytes[i]); }
};

TEST(HostileRing, WordsLieWhereTheProtocolSays) {
    Page page;
    const Ring ring(page.bytes.data(), tx_slot_bytes);
    ring.store(Word::request_producer, 1);
    ring.store(Word::request_event, 2);
    ring.store(Word::response_producer, 3);
    ring.store(Word::response_event, 4);
    for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(page.at(4 * i), i + 1);
}

TEST(HostileRing, StartsAsRingsDo) {
    Page page;
    page.bytes.fill(std::byte{0xFF});
    Ring ring(page.bytes.data(), rx_slot_bytes);
    ring.reset();
    EXPECT_EQ(ring.load(Word::request_producer), 0u);
    EXPECT_EQ(ring.load(Word::request_event), 1u);  // tell me of the first
    EXPECT_EQ(ring.load(Word::response_producer), 0u);
    EXPECT_EQ(ring.load(Word::response_event), 1u);
}

TEST(HostileRing, SlotsFollowTheHeadAndComeRound) {
    Page page;
    const Ring ring(page.bytes.data(), tx_slot_bytes);
    ring.put(ring_slots + 2, TxRequest{0x04030201, 0x0605, 0x0807, 0x0A09, 0x0C0B});
    for (unsigned i = 0; i < tx_slot_bytes; ++i) EXPECT_EQ(page.at(64 + 2 * 12 + i), i + 1);
    EXPECT_EQ(ring.get<TxResponse>(2).id, 0x0201);
}

TEST(HostileRing, TellsOnlyWhoAsked) {
    Page page;
    Ring ring(page.bytes.data(), rx_slot_bytes);
    ring.reset();
    EXPECT_TRUE(ring.publish(1));
    EXPECT_FALSE(ring.publish(2));  // the other side has not asked anew
    ring.store(Word::request_event, 5);
    EXPECT_FALSE(ring.publish(4));
    EXPECT_TRUE(ring.publish(9));
}

std::vector<std::byte> bytes_of(std::initializer_list<unsigned> values) {
    std::vector<std::byte> bytes;
    for (const unsigned value : values) bytes.push_back(static_cast<std::byte>(value));
    return bytes;
}

std::vector<std::byte> udp_v4() {
    return bytes_of({2,    2, 2,  2,  2, 2, 1,    1,    1,  1,  1, 1, 8,  0,  // Ethernet
                     0x45, 0, 0,  28, 0, 0, 0,    0,    64, 17, 0, 0, 10, 0,
                     0,    1, 10, 0,  0, 2, 0x11, 0x12, 0,  7,  0, 8, 0,  0});
}

TEST(HostileTurnRound, ExchangesWhoAndWhom) {
    auto frame = udp_v4();
    ASSERT_TRUE(turn_round(frame));
    auto wanted = udp_v4();
    for (std::size_t i = 0; i < 6; ++i) {
        wanted[i] = std::byte{1};
        wanted[6 + i] = std::byte{2};
    }
    wanted[14 + 15] = std::byte{2};
    wanted[14 + 19] = std::byte{1};
    const auto ports = bytes_of({0, 7, 0x11, 0x12});
    std::copy(ports.begin(), ports.end(), wanted.begin() + 34);
    EXPECT_EQ(frame, wanted);
    ASSERT_TRUE(turn_round(frame));
    EXPECT_EQ(frame, udp_v4());
}

TEST(HostileTurnRound, ExchangesSixteenBytesInVersionSix) {
    std::vector<std::byte> frame(14 + 48);
    frame[12] = std::byte{0x86};
    frame[13] = std::byte{0xDD};
    frame[14 + 6] = std::byte{17};
    frame[14 + 8] = std::byte{0xAA};   // the source's first byte
    frame[14 + 24] = std::byte{0xBB};  // the destination's
    ASSERT_TRUE(turn_round(frame));
    EXPECT_EQ(frame[14 + 8], std::byte{0xBB});
    EXPECT_EQ(frame[14 + 24], std::byte{0xAA});
}

TEST(HostileTurnRound, LeavesOthersAlone) {
    for (std::size_t length = 0; length < 42; ++length) {
        auto frame = udp_v4();
        frame.resize(length);
        EXPECT_FALSE(turn_round(frame)) << length;
    }
    for (const std::size_t at : {12u, 13u, 14u, 23u}) {  // kind, options, protocol
        auto frame = udp_v4();
        frame[at] ^= std::byte{1};
        const auto before = frame;
        EXPECT_FALSE(turn_round(frame)) << at;
        EXPECT_EQ(frame, before);
    }
}

}  // namespace
}  // namespace hostile
