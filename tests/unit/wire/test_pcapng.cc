// pcapng, block by block, and as tshark reads it.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/unit/wire/packets.hh"
#include "wire/pcapng.hh"

namespace {

using namespace packets;

std::uint32_t number(const std::vector<std::byte>& bytes, std::size_t at) {
    std::uint32_t value;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
}

TEST(Pcapng, BlocksHaveTheirLengthAtBothEndsAndAreAligned) {
    for (std::size_t length = 0; length < 9; ++length) {
        wire::PcapngBuilder builder;
        const std::string name(length, 'n');
        builder.section(name);
        builder.interface(name, 0);
        builder.packet(0, 1, filled(length), 99, name);
        builder.packet(0, 2, filled(length), 99, "");
        const auto& bytes = builder.bytes();
        std::size_t at = 0;
        std::vector<std::uint32_t> types;
        while (at < bytes.size()) {
            const std::uint32_t block_length = number(bytes, at + 4);
            ASSERT_EQ(block_length % 4, 0u);
            ASSERT_LE(at + block_length, bytes.size());
            ASSERT_EQ(number(bytes, at + block_length - 4), block_length);
            types.push_back(number(bytes, at));
            at += block_length;
        }
        EXPECT_EQ(types, (std::vector<std::uint32_t>{0x0a0d0d0a, 1, 6, 6}));
        builder.clear();
        EXPECT_TRUE(builder.bytes().empty());
    }
}

class Tshark : public testing::Test {
  protected:
    void SetUp() override {
        if (std::system("command -v tshark >/dev/null 2>&1") != 0) {
            GTEST_SKIP() << "tshark is not installed";
        }
        std::string name = (std::filesystem::temp_directory_path() / "pcapng-XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        directory_ = name;
    }
    void TearDown() override {
        if (!directory_.empty()) std::filesystem::remove_all(directory_);
    }

    // One line per packet, fields separated by '|'. Fails on a complaint of tshark's.
    std::string fields(const wire::PcapngBuilder& builder, const std::string& wanted) {
        const auto file = directory_ / "written.pcapng";
        std::ofstream out(file, std::ios::binary);
        out.write(static_cast<const char*>(static_cast<const void*>(builder.bytes().data())),
                  static_cast<std::streamsize>(builder.bytes().size()));
        out.close();
        const std::string command = "HOME=" + directory_.string() + " timeout 60 tshark -n -r " +
                                    file.string() + " -T fields -E separator='|' " + wanted +
                                    " 2>" + (directory_ / "errors").string();
        std::string text;
        FILE* pipe = popen(command.c_str(), "r");
        std::array<char, 4096> buffer;
        while (const std::size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) {
            text.append(buffer.data(), n);
        }
        EXPECT_EQ(pclose(pipe), 0) << command;
        return text;
    }

  private:
    std::filesystem::path directory_;
};

TEST_F(Tshark, ReadsWhatWasWritten) {
    wire::PcapngBuilder builder;
    builder.section("quorate test");
    builder.interface("client", 0);
    builder.interface("replica-0", 64);
    const Octets frame = udp_frame("192.0.2.7", "198.51.100.1", filled(30), 4711, 9);
    builder.packet(0, 1700000000123456789, frame, static_cast<std::uint32_t>(frame.size()),
                   "request");
    builder.packet(1, 1700000000123456790, wire::Bytes(frame).first(64), 72,
                   "outvoted: byte 3 \xe2\x89\xa0");
    builder.packet(1, 1700000001000000000, frame, 72, "");
    EXPECT_EQ(fields(builder,
                     "-e frame.comment -e frame.interface_name -e frame.time_epoch "
                     "-e frame.len -e frame.cap_len -e udp.srcport"),
              "request|client|1700000000.123456789|72|72|4711\n"
              "outvoted: byte 3 \xe2\x89\xa0|replica-0|1700000000.123456790|72|64|4711\n"
              "|replica-0|1700000001.000000000|72|72|4711\n");
}

TEST_F(Tshark, ReadsCommentsUpToTheirBound) {
    const Octets frame = udp_frame("192.0.2.7", "198.51.100.1", filled(30), 4711, 9);
    for (const std::size_t length : {65534u, 65535u, 65536u, 100000u}) {
        wire::PcapngBuilder builder;
        builder.section("quorate test");
        builder.interface("client", 0);
        const std::string comment = std::string(length - 3, 'c') + "\xe2\x89\xa0";
        builder.packet(0, 1, frame, static_cast<std::uint32_t>(frame.size()), comment);
        builder.packet(0, 2, frame, static_cast<std::uint32_t>(frame.size()), "next");
        // 65,536 would cut the last character in two: it goes as a whole.
        const std::size_t kept = length <= 65535 ? length : length == 65536 ? 65533 : 65535;
        EXPECT_EQ(fields(builder, "-e frame.comment"), comment.substr(0, kept) + "\nnext\n");
    }
}

TEST_F(Tshark, ReadsSectionAfterSection) {
    wire::PcapngBuilder builder;
    const Octets frame = udp_frame("2001:db8::7", "2001:db8::1", filled(31), 4711, 9);
    for (const char* name : {"first", "second"}) {
        builder.section("quorate test");
        builder.interface(name, 0);
        builder.packet(0, 1, frame, static_cast<std::uint32_t>(frame.size()), name);
    }
    EXPECT_EQ(fields(builder, "-e frame.comment"), "first\nsecond\n");
}

}  // namespace
