// What a stateful group was asked, in order: requests as the replicas get them, how far each
// replica has been given them, what was agreed, and the last replies. A file mapped shared, so that
// all of it survives the death of the process at any instruction: every change is one store that
// makes what was written before it count.
//
// The file: a header with the marks, an index (order -> where), the last replies, and a ring of
// entries of any length. When the ring is full the oldest entries are overwritten; from then on no
// newcomer can be brought up from the beginning.
//
// Known limits: it survives the process, not the machine (a log of an earlier boot is refused). A
// reply longer than reply_len_max is not kept.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "proxy/limits.hh"
#include "proxy/plan.hh"
#include "proxy/records.hh"
#include "voter/comparator.hh"
#include "wire/bytes.hh"

namespace proxy {

// How far the incarnation in a slot has been given the log. Orders start at 1.
//
// writer: the worker that owns the group; reader: its successor after a crash, and whoever shows
// the status (relaxed: each word is right by itself).
struct alignas(64) LogMarks {
    std::atomic<std::uint32_t> incarnation{0};
    std::atomic<std::uint32_t> lost{0};       // 1: its state is no longer the group's
    std::atomic<std::uint64_t> intent{0};     // up to here requests may have left to it
    std::atomic<std::uint64_t> delivered{0};  // up to here they have, without a gap
    std::atomic<std::uint64_t> doubt{0};      // it may not have taken this one; 0: no doubt
};

// One request. The frame's bytes follow it in the ring.
struct LogEntry {
    std::uint64_t order = 0;
    std::uint64_t ticks = 0;  // when it came
    RecordKey key;
    voter::Digest digest;    // canonical, of the agreed reply; only when `agreed`
    std::uint32_t size = 0;  // with the frame, a multiple of 8
    std::uint16_t frame_length = 0;
    std::uint16_t l3_offset = 0;
    std::uint16_t payload_offset = 0;
    std::uint16_t payload_length = 0;
    std::atomic<std::uint8_t> agreed{0};  // 1: a quorum agreed on a reply, and `digest` is its

    wire::Bytes frame() const {
        return {reinterpret_cast<const std::byte*>(this + 1), frame_length};
    }
    wire::Bytes payload() const { return frame().subspan(payload_offset, payload_length); }
};

class RequestLog {
  public:
    // Smallest file: its ring takes several of the longest requests.
    static constexpr std::uint64_t bytes_min = 256 * 1024;
    static constexpr std::uint16_t reply_len_max = 496;
    static constexpr std::uint32_t replies_max = 32'768;

    struct Settings {
        std::filesystem::path file;
        std::uint64_t bytes = 0;  // of the whole file; at least bytes_min
        unsigned replicas = 0;
        std::uint64_t fingerprint = 0;  // log_fingerprint()
        std::string_view boot_id;       // /proc/sys/kernel/random/boot_id
        std::uint64_t digest_seed = 0;  // random; used where the log is made anew
    };
    // Maps the log, or makes an empty one where there is none (all at once: a half-made log is
    // never found). Everything in it is checked; the error says what is wrong and what to do. One
    // process at a time.
    static tl::expected<std::unique_ptr<RequestLog>, std::string> open(const Settings& settings);
    ~RequestLog();
    RequestLog(const RequestLog&) = delete;
    RequestLog& operator=(const RequestLog&) = delete;

    // Readers of these may be in other threads.
    std::uint64_t first_order() const;  // the oldest that is still there
    std::uint64_t next_order() const;
    bool empty() const { return next_order() == 1; }
    bool halted() const;  // no quorum agrees on the group's state: it answers nothing
    const LogMarks& marks(voter::ReplicaId slot) const;
    std::uint64_t entries_max() const { return entries_max_; }

    // The rest is for the one worker that owns the group.
    void halt(bool halted);
    LogMarks& marks(voter::ReplicaId slot);
    // All marks as of an incarnation that has been given nothing yet.
    void seat(voter::ReplicaId slot, voter::Incarnation incarnation);
    voter::DigestKey digest_key() const;

    struct Request {
        RecordKey key;
        std::uint64_t ticks = 0;
        wire::Bytes frame;  // at most jumbo_len_max
        std::uint16_t l3_offset = 0;
        std::uint16_t payload_offset = 0;
        std::uint16_t payload_length = 0;
    };
    // Returns its order. Overwrites the oldest entries where need be.
    std::uint64_t append(const Request& request);
    // nullptr: not there (yet, or any more). Good until the next append().
    const LogEntry* entry(std::uint64_t order) const;
    void agree(std::uint64_t order, const voter::Digest& digest);
    // What the client got, or is about to: for the case that it asks again. Longer ones are not
    // kept.
    void keep_reply(std::uint64_t order, wire::Bytes payload);
    // Empty: none is kept.
    wire::Bytes reply(std::uint64_t order) const;

  private:
    struct Header;
    struct Reply;
    struct Layout;
    RequestLog(void* memory, std::uint64_t bytes, int descriptor);
    static std::string flaw_of(const Settings& settings, const RequestLog& log);
    std::string flaw_of_entries() const;
    LogEntry* at(std::uint64_t position) const;
    LogEntry* find(std::uint64_t order) const;

    std::byte* memory_;
    std::uint64_t bytes_;
    int descriptor_;  // holds the lock
    Header* header_;
    std::atomic<std::uint64_t>* index_;  // by order % entries_max_: position
    std::byte* replies_;                 // by order % replies_len_
    std::byte* ring_;
    std::uint64_t entries_max_;
    std::uint64_t replies_len_;
    std::uint64_t ring_bytes_;
    // Positions grow for ever; the place in the ring is position % ring_bytes_.
    std::uint64_t write_position_ = 0;
};

// Of what a log's contents depend on: replicas, services, comparators. A log of another
// configuration is refused.
std::uint64_t log_fingerprint(const Plan& plan, std::uint8_t group);

}  // namespace proxy
