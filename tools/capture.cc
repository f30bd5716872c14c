// libpcap judges the file; what is made of its records here is bounded by what they hold.
#include "tools/capture.hh"

#include <array>
#include <cerrno>
#include <cstring>

#include <pcap/pcap.h>

#include "wire/frame.hh"

namespace tools {
namespace {

constexpr std::size_t cooked_header_len = 16;
constexpr std::size_t cooked_v2_header_len = 20;
// Below this it is the length of an 802.3 frame or one of Linux' own numbers (if_ether.h).
constexpr std::uint16_t ether_type_min = 0x0600;

// Locally administered, so nobody's.
constexpr std::array<std::byte, 6> made_up_source{std::byte{2}, {}, {}, {}, {}, std::byte{1}};
constexpr std::array<std::byte, 6> made_up_destination{std::byte{2}, {}, {}, {}, {}, std::byte{2}};

bool is_taken(int link_type) {
    switch (link_type) {
        case DLT_EN10MB:
        case DLT_LINUX_SLL:
        case DLT_LINUX_SLL2:
        case DLT_RAW:
        case DLT_IPV4:
        case DLT_IPV6:
            return true;
        default:
            return false;
    }
}

std::string link_type_text(int link_type) {
    const char* const name = pcap_datalink_val_to_description(link_type);
    return name != nullptr ? name : "link type " + std::to_string(link_type);
}

// libpcap says it with the file's name or without, as it happens.
std::string about(const std::string& name, const std::string& text) {
    return text.starts_with(name + ": ") ? text : name + ": " + text;
}

std::uint64_t time_ns(const timeval& at) {
    constexpr std::uint64_t second_ns = 1'000'000'000;
    const auto seconds = static_cast<std::uint64_t>(at.tv_sec);
    if (at.tv_sec < 0 || seconds > ~std::uint64_t{0} / second_ns - 1) return 0;
    return seconds * second_ns + static_cast<std::uint64_t>(at.tv_usec);  // asked for nanoseconds
}

}  // namespace

void CaptureReader::Close::operator()(pcap* capture) const { pcap_close(capture); }

CaptureReader::CaptureReader(std::string name, std::unique_ptr<pcap, Close> capture, int link_type)
    : name_(std::move(name)), capture_(std::move(capture)), link_type_(link_type) {}

tl::expected<CaptureReader, std::string> CaptureReader::open(const std::filesystem::path& file) {
    const std::string name = file == "-" ? "standard input" : file.string();
    std::error_code error;
    if (file != "-" && std::filesystem::is_directory(file, error)) {
        return tl::unexpected(name + ": is a directory, not a capture");
    }
    std::array<char, PCAP_ERRBUF_SIZE> text{};
    std::unique_ptr<pcap, Close> capture(pcap_open_offline_with_tstamp_precision(
        file.c_str(), PCAP_TSTAMP_PRECISION_NANO, text.data()));
    if (!capture) {
        std::string why = about(name, text.data());
        if (file == "-" || std::filesystem::exists(file, error)) {
            why += " (a pcap or pcapng file is expected)";
        }
        return tl::unexpected(std::move(why));
    }
    const int link_type = pcap_datalink(capture.get());
    if (!is_taken(link_type)) {
        return tl::unexpected(name + ": its frames are " + link_type_text(link_type) +
                              "; Ethernet, Linux cooked and raw IP are read");
    }
    return CaptureReader(name, std::move(capture), link_type);
}

std::optional<CapturedFrame> CaptureReader::next() {
    while (complaint_.empty()) {
        pcap_pkthdr* header = nullptr;
        const u_char* data = nullptr;
        const int got = pcap_next_ex(capture_.get(), &header, &data);
        if (got == PCAP_ERROR_BREAK) return std::nullopt;
        if (got != 1) {
            complaint_ = name_ + ": reading stops at record " + std::to_string(number_ + 1) + ": " +
                         pcap_geterr(capture_.get());
            break;
        }
        ++number_;
        if (!take(std::as_bytes(std::span(data, header->caplen)))) {
            ++skipped_;
            continue;
        }
        return CapturedFrame{number_, time_ns(header->ts), bytes_, header->caplen < header->len};
    }
    return std::nullopt;
}

// True: bytes_ is the record as an Ethernet frame.
bool CaptureReader::take(wire::Bytes record) {
    switch (link_type_) {
        case DLT_EN10MB:
            bytes_ = record;
            return record.size() <= wire::frame_len_max;
        case DLT_LINUX_SLL:
            return take_cooked(record);
        case DLT_LINUX_SLL2:
            return take_cooked_v2(record);
        default:
            return take_ip(record);
    }
}

// LINKTYPE_LINUX_SLL: packet type, ARPHRD, address length, 8 bytes of address, protocol.
bool CaptureReader::take_cooked(wire::Bytes record) {
    if (record.size() < cooked_header_len) return false;
    const bool mac = wire::load_be16(record.data() + 4) == 6;
    return put_behind_header(wire::load_be16(record.data() + 14),
                             mac ? record.subspan(6, 6) : wire::Bytes{},
                             record.subspan(cooked_header_len));
}

// LINKTYPE_LINUX_SLL2: protocol, 2 reserved, interface, ARPHRD, packet type, address length, 8
// bytes of address.
bool CaptureReader::take_cooked_v2(wire::Bytes record) {
    if (record.size() < cooked_v2_header_len) return false;
    const bool mac = wire::load_u8(record.data() + 11) == 6;
    return put_behind_header(wire::load_be16(record.data()),
                             mac ? record.subspan(12, 6) : wire::Bytes{},
                             record.subspan(cooked_v2_header_len));
}

bool CaptureReader::take_ip(wire::Bytes record) {
    if (record.empty()) return false;
    const unsigned version = wire::load_u8(record.data()) >> 4;
    if (version != 4 && version != 6) return false;
    return put_behind_header(version == 4 ? wire::ether_type_ipv4 : wire::ether_type_ipv6, {},
                             record);
}

bool CaptureReader::put_behind_header(std::uint16_t ether_type, wire::Bytes link_address,
                                      wire::Bytes packet) {
    if (ether_type < ether_type_min) return false;
    if (packet.size() > wire::frame_len_max - wire::ethernet_header_len) return false;
    // A multicast source, or none, would not pass the parser.
    const bool usable = !link_address.empty() && (link_address[0] & std::byte{1}) == std::byte{0};
    const wire::Bytes source = usable ? link_address : wire::Bytes(made_up_source);
    made_up_.assign(made_up_destination.begin(), made_up_destination.end());
    made_up_.insert(made_up_.end(), source.begin(), source.end());
    made_up_.resize(wire::ethernet_header_len);
    wire::store_be16(made_up_.data() + 12, ether_type);
    made_up_.insert(made_up_.end(), packet.begin(), packet.end());
    bytes_ = made_up_;
    return true;
}

}  // namespace tools
