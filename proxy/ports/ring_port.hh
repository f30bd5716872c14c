// The closing half of ring ports; opening them is in eth_port.hh.
#pragma once

#include "proxy/ports/eth_port.hh"

namespace proxy {

// For close_port(), which knows the kind.
void close_ring_port(OpenedPort& port);

}  // namespace proxy
