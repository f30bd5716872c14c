// What the pipeline asks of a port. The real one is EthPort; simulators and tests bring their own.
#pragma once

#include <concepts>
#include <cstdint>

struct rte_mbuf;

namespace proxy {

// rx_burst: up to `count` packets of one queue, now owned by the caller; returns how many.
// tx_burst: takes over the first packets given and returns how many; the rest stay the caller's.
// A queue is used by one thread at a time.
template <class P>
concept Port = std::copyable<P> &&
    requires(const P port, std::uint16_t queue, rte_mbuf** packets, std::uint16_t count) {
    { port.rx_burst(queue, packets, count) } -> std::same_as<std::uint16_t>;
    { port.tx_burst(queue, packets, count) } -> std::same_as<std::uint16_t>;
};

}  // namespace proxy
