// What of a capture is a request, what else is in it, and how requests are written anew.
#include <array>

#include <gtest/gtest.h>

#include "tests/unit/tools/replay/fixture.hh"
#include "tools/replay/selection.hh"
#include "tools/replay/survey.hh"
#include "wire/checksum.hh"

namespace {

using namespace packets;
using replay::Selector;
using replay::Skip;
using replay::Tally;
using replay::Wanted;

const Octets payload = text("twelve bytes");

class ReplaySelection : public replay_test::Captured {
  protected:
    // "dns", "echo", or why not.
    std::string of(const Octets& frame, const Wanted& wanted = {}, bool cut = false) {
        Tally tally;
        const Selector selector(config_, wanted);
        const auto request = selector.select({1, 0, frame, cut}, tally);
        if (request) {
            EXPECT_EQ(tally.taken[request->service], 1u);
            return config_.services[request->service].name;
        }
        for (std::size_t i = 0; i < replay::skips_count; ++i) {
            if (tally.skipped[i] == 1) return std::string(replay::skip_texts[i].name);
        }
        return "not counted";
    }
    Octets written(const Octets& frame, const Wanted& wanted = {}) {
        Tally tally;
        const Selector selector(config_, wanted);
        const auto request = selector.select({1, 0, frame, false}, tally);
        EXPECT_TRUE(request.has_value());
        Octets out(Selector::frame_len_max);
        out.resize(request ? selector.write(out, *request, frame, 77) : 0);
        return out;
    }
    static Wanted by_port() {
        Wanted wanted;
        wanted.by_port = true;
        return wanted;
    }
};

TEST_F(ReplaySelection, TakesWhatGoesToAServicesAddressAndPort) {
    EXPECT_EQ(of(udp_frame("10.53.0.2", "10.53.0.53", payload)), "dns");
    EXPECT_EQ(of(udp_frame("fd53::2", "fd53::53", payload)), "dns");
    EXPECT_EQ(of(udp_frame("10.53.0.2", "10.53.0.7", payload, 4711, 7)), "echo");
    EXPECT_EQ(of(udp_frame("10.53.0.2", "10.53.0.7", payload, 4711, 53)), "other_address");
    EXPECT_EQ(of(udp_frame("10.53.0.2", "10.53.0.53", payload, 4711, 54)), "other_port");
    EXPECT_EQ(of(udp_frame("10.53.0.53", "10.53.0.2", payload, 53, 4711)), "other_port");
}

TEST_F(ReplaySelection, SaysWhyNot) {
    const auto from = ip("10.53.0.2");
    const auto to = ip("10.53.0.53");
    const Octets good = udp_frame("10.53.0.2", "10.53.0.53", payload);
    EXPECT_EQ(of(good, {}, true), "cut");
    EXPECT_EQ(of({}), "damaged");
    EXPECT_EQ(of(Octets(good.begin(), good.begin() + 30)), "damaged");
    EXPECT_EQ(of(ethernet(0x0806, filled(28))), "not_udp");
    EXPECT_EQ(of(ethernet(0x88cc, filled(46))), "not_udp");
    EXPECT_EQ(of(ethernet(0x0800, ipv4(from, to, 6, filled(20)))), "damaged");
    EXPECT_EQ(of(ethernet(0x0800, ipv4(from, to, 50, filled(20)))), "not_udp");
    EXPECT_EQ(of(ethernet(0x0800, ipv4(from, to, 17, filled(64), 0x2000))), "fragment");
    EXPECT_EQ(of(ethernet(0x0800, ipv4(from, to, 17, filled(64), 8))), "fragment");
    EXPECT_EQ(of(udp_frame("127.0.0.1", "10.53.0.53", payload)), "no_client");
    EXPECT_EQ(of(udp_frame("10.53.0.7", "10.53.0.53", payload)), "no_client");
    EXPECT_EQ(of(udp_frame("10.53.0.2", "10.53.0.53", filled(1'473))), "too_long");
    EXPECT_EQ(of(udp_frame("10.53.0.2", "10.53.0.53", filled(1'472))), "dns");
    Octets wrong = good;
    wrong.back() ^= std::byte{1};
    EXPECT_EQ(of(wrong), "wrong_checksum");
}

TEST_F(ReplaySelection, TakesChecksumsLeftToHardware) {
    const auto from = ip("10.53.0.2");
    const auto to = ip("10.53.0.53");
    Octets blank = udp_frame("10.53.0.2", "10.53.0.53", payload);
    const std::uint64_t pseudo = wire::sum_pseudo_header(from, to, 17, 8 + 12);
    put16(blank, 14 + 20 + 6, static_cast<std::uint16_t>(~wire::fold_checksum(pseudo)));
    EXPECT_EQ(of(blank), "dns");
    EXPECT_EQ(written(blank), written(udp_frame("10.53.0.2", "10.53.0.53", payload)));
    put16(blank, 14 + 20 + 6, 0);
    EXPECT_EQ(of(blank), "dns") << "no checksum at all";
}

TEST_F(ReplaySelection, ByPortTheAddressIsTheServices) {
    const Octets elsewhere = udp_frame("198.51.100.2", "192.0.2.53", payload, 999);
    EXPECT_EQ(of(elsewhere), "other_address");
    EXPECT_EQ(of(elsewhere, by_port()), "dns");
    wire::Frame frame;
    const Octets out = written(elsewhere, by_port());
    ASSERT_EQ(wire::parse_frame(out, frame), wire::DropReason::none);
    EXPECT_EQ(frame.ip_source.text(), "198.51.100.2");
    EXPECT_EQ(frame.ip_destination.text(), "10.53.0.53");
    EXPECT_EQ(frame.source_port, 999);
    EXPECT_TRUE(wire::l4_checksum_right(out, frame));
    // The same version, or none.
    EXPECT_EQ(of(udp_frame("2001:db8::2", "2001:db8::1", payload), by_port()), "dns");
    EXPECT_EQ(of(udp_frame("2001:db8::2", "2001:db8::1", payload, 1, 7), by_port()),
              "other_address");
}

TEST_F(ReplaySelection, AServiceAndItsPortCanBeNamed) {
    Wanted echo;
    echo.service = 1;
    EXPECT_EQ(of(udp_frame("10.53.0.2", "10.53.0.53", payload), echo), "other_port");
    EXPECT_EQ(of(udp_frame("10.53.0.2", "10.53.0.7", payload, 1, 7), echo), "echo");
    echo.port = 5353;
    EXPECT_EQ(of(udp_frame("10.53.0.2", "224.0.0.251", payload, 5353, 5353), echo), "echo");
    EXPECT_EQ(of(udp_frame("10.53.0.2", "10.53.0.7", payload, 1, 7), echo), "other_port");
    wire::Frame frame;
    const Octets out = written(udp_frame("10.53.0.2", "192.0.2.9", payload, 1, 5353), echo);
    ASSERT_EQ(wire::parse_frame(out, frame), wire::DropReason::none);
    EXPECT_EQ(frame.destination_port, 7) << "the service's own";
}

TEST_F(ReplaySelection, APortOfTwoServicesIsNobodys) {
    config_ = replay_test::configuration(
        "[[service]]\nname = \"other\"\ngroup = \"dns\"\naddresses = [\"10.53.0.54\"]\n"
        "port = 53\nmatcher = \"dns\"\n");
    const Octets elsewhere = udp_frame("10.53.0.2", "192.0.2.53", payload);
    EXPECT_EQ(of(elsewhere, by_port()), "other_address");
    Wanted other = by_port();
    other.service = 2;
    EXPECT_EQ(of(elsewhere, other), "other");
    const auto found = replay::survey(write(replay_test::pcap_of({elsewhere})), config_, {});
    ASSERT_FALSE(found.has_value());
    EXPECT_NE(found.error().find("--service"), std::string::npos) << found.error();
}

TEST_F(ReplaySelection, KeepsTheTagAndTheSendersAddress) {
    const auto from = ip("10.53.0.2");
    const auto to = ip("10.53.0.53");
    const Octets tagged = vlan(42, 0x0800, ipv4(from, to, 17, udp(from, 1, to, 53, payload)));
    wire::Frame frame;
    ASSERT_EQ(wire::parse_frame(written(tagged), frame), wire::DropReason::none);
    EXPECT_TRUE(frame.tagged);
    EXPECT_EQ(frame.vlan, 42);
    EXPECT_EQ(frame.source, mac_a);
}

TEST_F(ReplaySelection, WritesThePayloadAndNothingBehindIt) {
    Octets padded = udp_frame("10.53.0.2", "10.53.0.53", payload);
    padded.resize(padded.size() + 30, std::byte{0xee});
    EXPECT_EQ(written(padded).size(), 14u + 20 + 8 + payload.size());
}

TEST_F(ReplaySelection, ASurveyTakesByPortOnlyWhereNoAddressFits) {
    const Octets here = udp_frame("10.53.0.2", "10.53.0.53", payload);
    const Octets elsewhere = udp_frame("10.53.0.2", "192.0.2.53", payload);
    const auto mixed =
        replay::survey(write(replay_test::pcap_of({elsewhere, here, elsewhere}, 500)), config_, {});
    ASSERT_TRUE(mixed.has_value()) << mixed.error();
    EXPECT_FALSE(mixed->wanted.by_port);
    EXPECT_EQ(mixed->tally.taken[0], 1u);
    EXPECT_EQ(mixed->tally.of(Skip::other_address), 2u);
    const auto foreign = replay::survey(
        write(replay_test::pcap_of({elsewhere, elsewhere, elsewhere}, 500)), config_, {});
    ASSERT_TRUE(foreign.has_value()) << foreign.error();
    EXPECT_TRUE(foreign->wanted.by_port);
    EXPECT_EQ(foreign->tally.taken_total(), 3u);
    EXPECT_EQ(foreign->span_ns, 1'000'000u);
}

TEST_F(ReplaySelection, ACaptureWithoutRequestsIsOneClearError) {
    const Octets other = udp_frame("10.53.0.2", "10.53.0.53", payload, 1, 123);
    const auto found = replay::survey(write(replay_test::pcap_of({other, other})), config_, {});
    ASSERT_FALSE(found.has_value());
    EXPECT_NE(found.error().find("2 not for a service"), std::string::npos) << found.error();
    EXPECT_NE(found.error().find("dns (UDP port 53)"), std::string::npos) << found.error();
    const auto empty = replay::survey(write(replay_test::pcap_of({})), config_, {});
    ASSERT_FALSE(empty.has_value());
    EXPECT_NE(empty.error().find("no packets"), std::string::npos) << empty.error();
}

}  // namespace
