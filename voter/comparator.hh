// Says which parts of two replies must agree, and what may leave when a quorum agrees. A comparator
// is chosen per service, at configuration time; every one runs in time linear in the reply (sorting
// aside) on any input, and compares as bytes what it cannot parse.
//
// The safety sentence it serves: no byte leaves that fewer than a quorum sent, or that the
// appliance did not write itself. So what compare() ignores, compose() zeroes, rebuilds, or takes
// only where a quorum agrees on it byte for byte.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "voter/ballot.hh"
#include "voter/types.hh"

namespace voter {

// XXH3-128, keyed anew at every start.
struct Digest {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    friend bool operator==(const Digest&, const Digest&) = default;
};

struct DigestKey {
    std::uint64_t seed = 0;
};

Digest digest_of(Bytes bytes, DigestKey key);

// What a late vote is compared with once the payload has left.
struct Fingerprint {
    Digest bytes;      // of the reply as kept
    Digest canonical;  // of the voted parts; equal to `bytes` for the comparator `bytes`
};

// Scratch for canonical forms; one per worker, allocated once.
class Workspace;
struct WorkspaceDeleter {
    void operator()(Workspace* workspace) const;
};
using WorkspacePtr = std::unique_ptr<Workspace, WorkspaceDeleter>;
WorkspacePtr make_workspace();

enum class ComparatorKind : std::uint8_t { bytes, dns, mask };

// A range of reply bytes that `mask` leaves out of the vote. What lies beyond a reply's end is
// ignored; where ranges overlap, `zero` wins. Replies of different length are different.
struct MaskRange {
    enum class On : std::uint8_t {
        zero,   // leaves zeroed
        taken,  // leaves as sent where a quorum agrees on these bytes, else zeroed
    };
    std::uint32_t offset = 0;
    std::uint32_t length = 0;
    On on = On::zero;
};
constexpr unsigned mask_ranges_max = 8;

class Comparator {
  public:
    Comparator() = default;  // bytes
    explicit Comparator(ComparatorKind kind) : kind_(kind) {}
    // `ranges`: at most mask_ranges_max, else the rest is ignored (the config refuses it before).
    explicit Comparator(std::span<const MaskRange> ranges);

    ComparatorKind kind() const { return kind_; }

    Likeness compare(Bytes a, Bytes b, Workspace& workspace) const;

    Fingerprint fingerprint(Bytes reply, DigestKey key, Workspace& workspace) const;
    // Compares a late reply with what is left of the winner. `canonical` is only worked out where
    // the bytes differ.
    Likeness compare(const Fingerprint& winner, Bytes late, DigestKey key,
                     Workspace& workspace) const;

    // Writes what may leave for `agreeing` (the replies of the winning camp, each compare()d `same`
    // with the others, not all identical) into `out`. `request` bounds it where the protocol does
    // (DNS: the client's UDP payload size; a longer reply is flagged TC and leaves without
    // records). Returns the bytes written; 0: nothing may leave.
    std::size_t compose(Bytes request, std::span<const Bytes> agreeing, unsigned quorum,
                        MutableBytes out, Workspace& workspace) const;

    // Where two replies first part, in words a person can use ("byte 17", "DNS answer, record 2").
    // Not for the fast path: evidence only. Writes at most out.size() characters, returns how many.
    std::size_t describe_difference(Bytes a, Bytes b, std::span<char> out,
                                    Workspace& workspace) const;

  private:
    std::span<const MaskRange> ranges() const { return std::span(ranges_).first(ranges_count_); }
    Digest canonical_digest(Bytes reply, const Digest& of_bytes, DigestKey key,
                            Workspace& workspace) const;

    ComparatorKind kind_ = ComparatorKind::bytes;
    std::uint8_t ranges_count_ = 0;
    std::array<MaskRange, mask_ranges_max> ranges_{};  // sorted by offset
};

}  // namespace voter
