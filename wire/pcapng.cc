// Blocks are put together in place: opened with their type, closed with their length, which stands
// at both ends. Numbers are in the writer's byte order, which the section's magic tells.
#include "wire/pcapng.hh"

#include <algorithm>
#include <cstring>

namespace wire {
namespace {

constexpr std::uint32_t block_section_header = 0x0a0d0d0a;
constexpr std::uint32_t block_interface_description = 1;
constexpr std::uint32_t block_enhanced_packet = 6;
constexpr std::uint32_t byte_order_magic = 0x1a2b3c4d;
constexpr std::uint16_t link_type_ethernet = 1;

constexpr std::uint16_t option_end = 0;
constexpr std::uint16_t option_comment = 1;
constexpr std::uint16_t option_interface_name = 2;
constexpr std::uint16_t option_section_application = 4;
constexpr std::uint16_t option_timestamp_resolution = 9;
constexpr std::size_t option_len_max = 65535;

template <class Number>
void put(std::vector<std::byte>& out, Number number) {
    std::byte raw[sizeof number];
    std::memcpy(raw, &number, sizeof number);
    out.insert(out.end(), raw, raw + sizeof number);
}

void put_padded(std::vector<std::byte>& out, Bytes bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
    out.resize(out.size() + (4 - bytes.size() % 4) % 4);
}

// At most what an option holds, and no part of a UTF-8 character.
std::string_view cut(std::string_view text) {
    if (text.size() <= option_len_max) return text;
    std::size_t end = option_len_max;
    while (end > option_len_max - 4 && (text[end] & 0xc0) == 0x80) --end;
    return text.substr(0, end);
}

void put_option(std::vector<std::byte>& out, std::uint16_t code, std::string_view text) {
    text = cut(text);
    put(out, code);
    put(out, static_cast<std::uint16_t>(text.size()));
    put_padded(out, std::as_bytes(std::span(text)));
}

void put_end_of_options(std::vector<std::byte>& out) {
    put(out, option_end);
    put(out, std::uint16_t{0});
}

std::size_t open_block(std::vector<std::byte>& out, std::uint32_t type) {
    const std::size_t start = out.size();
    put(out, type);
    put(out, std::uint32_t{0});
    return start;
}

void close_block(std::vector<std::byte>& out, std::size_t start) {
    const auto length = static_cast<std::uint32_t>(out.size() + sizeof(std::uint32_t) - start);
    put(out, length);
    std::memcpy(out.data() + start + 4, &length, sizeof length);
}

}  // namespace

void PcapngBuilder::section(std::string_view application) {
    const std::size_t start = open_block(bytes_, block_section_header);
    put(bytes_, byte_order_magic);
    put(bytes_, std::uint16_t{1});  // version 1.0
    put(bytes_, std::uint16_t{0});
    put(bytes_, ~std::uint64_t{0});  // length unknown: the file grows
    put_option(bytes_, option_section_application, application);
    put_end_of_options(bytes_);
    close_block(bytes_, start);
}

void PcapngBuilder::interface(std::string_view name, std::uint32_t snap_length) {
    const std::size_t start = open_block(bytes_, block_interface_description);
    put(bytes_, link_type_ethernet);
    put(bytes_, std::uint16_t{0});
    put(bytes_, snap_length);
    put_option(bytes_, option_interface_name, name);
    put_option(bytes_, option_timestamp_resolution, "\x09");  // 10^-9 s
    put_end_of_options(bytes_);
    close_block(bytes_, start);
}

void PcapngBuilder::packet(std::uint32_t interface, std::uint64_t time_ns, Bytes frame,
                           std::uint32_t original_length, std::string_view comment) {
    const std::size_t start = open_block(bytes_, block_enhanced_packet);
    put(bytes_, interface);
    put(bytes_, static_cast<std::uint32_t>(time_ns >> 32));
    put(bytes_, static_cast<std::uint32_t>(time_ns));
    put(bytes_, static_cast<std::uint32_t>(frame.size()));
    put(bytes_, original_length);
    put_padded(bytes_, frame);
    if (!comment.empty()) {
        put_option(bytes_, option_comment, comment);
        put_end_of_options(bytes_);
    }
    close_block(bytes_, start);
}

}  // namespace wire
