#include "proxy/ports/segmentation.hh"

#include <rte_mbuf.h>

#include "proxy/packet.hh"
#include "wire/frame.hh"

namespace proxy {

using xen::netback::Segmentation;

namespace {

// Where IP says which protocol it carries; from its first byte.
constexpr std::size_t ipv4_protocol_at = 9;
constexpr std::size_t ipv6_next_header_at = 6;
constexpr std::byte ipv4_without_options{0x45};
constexpr std::size_t tcp_data_offset_at = 12;

// Bytes of the TCP header behind an IP header of such length; 0: there is none.
std::size_t tcp_header_length(wire::Bytes frame, std::size_t tcp_at) {
    if (frame.size() < tcp_at + wire::tcp_header_len_min) return 0;
    const std::size_t length =
        std::to_integer<std::size_t>(frame[tcp_at + tcp_data_offset_at] >> 4) * 4;
    const bool whole = length >= wire::tcp_header_len_min && frame.size() >= tcp_at + length;
    return whole ? length : 0;
}

}  // namespace

bool mark_to_be_cut(rte_mbuf* packet, const Segmentation& how) {
    if (how.type == XEN_NETIF_GSO_TYPE_NONE || how.size == 0) return false;
    const bool v4 = how.type == XEN_NETIF_GSO_TYPE_TCPV4;
    const std::size_t ip_length = v4 ? wire::ipv4_header_len : wire::ipv6_header_len;
    const wire::Bytes frame = bytes_of(packet);
    const std::size_t tcp_length = tcp_header_length(frame, wire::ethernet_header_len + ip_length);
    if (tcp_length == 0) return false;
    const wire::Bytes ip = frame.subspan(wire::ethernet_header_len);
    const std::byte protocol = ip[v4 ? ipv4_protocol_at : ipv6_next_header_at];
    if (wire::load_be16(frame.data() + wire::ethernet_header_len - 2) !=
            (v4 ? wire::ether_type_ipv4 : wire::ether_type_ipv6) ||
        protocol != std::byte{wire::protocol_tcp} || (v4 && ip[0] != ipv4_without_options)) {
        return false;
    }
    packet->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM |
                        (v4 ? RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM : RTE_MBUF_F_TX_IPV6);
    packet->l2_len = wire::ethernet_header_len;
    packet->l3_len = ip_length & 0x1ff;
    packet->l4_len = tcp_length & 0xff;
    packet->tso_segsz = how.size;
    return true;
}

Segmentation segmentation_of(const rte_mbuf* packet) {
    if ((packet->ol_flags & RTE_MBUF_F_TX_TCP_SEG) == 0) return {};
    const bool v4 = (packet->ol_flags & RTE_MBUF_F_TX_IPV4) != 0;
    return {static_cast<std::uint8_t>(v4 ? XEN_NETIF_GSO_TYPE_TCPV4 : XEN_NETIF_GSO_TYPE_TCPV6),
            static_cast<std::uint16_t>(packet->tso_segsz)};
}

}  // namespace proxy
