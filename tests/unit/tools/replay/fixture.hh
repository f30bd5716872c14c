// A configuration with two services, and captures of given frames.
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "config/config.hh"
#include "tests/unit/recovery/temporary_directory.hh"
#include "tests/unit/wire/packets.hh"

namespace replay_test {

inline const char* const text = R"(
[client]
ports = ["veth:qc0"]
[[group]]
name = "dns"
f = 0
[[group.replica]]
name = "a"
place_a = "tap:t"
[[service]]
name = "dns"
group = "dns"
addresses = ["10.53.0.53", "fd53::53"]
port = 53
matcher = "dns"
[[service]]
name = "echo"
group = "dns"
addresses = ["10.53.0.7"]
port = 7
matcher = "fifo"
)";

inline config::Config configuration(const std::string& more = "") {
    auto parsed = config::parse(text + more, "test.toml");
    EXPECT_TRUE(parsed.has_value()) << parsed.error().text();
    return *parsed;
}

// Microseconds after the epoch, one frame after the other.
inline std::string pcap_of(const std::vector<packets::Octets>& frames, std::uint32_t gap_us = 1) {
    std::string out;
    const auto put = [&](std::uint32_t value) {
        out.append(reinterpret_cast<const char*>(&value), sizeof value);
    };
    for (const std::uint32_t value : {0xa1b2c3d4u, 0x00040002u, 0u, 0u, 65535u, 1u}) put(value);
    std::uint32_t time_us = 0;
    for (const packets::Octets& frame : frames) {
        put(1'000 + time_us / 1'000'000);
        put(time_us % 1'000'000);
        put(static_cast<std::uint32_t>(frame.size()));
        put(static_cast<std::uint32_t>(frame.size()));
        out.append(reinterpret_cast<const char*>(frame.data()), frame.size());
        time_us += gap_us;
    }
    return out;
}

class Captured : public testing::Test {
  protected:
    std::filesystem::path write(const std::string& bytes, const std::string& name = "c.pcap") {
        std::ofstream(directory_ / name, std::ios::binary) << bytes;
        return directory_ / name;
    }

    test::TemporaryDirectory directory_;
    config::Config config_ = configuration();
};

}  // namespace replay_test
