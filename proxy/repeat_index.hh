// Finds the newest logged requests by the hash of their key, so that one that is repeated can be
// absorbed after its ballot has closed, and after a restart. Keeps the last repeats_max orders;
// open addressing over 8-byte cells, bounded probes, no allocation after the start.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "proxy/limits.hh"

namespace proxy {

class RepeatIndex {
  public:
    RepeatIndex()
        : cells_(std::make_unique<Cell[]>(cells_len)),
          kept_(std::make_unique<Kept[]>(repeats_max)) {}

    // Orders are inserted as they grow; the one repeats_max before goes. One whose neighbourhood is
    // full is not found later (probes_max bounds what a client can cost).
    void insert(std::uint32_t hash, std::uint64_t order) {
        const auto place = static_cast<std::uint32_t>(order % repeats_max);
        Kept& kept = kept_[place];
        if (kept.in_cells) erase(kept.hash, place);
        kept = Kept{order, hash, false};
        std::uint32_t at = hash & mask;
        for (unsigned probe = 0; probe < probes_max; ++probe, at = (at + 1) & mask) {
            if (cells_[at].place != no_place) continue;
            cells_[at] = Cell{hash, place};
            kept.in_cells = true;
            return;
        }
    }

    // The first with this hash for which accept(order) holds; 0: none.
    template <class Accept>
    std::uint64_t find(std::uint32_t hash, Accept&& accept) const {
        std::uint32_t at = hash & mask;
        for (unsigned probe = 0; probe < probes_max; ++probe, at = (at + 1) & mask) {
            const Cell& cell = cells_[at];
            if (cell.place == no_place) return 0;
            if (cell.hash == hash && accept(kept_[cell.place].order)) {
                return kept_[cell.place].order;
            }
        }
        return 0;
    }

  private:
    static constexpr std::uint32_t cells_len = 2 * repeats_max;
    static constexpr std::uint32_t mask = cells_len - 1;
    static constexpr std::uint32_t no_place = UINT32_MAX;
    static_assert((cells_len & mask) == 0);

    struct Cell {
        std::uint32_t hash = 0;
        std::uint32_t place = no_place;  // in kept_
    };
    struct Kept {
        std::uint64_t order = 0;
        std::uint32_t hash = 0;
        bool in_cells = false;
    };

    // Closes the gap by moving later cells of the run back, so that no probe ends too early.
    void erase(std::uint32_t hash, std::uint32_t place) {
        std::uint32_t gap = hash & mask;
        while (cells_[gap].place != place) gap = (gap + 1) & mask;
        for (std::uint32_t at = (gap + 1) & mask; cells_[at].place != no_place;
             at = (at + 1) & mask) {
            const std::uint32_t from_home = (at - cells_[at].hash) & mask;
            if (from_home >= ((at - gap) & mask)) {
                cells_[gap] = cells_[at];
                gap = at;
            }
        }
        cells_[gap] = Cell{};
    }

    std::unique_ptr<Cell[]> cells_;
    std::unique_ptr<Kept[]> kept_;  // by order % repeats_max
};

}  // namespace proxy
