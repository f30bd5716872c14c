// Writes pcapng (draft-ietf-opsawg-pcapng): sections, interfaces, packets with comments. Nothing is
// read here; captures are read with libpcap.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "wire/bytes.hh"

namespace wire {

// Builds blocks into a growing buffer that the caller writes out and clears.
class PcapngBuilder {
  public:
    // Section header block; first in a file.
    void section(std::string_view application);
    // Interface description block, Ethernet, nanosecond timestamps. Interfaces count from 0 in a
    // section. `snap_length` 0: frames are not cut.
    void interface(std::string_view name, std::uint32_t snap_length);
    // Enhanced packet block. `time_ns` since the epoch. `frame` may be cut, `original_length` is
    // what it was. `comment` is UTF-8, may be empty, and is cut behind 65,535 bytes, as names are.
    void packet(std::uint32_t interface, std::uint64_t time_ns, Bytes frame,
                std::uint32_t original_length, std::string_view comment);

    const std::vector<std::byte>& bytes() const { return bytes_; }
    void clear() { bytes_.clear(); }

  private:
    std::vector<std::byte> bytes_;
};

}  // namespace wire
