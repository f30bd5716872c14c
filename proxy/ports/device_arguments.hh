// From a port as it is configured to the words a DPDK driver wants. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <tl/expected.hpp>

#include "config/config.hh"

namespace proxy {

struct DeviceArguments {
    std::string driver;     // "net_af_packet"; empty for a physical port
    std::string arguments;  // "iface=qc0,qpairs=1"
    std::uint16_t queues = 1;
};

// `queues`: as many as will be asked for. Options are the driver's own where they make sense here;
// an unknown one is an error that lists the known.
tl::expected<DeviceArguments, std::string> device_arguments(const config::PortSpec& spec,
                                                            std::uint16_t queues);

// Of an af_packet port: frames in each of a queue's two rings, and what both take.
std::uint32_t packet_ring_frames(const config::PortSpec& spec);
std::size_t packet_ring_bytes(std::uint32_t frames);
constexpr std::uint32_t packet_ring_frames_min = 64;

}  // namespace proxy
