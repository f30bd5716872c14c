// What `quorate replay` writes and a replaying quorate-proxy reads on a descriptor between them:
// one frame a record, in the order they are due. Both are of one build on one machine, so numbers
// are as the machine has them. No DPDK here: the writer has none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace proxy {

struct ReplayRecord {
    std::uint64_t due_ns = 0;  // from the first frame on; 0: as soon as there is room
    std::uint32_t length = 0;  // of the frame that follows
    std::uint32_t unused = 0;
};
constexpr std::size_t replay_record_len = sizeof(ReplayRecord);
// An Ethernet header with one VLAN tag and an IP packet of 1,500 bytes.
constexpr std::size_t replay_frame_len_max = 18 + 1500;

}  // namespace proxy
