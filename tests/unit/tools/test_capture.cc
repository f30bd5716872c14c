// Captures written by wire/pcapng and by libpcap, whole and broken, read back as frames.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <pcap/pcap.h>

#include "tests/unit/wire/packets.hh"
#include "tools/capture.hh"
#include "wire/frame.hh"
#include "wire/pcapng.hh"

namespace {

using namespace packets;
namespace fs = std::filesystem;
using tools::CaptureReader;

struct Read {
    std::vector<std::uint64_t> numbers;
    std::vector<std::uint64_t> times;
    std::vector<Octets> frames;
    std::vector<bool> cut;
    std::string complaint;
    std::uint64_t skipped = 0;
};

class Capture : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "capture-XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        directory_ = name;
        file_ = directory_ / "test.pcap";
    }
    void TearDown() override { fs::remove_all(directory_); }

    void write(const Octets& bytes) {
        std::ofstream out(file_, std::ios::binary);
        for (const std::byte octet : bytes) out.put(static_cast<char>(octet));
    }

    // By libpcap: each record one microsecond, or nanosecond, after the one before.
    void dump(int link_type, const std::vector<Octets>& records, int snap_length = 262144,
              unsigned precision = PCAP_TSTAMP_PRECISION_NANO) {
        pcap_t* dead = pcap_open_dead_with_tstamp_precision(link_type, snap_length, precision);
        pcap_dumper_t* out = pcap_dump_open(dead, file_.c_str());
        ASSERT_NE(out, nullptr) << pcap_geterr(dead);
        pcap_pkthdr header{};
        header.ts.tv_sec = 1700000000;
        header.ts.tv_usec = 5;
        for (const Octets& record : records) {
            header.len = static_cast<bpf_u_int32>(record.size());
            header.caplen = std::min(header.len, static_cast<bpf_u_int32>(snap_length));
            std::vector<u_char> raw;
            for (const std::byte octet : record) raw.push_back(std::to_integer<u_char>(octet));
            pcap_dump(static_cast<u_char*>(static_cast<void*>(out)), &header, raw.data());
            ++header.ts.tv_usec;
        }
        pcap_dump_close(out);
        pcap_close(dead);
    }

    Read read() {
        Read all;
        auto reader = CaptureReader::open(file_);
        EXPECT_TRUE(reader.has_value()) << reader.error();
        if (!reader) return all;
        while (const auto frame = reader->next()) {
            all.numbers.push_back(frame->number);
            all.times.push_back(frame->time_ns);
            all.frames.emplace_back(frame->bytes.begin(), frame->bytes.end());
            all.cut.push_back(frame->cut);
        }
        EXPECT_FALSE(reader->next().has_value());
        all.complaint = reader->complaint();
        all.skipped = reader->skipped();
        return all;
    }

    std::string why_not() {
        const auto reader = CaptureReader::open(file_);
        return reader ? "" : reader.error();
    }

    fs::path directory_;
    fs::path file_;
};

const Octets frame_a = udp_frame("192.0.2.7", "198.51.100.1", filled(30));
const Octets frame_b = udp_frame("2001:db8::7", "2001:db8::1", filled(500));

TEST_F(Capture, PcapngOfOurOwn) {
    wire::PcapngBuilder builder;
    builder.section("test");
    builder.interface("client", 0);
    builder.interface("replica-0", 0);
    builder.packet(0, 1700000000123456789, frame_a, static_cast<std::uint32_t>(frame_a.size()),
                   "a comment");
    builder.packet(1, 1700000000123456790, wire::Bytes(frame_b).first(60),
                   static_cast<std::uint32_t>(frame_b.size()), "");
    write(builder.bytes());
    const Read all = read();
    EXPECT_EQ(all.frames,
              (std::vector<Octets>{frame_a, Octets(frame_b.begin(), frame_b.begin() + 60)}));
    EXPECT_EQ(all.times, (std::vector<std::uint64_t>{1700000000123456789, 1700000000123456790}));
    EXPECT_EQ(all.numbers, (std::vector<std::uint64_t>{1, 2}));
    EXPECT_EQ(all.cut, (std::vector<bool>{false, true}));
    EXPECT_EQ(all.complaint, "");
    EXPECT_EQ(all.skipped, 0u);
}

TEST_F(Capture, PcapOfEitherPrecision) {
    dump(DLT_EN10MB, {frame_a, frame_b, frame_a});
    Read all = read();
    EXPECT_EQ(all.frames, (std::vector<Octets>{frame_a, frame_b, frame_a}));
    EXPECT_EQ(all.times.at(2), 1700000000000000007u);
    EXPECT_EQ(all.complaint, "");

    dump(DLT_EN10MB, {frame_a, frame_b}, 64, PCAP_TSTAMP_PRECISION_MICRO);
    all = read();
    EXPECT_EQ(all.times.at(1), 1700000000000006000u);
    EXPECT_EQ(all.frames.at(0), Octets(frame_a.begin(), frame_a.begin() + 64));
    EXPECT_EQ(all.cut, (std::vector<bool>{true, true}));
}

TEST_F(Capture, FramesLongerThanAnyAreSkipped) {
    dump(DLT_EN10MB, {frame_a, filled(65536), filled(65535), frame_b});
    const Read all = read();
    EXPECT_EQ(all.numbers, (std::vector<std::uint64_t>{1, 3, 4}));
    EXPECT_EQ(all.skipped, 1u);
    EXPECT_EQ(all.complaint, "");
}

// The packet of `frame` with the made-up or told addresses in front.
Octets expected(const Octets& frame, std::string_view source) {
    return join(
        {raw(mac("02:00:00:00:00:02")), raw(mac(source)), Octets(frame.begin() + 12, frame.end())});
}
Octets packet_of(const Octets& frame) { return Octets(frame.begin() + 14, frame.end()); }

