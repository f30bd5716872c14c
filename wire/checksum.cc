// Checksums: which sum to take, and over what.
#include "wire/checksum.hh"

#include <cstring>

#include "wire/sum.hh"

namespace wire {
namespace {

// Below this the wide sum is not worth its indirect call.
constexpr std::size_t wide_len_min = 256;

// writer: choose_sum(), before main(); reader: everybody. Right before that, too, only slower.
constinit SumFunction sum_long = sum_plain;

[[gnu::constructor]] void choose_sum() {
    if (const SumFunction wide = wide_sum()) sum_long = wide;
}

// Down to 16 bits; what is not 0 stays not 0.
inline std::uint16_t fold(std::uint64_t sum) {
    sum = (sum & 0xffffffffu) + (sum >> 32);
    sum = (sum & 0xffffffffu) + (sum >> 32);
    sum = (sum & 0xffffu) + (sum >> 16);
    sum = (sum & 0xffffu) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

inline std::uint64_t sum_raw(Bytes bytes) {
    return bytes.size() < wide_len_min ? sum_plain(bytes) : sum_long(bytes);
}

// All 16 bytes also of an IPv4 address: the mapped prefix is ten zeros and 0xffff, which is the
// other zero of one's complement.
inline std::uint64_t sum_address(const IpAddress& address) {
    return add_carrying(load_raw64(address.octets.data()), load_raw64(address.octets.data() + 8));
}

// `protocol_and_length`: protocol + length, up to 32 bits.
inline std::uint64_t sum_pseudo_header_raw(const IpAddress& source, const IpAddress& destination,
                                           std::uint32_t protocol_and_length) {
    return add_carrying(add_carrying(sum_address(source), sum_address(destination)),
                        __builtin_bswap32(protocol_and_length));
}

struct Coverage {
    Bytes bytes;
    std::uint64_t pseudo_header = 0;
    std::size_t field = 0;  // of the checksum, in `bytes`
    bool known = false;
};

// What the checksum of `parsed` is taken over.
Coverage coverage(Bytes frame, const Frame& parsed) {
    Coverage cover;
    std::size_t length = parsed.l4_length;
    switch (parsed.layer4) {
        case Layer4::udp:
            length = udp_header_len + parsed.payload_length;
            cover.field = 6;
            break;
        case Layer4::tcp:
            cover.field = 16;
            break;
        case Layer4::icmp:
        case Layer4::icmpv6:
            cover.field = 2;
            break;
        case Layer4::none:
        case Layer4::other:
            return cover;
    }
    cover.bytes = frame.subspan(parsed.l4_offset, length);
    cover.known = true;
    if (parsed.layer4 != Layer4::icmp) {
        cover.pseudo_header =
            sum_pseudo_header_raw(parsed.ip_source, parsed.ip_destination,
                                  static_cast<std::uint32_t>(parsed.protocol + length));
    }
    return cover;
}

}  // namespace

std::uint64_t sum_bytes(Bytes bytes) { return __builtin_bswap16(fold(sum_raw(bytes))); }

std::uint16_t fold_checksum(std::uint64_t sum) { return static_cast<std::uint16_t>(~fold(sum)); }

std::uint64_t sum_pseudo_header(const IpAddress& source, const IpAddress& destination,
                                std::uint8_t protocol, std::uint32_t length) {
    const std::uint64_t addresses = add_carrying(sum_address(source), sum_address(destination));
    return std::uint64_t{__builtin_bswap16(fold(addresses))} + protocol + length;
}

namespace {

// What nearly every packet is: both addresses are summed where they lie.
bool udp_over_ipv4_checksum_right(Bytes frame, const Frame& parsed) {
    const std::size_t length = udp_header_len + parsed.payload_length;
    const Bytes datagram = frame.subspan(parsed.l4_offset, length);
    if (load_be16(datagram.data() + 6) == 0) return true;
    const std::uint64_t addresses = load_raw64(frame.data() + parsed.l3_offset + 12);
    const auto rest = static_cast<std::uint32_t>(protocol_udp + length);
    const std::uint64_t sum = add_carrying(sum_raw(datagram), addresses);
    return add_carrying(sum, __builtin_bswap32(rest)) % 0xffff == 0;
}

}  // namespace

bool l4_checksum_right(Bytes frame, const Frame& parsed) {
    if (parsed.layer4 == Layer4::udp && parsed.layer3 == Layer3::ipv4) [[likely]] {
        return udp_over_ipv4_checksum_right(frame, parsed);
    }
    const Coverage cover = coverage(frame, parsed);
    if (!cover.known) return false;
    if (parsed.layer4 == Layer4::udp && load_be16(cover.bytes.data() + cover.field) == 0) {
        return false;  // IPv6 here, which allows no UDP without a checksum
    }
    // Right when the whole is the zero that is all ones. The other zero, a sum of zero bytes only
    // (ICMP has no pseudo-header), is not.
    const std::uint64_t sum = add_carrying(sum_raw(cover.bytes), cover.pseudo_header);
    return sum != 0 && sum % 0xffff == 0;
}

void write_l4_checksum(MutableBytes frame, const Frame& parsed) {
    const Coverage cover = coverage(frame, parsed);
    if (!cover.known) return;
    std::byte* const field = frame.data() + parsed.l4_offset + cover.field;
    store_be16(field, 0);
    std::uint16_t checksum =
        __builtin_bswap16(fold_checksum(add_carrying(sum_raw(cover.bytes), cover.pseudo_header)));
    if (parsed.layer4 == Layer4::udp && checksum == 0) checksum = 0xffff;
    store_be16(field, checksum);
}

void write_ipv4_header_checksum(std::byte* ipv4_header) {
    store_be16(ipv4_header + 10, 0);
    store_be16(ipv4_header + 10, fold_checksum(sum_bytes(Bytes(ipv4_header, ipv4_header_len))));
}

}  // namespace wire
