// The table of open requests: what a worker remembers of each between the request and the last
// reply (or the deadline). Records live in one array, found through an index of 8-byte cells (open
// addressing, linear probes, no tombstones) and aged in one list per group, oldest first.
//
// Known limit: two requests of one flow may share a key (DNS ids do); a lookup visits them all.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>

#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include "proxy/limits.hh"
#include "proxy/packet.hh"
#include "voter/ballot.hh"
#include "voter/comparator.hh"
#include "voter/matcher.hh"
#include "wire/address.hh"
#include "wire/write.hh"

namespace proxy {

// 128 bits, for products; the standard has no name for it.
__extension__ using Wide = unsigned __int128;

constexpr std::uint32_t no_record = UINT32_MAX;

// What ties packets to a record.
struct RecordKey {
    wire::IpAddress client;
    std::uint64_t request = 0;  // voter::MatchKey::request
    std::uint16_t client_port = 0;
    std::uint16_t service = 0;
    std::uint16_t unit = 0;
    std::uint16_t unused = 0;  // no byte is padding: keys are compared as bytes
    friend bool operator==(const RecordKey& a, const RecordKey& b) {
        return std::memcmp(&a, &b, sizeof a) == 0;
    }
};
static_assert(sizeof(RecordKey) == 32 && std::has_unique_object_representations_v<RecordKey>);

// Where a reply leaves to: taken from the request.
struct ReturnPath {
    // To the sender of the request or the configured gateway, from what the client thinks it talks
    // to.
    wire::LinkHeader link;
    std::uint8_t port = 0;  // index in the plan
};

// One replica's answer, as kept.
struct Answer {
    rte_mbuf* packet = nullptr;          // owned by the record
    const std::byte* payload = nullptr;  // in it, whatever happens to the headers in front
    std::uint16_t payload_length = 0;
    bool icmp = false;  // an ICMP error about the request: its type and code are what is voted
    std::uint8_t icmp_type = 0;
    std::uint8_t icmp_code = 0;

    voter::Bytes bytes() const { return {payload, payload_length}; }
    std::uint16_t payload_offset() const { return offset_in(packet, payload); }
};

struct alignas(64) Record {
    RecordKey key;
    std::uint32_t hash = 0;
    std::uint32_t generation = 0;  // of this place in the table: one more with each opening
    rte_mbuf* request = nullptr;   // owned; as the replicas got it
    const std::byte* request_at = nullptr;  // its payload
    std::uint16_t request_length = 0;
    std::uint16_t request_l3_offset = 0;
    std::uint8_t group = 0;
    voter::SlotSet deferred;  // asked by the ballot, and not given the request yet
    bool open = false;
    bool released = false;          // the client has had what it gets
    bool retains = false;           // one of retained_replies_max: keeps the winner for late votes
    bool primary_answered = false;  // observe: its reply is in
    bool listed = false;            // waits in the worker's list of decided records
    bool by_print = false;          // the winner's bytes have gone; `fingerprint` stands for them
    bool superseded = false;        // asked anew since: blames nobody
    bool vouched = false;           // stateful: the agreement does not rest on replicas in doubt
    voter::Ballot ballot;
    ReturnPath path;
    voter::SourceId source;       // who asks, as KeyHash::accuser() says
    std::uint64_t opened_at = 0;  // ticks
    std::uint64_t order = 0;      // in the request log; 0: not logged
    // Of the first datagram's record: the others of the reply that have had records, one bit each,
    // and how many there are in all as the released one says. It stays open for them.
    std::uint64_t units_opened = 0;
    std::uint16_t units = 1;
    std::uint32_t older = no_record;
    std::uint32_t newer = no_record;
    std::array<Answer, voter::replicas_max> answers;
    voter::Fingerprint fingerprint;

