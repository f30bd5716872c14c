// Borrowing the bytes of a packet. Packets are plain `rte_mbuf*` with one owner at a time: a burst
// array, a record, a transmit buffer. There is no owning wrapper that frees by itself, on purpose:
// every packet's end is counted with its reason (Worker::drop), and the conservation check finds
// what is lost.
#pragma once

#include <cstdint>

#include <rte_mbuf.h>

#include "wire/bytes.hh"

namespace proxy {

// Of a packet in one piece; reassembled ones are linearised before anybody looks at them.
inline wire::Bytes bytes_of(const rte_mbuf* packet) {
    return {rte_pktmbuf_mtod(packet, const std::byte*), packet->data_len};
}
inline wire::MutableBytes mutable_bytes_of(rte_mbuf* packet) {
    return {rte_pktmbuf_mtod(packet, std::byte*), packet->data_len};
}
inline void set_length(rte_mbuf* packet, std::uint16_t length) {
    packet->data_len = length;
    packet->pkt_len = length;
}
// Of a byte in it, from its first one.
inline std::uint16_t offset_in(const rte_mbuf* packet, const std::byte* at) {
    return static_cast<std::uint16_t>(at - rte_pktmbuf_mtod(packet, const std::byte*));
}
// Room behind the data pointer of a fresh packet.
inline wire::MutableBytes room_of(rte_mbuf* packet) {
    return {rte_pktmbuf_mtod(packet, std::byte*),
            static_cast<std::size_t>(packet->buf_len - packet->data_off)};
}

}  // namespace proxy