TEST_F(Capture, LinuxCooked) {
    const auto cooked = [](unsigned address_len, const Octets& address, unsigned protocol,
                           const Octets& packet) {
        return join({be16(0), be16(1), be16(address_len), address, be16(protocol), packet});
    };
    const Octets address = join({raw(mac("02:aa:00:00:00:07")), be16(0)});
    const Octets multicast = join({raw(mac("03:aa:00:00:00:07")), be16(0)});
    dump(DLT_LINUX_SLL, {cooked(6, address, 0x0800, packet_of(frame_a)),
                         cooked(0, filled(8), 0x86dd, packet_of(frame_b)),
                         cooked(6, multicast, 0x86dd, packet_of(frame_b)),
                         cooked(6, address, 0x0004, filled(40)),  // 802.2
                         filled(15)});
    const Read all = read();
    EXPECT_EQ(all.frames, (std::vector<Octets>{expected(frame_a, "02:aa:00:00:00:07"),
                                               expected(frame_b, "02:00:00:00:00:01"),
                                               expected(frame_b, "02:00:00:00:00:01")}));
    EXPECT_EQ(all.skipped, 2u);
    wire::Frame parsed;
    EXPECT_EQ(wire::parse_frame(all.frames.at(0), parsed), wire::DropReason::none);
}

TEST_F(Capture, LinuxCookedVersionTwo) {
    const auto cooked = [](unsigned address_len, unsigned protocol, const Octets& packet) {
        return join({be16(protocol), be16(0), be16(0), be16(3), be16(1), octets({4, address_len}),
                     raw(mac("02:aa:00:00:00:07")), be16(0), packet});
    };
    dump(DLT_LINUX_SLL2, {cooked(6, 0x0800, packet_of(frame_a)),
                          cooked(0, 0x86dd, packet_of(frame_b)), filled(19)});
    const Read all = read();
    EXPECT_EQ(all.frames, (std::vector<Octets>{expected(frame_a, "02:aa:00:00:00:07"),
                                               expected(frame_b, "02:00:00:00:00:01")}));
    EXPECT_EQ(all.skipped, 1u);
}

TEST_F(Capture, RawIp) {
    dump(DLT_RAW, {packet_of(frame_a), packet_of(frame_b), octets({0x50, 1, 2}), Octets{}});
    const Read all = read();
    EXPECT_EQ(all.frames, (std::vector<Octets>{expected(frame_a, "02:00:00:00:00:01"),
                                               expected(frame_b, "02:00:00:00:00:01")}));
    EXPECT_EQ(all.skipped, 2u);
}

TEST_F(Capture, ReadsWhatIsThereOfATruncatedFile) {
    dump(DLT_EN10MB, {frame_a, frame_b, frame_a});
    const auto whole = fs::file_size(file_);
    // Inside the last record's bytes, and inside its header.
    for (const std::size_t missing : {std::size_t{1}, frame_a.size() + 3}) {
        fs::resize_file(file_, whole - missing);
        const Read all = read();
        EXPECT_EQ(all.frames, (std::vector<Octets>{frame_a, frame_b}));
        EXPECT_TRUE(all.complaint.starts_with(file_.string() + ": reading stops at record 3: "))
            << all.complaint;
        EXPECT_NE(all.complaint.find("truncated"), std::string::npos) << all.complaint;
    }
}

TEST_F(Capture, StopsAtARecordThatCannotBe) {
    dump(DLT_EN10MB, {frame_a, frame_b});
    std::fstream file(file_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(24 + 16 + frame_a.size() + 8));
    file.write("\xff\xff\xff\x7f", 4);  // the second record's length
    file.close();
    const Read all = read();
    EXPECT_EQ(all.frames, (std::vector<Octets>{frame_a}));
    EXPECT_TRUE(all.complaint.starts_with(file_.string() + ": reading stops at record 2: "))
        << all.complaint;
}

TEST_F(Capture, InterfacesOfDifferentKindsEndWithAComplaint) {
    wire::PcapngBuilder builder;
    builder.section("test");
    builder.interface("one", 0);
    builder.packet(0, 1, frame_a, static_cast<std::uint32_t>(frame_a.size()), "");
    Octets bytes = builder.bytes();
    wire::PcapngBuilder other;
    other.interface("two", 0);
    Octets description = other.bytes();
    description.at(8) = std::byte{101};  // raw IP
    append(bytes, description);
    write(bytes);
    const Read all = read();
    EXPECT_EQ(all.frames.size(), 1u);
    EXPECT_NE(all.complaint, "");
}

TEST_F(Capture, FilesThatAreNoCapture) {
    const std::string name = file_.string();
    EXPECT_EQ(why_not(), name + ": No such file or directory");
    for (const Octets& content : {Octets{}, text("#!/bin/sh\necho hello, this is no capture\n"),
                                  octets({0xa1, 0xb2, 0xc3})}) {
        write(content);
        const std::string why = why_not();
        EXPECT_TRUE(why.starts_with(name + ": ")) << why;
        EXPECT_TRUE(why.ends_with(" (a pcap or pcapng file is expected)")) << why;
    }
    fs::remove(file_);
    fs::create_directory(file_);
    EXPECT_EQ(why_not(), name + ": is a directory, not a capture");
    fs::remove(file_);
    dump(DLT_IEEE802_11, {filled(40)});
    EXPECT_EQ(why_not(),
              name + ": its frames are 802.11; Ethernet, Linux cooked and raw IP are read");
}

}  // namespace
