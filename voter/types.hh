// The voter's vocabulary: who votes, and what a set of voters is. Distinct trivially copyable types
// without implicit conversion, so that a slot is never taken for an incarnation or a ballot.
#pragma once

#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>

namespace voter {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

// A number that stands for one kind of thing only.
template <class Tag, class Representation>
struct Id {
    Representation value{};
    constexpr auto operator<=>(const Id&) const = default;
};

// The seat of a replica in its group: 0 .. n-1.
using ReplicaId = Id<struct ReplicaTag, std::uint8_t>;
// One boot in a slot. Never repeated, persisted before use; 0 is "nobody".
using Incarnation = Id<struct IncarnationTag, std::uint32_t>;
// Position of a ballot in its worker's table.
using BallotId = Id<struct BallotTag, std::uint32_t>;
// Units of the caller's monotonic clock (the proxy: TSC cycles; the simulator: nanoseconds).
using Ticks = Id<struct TicksTag, std::uint64_t>;
// What a request asks for, as far as its protocol tells (DNS: opcode, type, class). 0: unknown.
using RequestKind = Id<struct RequestKindTag, std::uint32_t>;
// Who asks: a keyed hash of the client's address, never the address itself. Of an IPv6 address the
// first 64 bits: all the others are the client's to choose.
using SourceId = Id<struct SourceTag, std::uint64_t>;

constexpr unsigned faults_max = 3;
constexpr unsigned replicas_max = 2 * faults_max + 1;

// A set of slots, one bit each.
class SlotSet {
  public:
    constexpr SlotSet() = default;
    static constexpr SlotSet first(unsigned n) { return SlotSet((1u << n) - 1u); }
    static constexpr SlotSet of(ReplicaId slot) { return SlotSet(1u << slot.value); }
    static constexpr SlotSet from_bits(unsigned bits) { return SlotSet(bits); }

    constexpr bool contains(ReplicaId slot) const { return (bits_ >> slot.value) & 1u; }
    constexpr unsigned size() const {
        // std::popcount is a call to a library where the processor may be an old one; a ballot
        // counts a dozen sets. The table has the number of ones of 0 to 15, four bits each.
        constexpr std::uint64_t ones = 0x4332'3221'3221'2110;
        return ((ones >> (bits_ & 15u) * 4) & 15u) + ((ones >> (bits_ >> 4u) * 4) & 15u);
    }
    constexpr bool empty() const { return bits_ == 0; }
    constexpr std::uint8_t bits() const { return bits_; }
    // The lowest slot in the set; the set must not be empty.
    constexpr ReplicaId lowest() const {
        return ReplicaId{static_cast<std::uint8_t>(std::countr_zero(bits_))};
    }
    constexpr void insert(ReplicaId slot) { *this = *this | of(slot); }
    constexpr void erase(ReplicaId slot) { *this = *this - of(slot); }

    friend constexpr SlotSet operator|(SlotSet a, SlotSet b) { return SlotSet(a.bits_ | b.bits_); }
    friend constexpr SlotSet operator&(SlotSet a, SlotSet b) { return SlotSet(a.bits_ & b.bits_); }
    // a without b
    friend constexpr SlotSet operator-(SlotSet a, SlotSet b) {
        return SlotSet(a.bits_ & ~static_cast<unsigned>(b.bits_));
    }
    friend constexpr bool operator==(SlotSet, SlotSet) = default;

    // Visits the members from the lowest up.
    template <class Visit>
    constexpr void for_each(Visit&& visit) const {
        for (unsigned rest = bits_; rest != 0; rest &= rest - 1) {
            visit(ReplicaId{static_cast<std::uint8_t>(std::countr_zero(rest))});
        }
    }

  private:
    constexpr explicit SlotSet(unsigned bits) : bits_(static_cast<std::uint8_t>(bits)) {}
    std::uint8_t bits_ = 0;
};
static_assert(replicas_max <= 8, "a SlotSet is one byte");

}  // namespace voter
