// Evidence on disk: for each ballot with dissent or silence, and each split, the request and every
// replica's reply as pcapng, with a comment per packet that says verdict, replica, incarnation and
// where the reply parts from what was agreed. Opens in Wireshark and tshark.
//
// Bounded: files of file_bytes, files_max of them, the oldest goes. Directory 0700, files 0600. A
// full disk stops evidence, not votes: it is said once and counted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <tl/expected.hpp>

#include "config/config.hh"
#include "proxy/events.hh"
#include "voter/comparator.hh"
#include "wire/pcapng.hh"

namespace proxy {

class EvidenceStore {
  public:
    // `config` outlives the store. Goes on behind the files that are there.
    static tl::expected<EvidenceStore, std::string> open(const config::Config& config,
                                                         std::uint64_t ticks_per_second);
    ~EvidenceStore();
    EvidenceStore(EvidenceStore&& other) noexcept;
    EvidenceStore(const EvidenceStore&) = delete;
    EvidenceStore& operator=(const EvidenceStore&) = delete;

    // Borrows the packets of `item`. `comparator`: the service's.
    void write(const EvidenceItem& item, const voter::Comparator& comparator);
    // What was written may be read now.
    void flush();

    std::uint64_t records() const { return records_; }
    std::uint64_t lost() const { return lost_; }  // could not be written
    const std::filesystem::path& directory() const { return directory_; }
    // The file that is being written; empty: none yet.
    std::string current_file() const;

  private:
    EvidenceStore(const config::Config& config, std::uint64_t ticks_per_second);
    void begin_file();
    void forget_oldest();
    void put_request(const EvidenceItem& item);
    void put_replies(const EvidenceItem& item, const voter::Comparator& comparator);
    void put_packet(std::uint32_t interface, std::uint64_t time_ns, const rte_mbuf* packet,
                    std::uint16_t payload_offset, const std::string& comment);
    std::string what_happened(const EvidenceItem& item) const;
    std::string about_reply(const EvidenceItem& item, voter::ReplicaId slot,
                            voter::ReplicaId holder, const voter::Comparator& comparator);
    std::uint64_t wall_ns(std::uint64_t ticks) const;
    std::uint32_t interface_of(std::uint8_t group, std::uint8_t slot) const;

    const config::Config* config_;
    std::filesystem::path directory_;
    std::uint64_t ticks_per_second_;
    std::uint64_t ticks_at_start_;
    std::uint64_t wall_ns_at_start_;
    std::uint64_t sequence_ = 0;  // of the file that is written
    int descriptor_ = -1;
    std::uint64_t written_ = 0;
    std::uint64_t records_ = 0;
    std::uint64_t lost_ = 0;
    bool failed_ = false;
    wire::PcapngBuilder builder_;
    voter::WorkspacePtr workspace_;
};

}  // namespace proxy
