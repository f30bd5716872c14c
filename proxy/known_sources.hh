// Who has recently had agreed replies, more than once: a share of the tables is kept for them, so
// that a flood of strangers cannot crowd out known clients. Keyed hashes of addresses in sets of
// four; a newcomer takes the place of the one with the fewest replies, the longest ago, so that
// sources seen once never push out those that keep coming back.
//
// Known limit: a source that answers to its address (not a forged one) becomes known by two
// requests; the reserve protects clients from strangers, not from each other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "proxy/limits.hh"

namespace proxy {

class KnownSources {
  public:
    explicit KnownSources(std::uint64_t known_for_ticks)
        : known_for_(known_for_ticks), sets_(std::make_unique<Set[]>(known_source_sets)) {}

    bool knows(std::uint64_t source, std::uint64_t now) const {
        for (const Entry& entry : set_of(source).ways) {
            if (entry.source == source) {
                return entry.replies >= replies_to_be_known && now - entry.last < known_for_;
            }
        }
        return false;
    }

    // Has had an agreed reply, be it one.
    bool has_seen(std::uint64_t source, std::uint64_t now) const {
        for (const Entry& entry : set_of(source).ways) {
            if (entry.source == source) return entry.replies != 0 && now - entry.last < known_for_;
        }
        return false;
    }

    void agreed(std::uint64_t source, std::uint64_t now) {
        Set& set = set_of(source);
        Entry* worst = &set.ways[0];
        for (Entry& entry : set.ways) {
            if (entry.source == source) {
                entry.last = now;
                entry.replies = std::min<std::uint32_t>(entry.replies + 1, replies_saturate);
                return;
            }
            if (merit(entry, now) < merit(*worst, now)) worst = &entry;
        }
        *worst = Entry{source, now, 1};
    }

  private:
    static constexpr std::uint32_t replies_to_be_known = 2;
    static constexpr std::uint32_t replies_saturate = 1u << 20;

    struct Entry {
        std::uint64_t source = 0;
        std::uint64_t last = 0;
        std::uint32_t replies = 0;
    };
    struct alignas(64) Set {
        Entry ways[known_source_ways];
    };
    // Known and recent beats unknown; within that, the more recent.
    std::uint64_t merit(const Entry& entry, std::uint64_t now) const {
        const bool known = entry.replies >= replies_to_be_known && now - entry.last < known_for_;
        return (known ? std::uint64_t{1} << 63 : 0) | (entry.last >> 1);
    }
    Set& set_of(std::uint64_t source) const { return sets_[source & (known_source_sets - 1)]; }

    std::uint64_t known_for_;
    std::unique_ptr<Set[]> sets_;
};
static_assert((known_source_sets & (known_source_sets - 1)) == 0);

}  // namespace proxy
