#include "proxy/records.hh"

namespace proxy {

Records::Records(std::uint32_t capacity)
    : capacity_(capacity),
      mask_(2 * capacity - 1),
      records_(std::make_unique<Record[]>(capacity)),
      cells_(std::make_unique<Cell[]>(2 * static_cast<std::size_t>(capacity))) {
    oldest_.fill(no_record);
    youngest_.fill(no_record);
    // Last in, first out: what was used a moment ago is still in the cache.
    for (std::uint32_t id = capacity; id-- > 0;) {
        records_[id].newer = free_;
        free_ = id;
    }
}

Record* Records::open(const RecordKey& key, std::uint32_t hash, std::uint8_t group,
                      std::uint64_t now) {
    if (free_ == no_record) return nullptr;
    std::uint32_t at = hash & mask_;
    unsigned probe = 0;
    while (cells_[at].id != no_record) {
        if (++probe == probes_max) return nullptr;
        at = (at + 1) & mask_;
    }
    const std::uint32_t id = free_;
    Record& record = records_[id];
    free_ = record.newer;
    cells_[at] = Cell{hash, id};
    ++used_;

    record.key = key;
    record.hash = hash;
    record.group = group;
    record.opened_at = now;
    record.open = true;
    record.generation += 1;
    record.deferred = {};
    record.released = false;
    record.listed = false;
    record.by_print = false;
    record.superseded = false;
    record.vouched = false;
    record.order = 0;
    record.units_opened = 0;
    record.units = 1;
    record.retains = false;
    record.primary_answered = false;
    record.newer = no_record;
    record.older = youngest_[group];
    if (record.older == no_record) {
        oldest_[group] = id;
    } else {
        records_[record.older].newer = id;
    }
    youngest_[group] = id;
    return &record;
}

void Records::close(Record& record) {
    const std::uint32_t id = id_of(record);
    erase_cell(record.hash, id);
    if (record.older == no_record) {
        oldest_[record.group] = record.newer;
    } else {
        records_[record.older].newer = record.newer;
    }
    if (record.newer == no_record) {
        youngest_[record.group] = record.older;
    } else {
        records_[record.newer].older = record.older;
    }
    record.open = false;
    record.older = no_record;
    record.newer = free_;
    free_ = id;
    --used_;
}

// Closes the gap by moving later cells of the run back, so that no probe ends too early. A cell
// moves at most as far as it was from home, so probes_max stays the bound.
void Records::erase_cell(std::uint32_t hash, std::uint32_t id) {
    std::uint32_t gap = hash & mask_;
    while (cells_[gap].id != id) gap = (gap + 1) & mask_;
    for (std::uint32_t at = (gap + 1) & mask_; cells_[at].id != no_record; at = (at + 1) & mask_) {
        const std::uint32_t home = cells_[at].hash & mask_;
        const std::uint32_t from_home = (at - home) & mask_;
        const std::uint32_t from_gap = (at - gap) & mask_;
        if (from_home >= from_gap) {
            cells_[gap] = cells_[at];
            gap = at;
        }
    }
    cells_[gap] = Cell{};
}

}  // namespace proxy
