#include "proxy/ports/device_arguments.hh"

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

namespace proxy {
namespace {

constexpr std::size_t packet_frame_bytes = 2048;
constexpr std::uint32_t packet_frames = 1024;

using Words = std::vector<std::pair<std::string, std::string>>;

// Default words, overridden or extended by those options of the port that are known.
tl::expected<std::string, std::string> merged(Words words, const config::PortSpec& spec,
                                              std::initializer_list<std::string_view> known) {
    for (const auto& option : spec.options) {
        const std::string& key = option.first;
        if (std::find(known.begin(), known.end(), key) == known.end()) {
            std::string list;
            for (const auto& one : known) list += (list.empty() ? "" : ", ") + std::string(one);
            return tl::unexpected("unknown port option " + key +
                                  (list.empty() ? ": this kind has none" : ": known are " + list));
        }
        const auto same = std::find_if(words.begin(), words.end(),
                                       [&](const auto& word) { return word.first == key; });
        if (same != words.end()) {
            same->second = option.second;
        } else {
            words.push_back(option);
        }
    }
    std::string text;
    for (const auto& [key, value] : words) {
        // DPDK splits at these, and takes brackets for a list.
        if (value.empty() || value.find_first_of(",=[]()\"' ") != std::string::npos) {
            return tl::unexpected("\"" + value + "\" cannot be given to DPDK as " + key +
                                  ": it must not be empty or contain , = [ ] ( ) quotes or spaces");
        }
        text += (text.empty() ? "" : ",") + key + "=" + value;
    }
    return text;
}

tl::expected<DeviceArguments, std::string> device(std::string driver, std::uint16_t queues,
                                                  Words words, const config::PortSpec& spec,
                                                  std::initializer_list<std::string_view> known) {
    auto text = merged(std::move(words), spec, known);
    if (!text) return tl::unexpected(text.error());
    return DeviceArguments{std::move(driver), std::move(*text), queues};
}

}  // namespace

tl::expected<DeviceArguments, std::string> device_arguments(const config::PortSpec& spec,
                                                            std::uint16_t queues) {
    const std::string count = std::to_string(queues);
    switch (spec.kind) {
        case config::PortSpec::Kind::af_packet:
            // 1,024 frames each way are 2 MiB a ring, and 1.2 ms of a full core's rate: what one
            // lost time slice costs on a shared machine.
            return device("net_af_packet", queues,
                          {{"iface", spec.what},
                           {"qpairs", count},
                           {"framesz", std::to_string(packet_frame_bytes)},
                           {"blocksz", "65536"},
                           {"framecnt", std::to_string(packet_frames)},
                           {"qdisc_bypass", "1"}},
                          spec, {"framecnt", "blocksz", "qdisc_bypass"});
        case config::PortSpec::Kind::af_xdp:
            return device("net_af_xdp", queues,
                          {{"iface", spec.what},
                           {"start_queue", "0"},
                           {"queue_count", count},
                           {"busy_budget", "0"}},
                          spec, {"start_queue", "force_copy", "busy_budget"});
        case config::PortSpec::Kind::tap:
            return device("net_tap", queues, {{"iface", spec.what}}, spec, {"mac"});
        case config::PortSpec::Kind::memif:
            return device("net_memif", 1,
                          {{"role", "server"},
                           {"id", "0"},
                           {"socket", spec.what},
                           {"socket-abstract", "no"},
                           {"bsize", "2048"}},
                          spec, {"role", "id", "rsize", "mac", "secret"});
        case config::PortSpec::Kind::pcap: {
            // Its one option is called otherwise by the driver.
            config::PortSpec in_only = spec;
            in_only.options.clear();
            Words words{{"rx_pcap", spec.what}};
            for (const auto& [key, value] : spec.options) {
                if (key == "out") words.emplace_back("tx_pcap", value);
            }
            return device("net_pcap", 1, std::move(words), in_only, {});
        }
        case config::PortSpec::Kind::pci:
            return DeviceArguments{{}, {}, queues};
        case config::PortSpec::Kind::ring:
            return DeviceArguments{"net_ring", {}, 1};
        case config::PortSpec::Kind::netback:
            break;  // none of DPDK's
    }
    return tl::unexpected<std::string>("unknown kind of port");
}

std::uint32_t packet_ring_frames(const config::PortSpec& spec) {
    std::uint32_t frames = packet_frames;
    for (const auto& [key, value] : spec.options) {
        if (key == "framecnt") std::from_chars(value.data(), value.data() + value.size(), frames);
    }
    return frames;
}

std::size_t packet_ring_bytes(std::uint32_t frames) { return 2 * frames * packet_frame_bytes; }

}  // namespace proxy
