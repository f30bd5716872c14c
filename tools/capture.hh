// Reads captures for the tools that take one: pcap and pcapng, through libpcap, as Ethernet frames.
// Linux cooked captures (tcpdump -i any) and raw IP get an Ethernet header made up for them.
//
// Limits: a pcapng file whose interfaces have different link types ends with a complaint at the
// first one that differs, and which interface a frame came from is not told (libpcap does neither).
// A capture on `any` may hold a forwarded packet once per interface; it is then read twice.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "wire/bytes.hh"

struct pcap;

namespace tools {

struct CapturedFrame {
    std::uint64_t number = 0;   // of the record in the file, from 1, as Wireshark counts
    std::uint64_t time_ns = 0;  // since the epoch
    wire::Bytes bytes;          // the reader's; good until its next next()
    bool cut = false;           // the capture has only its beginning (snap length)
};

class CaptureReader {
  public:
    // "-" is standard input. The error says what is wrong with the file, and names it.
    static tl::expected<CaptureReader, std::string> open(const std::filesystem::path& file);

    // The next frame of at most wire::frame_len_max bytes; nullopt at the end, or where the file
    // cannot be read any further: then there is a complaint().
    std::optional<CapturedFrame> next();

    // Why reading ended before the file did, with file and record; empty if it did not.
    const std::string& complaint() const { return complaint_; }
    // Records passed over: longer than any frame, or with nothing that has an Ethernet type.
    std::uint64_t skipped() const { return skipped_; }

  private:
    struct Close {
        void operator()(pcap* capture) const;
    };
    CaptureReader(std::string name, std::unique_ptr<pcap, Close> capture, int link_type);

    bool take(wire::Bytes record);
    bool take_cooked(wire::Bytes record);
    bool take_cooked_v2(wire::Bytes record);
    bool take_ip(wire::Bytes record);
    bool put_behind_header(std::uint16_t ether_type, wire::Bytes link_address, wire::Bytes packet);

    std::string name_;
    std::unique_ptr<pcap, Close> capture_;
    int link_type_;
    wire::Bytes bytes_;               // of the frame taken last
    std::vector<std::byte> made_up_;  // where bytes_ is no record's own
    std::uint64_t number_ = 0;
    std::uint64_t skipped_ = 0;
    std::string complaint_;
};

}  // namespace tools