    bool awaits_units() const {
        const std::uint64_t all = units >= 64 ? UINT64_MAX : (std::uint64_t{1} << units) - 1;
        return (all & ~units_opened) > 1;
    }
    voter::Bytes request_payload() const { return {request_at, request_length}; }
    std::uint16_t request_offset() const { return offset_in(request, request_at); }
    voter::Bytes answer_payload(voter::ReplicaId slot) const { return answers[slot.value].bytes(); }
};

// Hashes keys with secrets drawn at start, so that a client cannot aim at one bucket.
class KeyHash {
  public:
    explicit KeyHash(const std::array<std::uint64_t, 4>& secrets) : secrets_(secrets) {}
    std::uint32_t operator()(const RecordKey& key) const {
        std::uint64_t address[2];
        std::memcpy(address, key.client.octets.data(), sizeof address);
        const std::uint64_t ports =
            (std::uint64_t{key.client_port} << 32) | (std::uint64_t{key.service} << 16) | key.unit;
        const std::uint64_t folded = fold(address[0] ^ secrets_[0], address[1] ^ secrets_[1]) ^
                                     fold(key.request ^ secrets_[2], ports ^ secrets_[3]);
        return static_cast<std::uint32_t>(fold(folded ^ secrets_[1], secrets_[2]));
    }
    // Of the client's address alone: with its port, which worker owns the flow.
    std::uint64_t source(const wire::IpAddress& client) const {
        std::uint64_t address[2];
        std::memcpy(address, client.octets.data(), sizeof address);
        return fold(address[0] ^ secrets_[3], address[1] ^ secrets_[0]);
    }
    // Who a client is: whom dissent is attributed to, and who counts as known. Of an IPv6 address
    // the first half, the rest is the client's to choose. IPv4 addresses are mapped, their first
    // half is 0.
    voter::SourceId accuser(const wire::IpAddress& client) const {
        std::uint64_t address[2];
        std::memcpy(address, client.octets.data(), sizeof address);
        if (address[0] != 0) address[1] = 0;
        return {fold(address[0] ^ secrets_[2], address[1] ^ secrets_[1])};
    }
    std::uint64_t flow(const wire::IpAddress& client, std::uint16_t client_port) const {
        return fold(source(client) ^ secrets_[1], client_port ^ secrets_[2]);
    }

  private:
    static std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
        const auto product = static_cast<Wide>(a) * b;
        return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
    }
    std::array<std::uint64_t, 4> secrets_;
};

class Records {
  public:
    // `capacity`: a power of two. Allocates once; nothing after.
    explicit Records(std::uint32_t capacity);

    std::uint32_t capacity() const { return capacity_; }
    std::uint32_t used() const { return used_; }

    Record& operator[](std::uint32_t id) { return records_[id]; }
    std::uint32_t id_of(const Record& record) const {
        return static_cast<std::uint32_t>(&record - records_.get());
    }

    void prefetch_index(std::uint32_t hash) const { rte_prefetch0(&cells_[hash & mask_]); }

    // The first record with this key for which `accept(record)` holds; nullptr if there is none.
    template <class Accept>
    Record* find(const RecordKey& key, std::uint32_t hash, Accept&& accept);

    // A record with this key, in the index and youngest of its group; nullptr: full, or the key's
    // neighbourhood is. Everything else in it is the caller's to set.
    Record* open(const RecordKey& key, std::uint32_t hash, std::uint8_t group, std::uint64_t now);
    // The caller has given up all packets in it.
    void close(Record& record);

    // nullptr: none open in this group.
    Record* oldest(std::uint8_t group) {
        return oldest_[group] == no_record ? nullptr : &records_[oldest_[group]];
    }
    Record* next(const Record& record) {
        return record.newer == no_record ? nullptr : &records_[record.newer];
    }

  private:
    struct Cell {
        std::uint32_t hash = 0;
        std::uint32_t id = no_record;
    };
    void erase_cell(std::uint32_t hash, std::uint32_t id);

    std::uint32_t capacity_;
    std::uint32_t mask_;
    std::uint32_t used_ = 0;
    std::uint32_t free_ = no_record;  // through Record::newer
    std::unique_ptr<Record[]> records_;
    std::unique_ptr<Cell[]> cells_;
    std::array<std::uint32_t, groups_max> oldest_;
    std::array<std::uint32_t, groups_max> youngest_;
};

template <class Accept>
Record* Records::find(const RecordKey& key, std::uint32_t hash, Accept&& accept) {
    std::uint32_t at = hash & mask_;
    for (unsigned probe = 0; probe < probes_max; ++probe, at = (at + 1) & mask_) {
        const Cell& cell = cells_[at];
        if (cell.id == no_record) return nullptr;
        if (cell.hash != hash) continue;
        Record& record = records_[cell.id];
        if (record.key == key && accept(record)) return &record;
    }
    return nullptr;
}

}  // namespace proxy
