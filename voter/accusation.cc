#include "voter/accusation.hh"

#include <algorithm>
#include <bitset>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

namespace voter {

namespace {

std::size_t index(Fault fault) { return static_cast<std::size_t>(fault); }

void increment(std::uint16_t& count) {
    if (count != std::numeric_limits<std::uint16_t>::max()) ++count;
}

// Slots whose count a level of noise explains. Without noise there are none.
template <class Counts>
SlotSet within(const Counts& counts, double noise) {
    SlotSet slots;
    if (noise <= 0) return slots;
    for (std::uint8_t slot = 0; slot < replicas_max; ++slot) {
        if (counts[slot] <= Accusation::outlier_factor * noise) slots.insert(ReplicaId{slot});
    }
    return slots;
}

// What a count may be short of by chance: three standard deviations.
double at_most(double count, double variance) { return count + 3 * std::sqrt(variance); }

}  // namespace

// The testimony of the whole table on one fault, weighed afresh: for each entry, the slots whose
// faults there are noise. Nothing is kept up from fault to fault, so nothing can drift.
class Accusation::Weighing {
  public:
    Weighing(const Accusation& accusation, Fault fault) : accusation_(accusation), fault_(fault) {
        for (std::size_t i = 0; i < accusation.table_.size(); ++i) {
            if (accusation.live(accusation.table_[i])) {
                order_[count_++] = static_cast<std::uint16_t>(i);
            }
        }
        const auto entries = std::span(order_).first(count_);
        const auto kind = [&](std::uint16_t i) { return accusation.table_[i].kind; };
        std::ranges::sort(entries, {}, kind);
        for (auto begin = entries.begin(); begin != entries.end();) {
            const auto end = std::find_if(begin, entries.end(),
                                          [&](std::uint16_t i) { return kind(i) != kind(*begin); });
            weigh_kind({begin, end});
            begin = end;
        }
    }

    SlotSet noisy(std::size_t entry) const { return noisy_[entry]; }
    // More than f slots have dissented on this kind, whether or not several sources saw it.
    bool contested(std::size_t entry) const { return contested_.test(entry); }
    // Calls visit(kind, noisy) for each kind that rotates over several sources.
    template <class Visit>
    void for_each_rotating(Visit&& visit) const {
        for (std::size_t i = 0; i < rotating_count_; ++i) {
            visit(accusation_.table_[rotating_[i]].kind, rotating_noisy_[i]);
        }
    }

  private:
    // Of one slot on one kind: each source weighs 1, shared out as it saw the slots fail.
    struct Weight {
        double sum = 0;
        double variance = 0;
        std::uint32_t sources = 0;
    };

    void weigh_kind(std::span<const std::uint16_t> entries) {
        std::array<Weight, replicas_max> weights{};
        std::uint32_t saw_rotation = 0;
        for (const std::uint16_t i : entries) {
            const Counts seen = counts(i);
            const double most = std::max(1u, *std::ranges::max_element(seen));
            for (unsigned slot = 0; slot < replicas_max; ++slot) {
                weights[slot].sum += seen[slot] / most;
                weights[slot].variance += seen[slot] / (most * most);
                weights[slot].sources += seen[slot] > 0;
            }
            const double noise = accusation_.noise(seen);
            saw_rotation += noise > 0;
            noisy_[i] = within(seen, at_most(noise, noise));
        }
        if (noise(weights).sum > 0 || has_rotated(accusation_.table_[entries.front()].kind)) {
            for (const std::uint16_t i : entries) contested_.set(i);
        }
        auto confirmed = weights;
        for (Weight& weight : confirmed) {
            if (std::max(weight.sources, saw_rotation) < accusation_.rules_.sources_min) {
                weight = {};
            }
        }
        const Weight rotating = noise(confirmed);
        std::array<double, replicas_max> sums;
        std::ranges::transform(weights, sums.begin(), &Weight::sum);
        const SlotSet noisy = within(sums, at_most(rotating.sum, rotating.variance));
        if (noisy.empty()) return;
        for (const std::uint16_t i : entries) noisy_[i] = noisy_[i] | noisy;
        if (rotating_count_ == rotating_.size()) return;
        rotating_[rotating_count_] = entries.front();
        rotating_noisy_[rotating_count_++] = noisy;
    }

    Weight noise(std::array<Weight, replicas_max> weights) const {
        std::ranges::sort(weights, std::greater{}, &Weight::sum);
        return weights[accusation_.rules_.faults];
    }
    bool has_rotated(RequestKind kind) const {
        return fault_ == Fault::dissent && accusation_.find_mark(kind) != nullptr;
    }
    Counts counts(std::size_t entry) const {
        return accusation_.counts(accusation_.table_[entry], fault_, accusation_.pane_);
    }

    const Accusation& accusation_;
    Fault fault_;
    std::size_t count_ = 0;
    std::size_t rotating_count_ = 0;
    std::array<std::uint16_t, rows * row_len> order_;  // live entries, by kind
    std::array<SlotSet, rows * row_len> noisy_{};
    std::bitset<rows * row_len> contested_;
    std::array<std::uint16_t, marks_max> rotating_;  // an entry of each such kind
    std::array<SlotSet, marks_max> rotating_noisy_;
};

Accusation::Accusation(AccusationRules rules) : rules_(rules) {
    rules_.sources_min = std::max(1u, rules_.sources_min);
    rules_.faults = std::clamp(rules_.faults, 1u, faults_max);
    if (rules_.window.value > 0)
        pane_len_ = std::max<std::uint64_t>(1, rules_.window.value / panes);
    for (auto& by_slot : next_weighing_) by_slot.fill(rules_.sources_min);
}

void Accusation::agreed(SourceId source, Ticks now) {
    advance(now);
    ++agreed_[pane_ % panes][row_of(source)];
}

Finding Accusation::record(Fault fault, ReplicaId slot, SourceId source, RequestKind kind,
                           Ticks now) {
    advance(now);
    ++totals_[index(fault)][pane_ % panes][slot.value];
    ++faults_[index(fault)][pane_ % panes][slot.value][row_of(source)];

    Testimony& entry = testimony(source, kind, now);
    const bool rotated = noise(counts(entry, fault, pane_)) > 0;
    increment(entry.seen[index(fault)][pane_ % panes][slot.value]);
    const Counts seen = counts(entry, fault, pane_);
    const std::uint32_t floor = noise(seen);

    Finding finding;
    finding.rotates = floor > 0 && !rotated;
    finding.discounted = within(seen, at_most(floor, floor)).contains(slot);
    const std::uint64_t count = total(fault, slot, pane_);
    if (count >= next_weighing_[index(fault)][slot.value]) {
        next_weighing_[index(fault)][slot.value] = next_weighing(fault, count);
        const Weighing weighing(*this, fault);
        if (fault == Fault::dissent) {
            weighing.for_each_rotating(
                [&](RequestKind rotating, SlotSet noisy) { mark(rotating, noisy); });
        }
        Suspicion& suspicion = suspicions_[slot.value];
        if (!in_force(suspicion, now) && guilty(fault, slot, weighing)) {
            suspicion = {now, true};
            finding.suspect = true;
        }
    }
    if (fault != Fault::dissent) return finding;
    if (Mark* found = find_mark(kind); found != nullptr && in_force(*found)) {
        finding.kind_marked = !found->told;
        found->told = true;
        if (found->noisy.contains(slot)) finding.discounted = true;
    }
    return finding;
}

bool Accusation::guilty(Fault fault, ReplicaId slot, const Weighing& weighing) const {
    // What one source says of the slot. All its testimony is in one row.
    struct Witness {
        double faults = 0;
        double accusing = 0;  // those that are no noise
        double counted = 0;
    };
    const double least = faults_min(fault);
    const double per_source_max = std::ceil(least / rules_.sources_min);
    double counted = 0;
    double accusing = 0;
    std::uint32_t sources = 0;
    std::uint32_t sources_accusing = 0;
    for (std::size_t row = 0; row < table_.size(); row += row_len) {
        std::array<Witness, row_len> witnesses{};
        for (std::size_t i = 0; i < row_len; ++i) {
            const Testimony& entry = table_[row + i];
            if (!live(entry)) continue;
            const auto same_source = [&](const Testimony& other) {
                return live(other) && other.source == entry.source;
            };
            const auto in_row = std::span(table_).subspan(row, row_len);
            Witness& witness = witnesses[static_cast<std::size_t>(
                std::ranges::find_if(in_row, same_source) - in_row.begin())];
            const double seen = counts(entry, fault, pane_)[slot.value];
            witness.faults += seen;
            if (weighing.noisy(row + i).contains(slot)) continue;
            witness.accusing += seen;
            witness.counted += weighing.contested(row + i) ? seen / caution : seen;
        }
        for (const Witness& witness : witnesses) {
            if (witness.faults == 0) continue;
            ++sources;
            sources_accusing += witness.accusing > 0;
            accusing += witness.accusing / witness.faults;
            counted += std::min(witness.counted, per_source_max);
        }
    }
    if (sources_accusing < rules_.sources_min || counted < least) return false;
    // share() counts noise as well; the table, as a sample, says how much of it is none.
    return share(fault, slot) * accusing / sources * 100 >= rules_.share_percent;
}

// The slot's share of faults in agreed ballots: the mean over the rows of sources that had any.
double Accusation::share(Fault fault, ReplicaId slot) const {
    double sum = 0;
    unsigned rows_active = 0;
    for (std::size_t row = 0; row < rows; ++row) {
        double agreed = 0;
        double faults = 0;
        for (std::size_t pane = 0; pane < panes; ++pane) {
            agreed += agreed_[pane][row];
            faults += faults_[index(fault)][pane][slot.value][row];
        }
        if (agreed + faults == 0) continue;
        ++rows_active;
        sum += faults >= agreed ? 1 : faults / agreed;
    }
    return rows_active == 0 ? 0 : sum / rows_active;
}

void Accusation::forget(ReplicaId slot) {
    for (const Fault fault : {Fault::dissent, Fault::silence}) {
        // Noise is known by comparing slots. So with this slot's part of it goes that of the
        // others, or what was noise would accuse them.
        const Weighing weighing(*this, fault);
        for (std::size_t i = 0; i < table_.size(); ++i) {
            (SlotSet::of(slot) | weighing.noisy(i)).for_each([&](ReplicaId cleared) {
                for (auto& by_slot : table_[i].seen[index(fault)]) by_slot[cleared.value] = 0;
            });
        }
        for (auto& by_slot : totals_[index(fault)]) by_slot[slot.value] = 0;
        for (auto& by_slot : faults_[index(fault)]) by_slot[slot.value].fill(0);
        next_weighing_[index(fault)][slot.value] = rules_.sources_min;
    }
    suspicions_[slot.value] = {};
}

Accusation::Standing Accusation::standing(ReplicaId slot, Ticks now) const {
    const std::uint64_t pane = std::max(pane_at(now), pane_);
    Standing standing;
    standing.dissents = total(Fault::dissent, slot, pane);
    standing.silences = total(Fault::silence, slot, pane);
    standing.suspect = in_force(suspicions_[slot.value], now);
    for (std::size_t row = 0; row < table_.size(); row += row_len) {
        const auto entries = std::span(table_).subspan(row, row_len);
        const auto saw = [&](const Testimony& entry) {
            return counts(entry, Fault::dissent, pane)[slot.value] +
                       counts(entry, Fault::silence, pane)[slot.value] >
                   0;
        };
        for (std::size_t i = 0; i < row_len; ++i) {
            const auto again = [&](const Testimony& earlier) {
                return earlier.source == entries[i].source && saw(earlier);
            };
            standing.sources += saw(entries[i]) && std::ranges::none_of(entries.first(i), again);
        }
    }
    return standing;
}

std::size_t Accusation::marked_kinds(std::span<RequestKind> out) const {
    std::array<const Mark*, marks_max> found;
    std::size_t count = 0;
    for (const Mark& mark : marks_) {
        if (in_force(mark)) found[count++] = &mark;
    }
    std::ranges::sort(std::span(found).first(count), std::greater{}, &Mark::order);
    count = std::min(count, out.size());
    for (std::size_t i = 0; i < count; ++i) out[i] = found[i]->kind;
    return count;
}

// --- Panes -----------------------------------------------------------------------------------

std::uint64_t Accusation::pane_at(Ticks now) const {
    return pane_len_ == 0 ? panes : panes + now.value / pane_len_;
}

void Accusation::advance(Ticks now) {
    if (now.value < pane_end_) return;
    const std::uint64_t next = std::max(pane_at(now), pane_);
    for (std::uint64_t pane = pane_ + 1; pane <= std::min(next, pane_ + panes); ++pane) {
        agreed_[pane % panes].fill(0);
        for (auto& by_pane : totals_) by_pane[pane % panes].fill(0);
        for (auto& by_pane : faults_) by_pane[pane % panes] = {};
    }
    pane_ = next;
    pane_end_ = pane_len_ == 0 ? std::numeric_limits<std::uint64_t>::max()
                               : now.value - now.value % pane_len_ + pane_len_;
    for (const Fault fault : {Fault::dissent, Fault::silence}) {
        for (std::uint8_t slot = 0; slot < replicas_max; ++slot) {
            next_weighing_[index(fault)][slot] =
                next_weighing(fault, total(fault, ReplicaId{slot}, pane_));
        }
    }
}

Accusation::Counts Accusation::counts(const Testimony& entry, Fault fault,
                                      std::uint64_t pane) const {
    Counts sum{};
    for (std::uint64_t p = pane - panes + 1; p <= std::min(entry.pane, pane); ++p) {
        const auto& by_slot = entry.seen[index(fault)][p % panes];
        for (unsigned slot = 0; slot < replicas_max; ++slot) sum[slot] += by_slot[slot];
    }
    return sum;
}

std::uint64_t Accusation::total(Fault fault, ReplicaId slot, std::uint64_t pane) const {
    std::uint64_t sum = 0;
    for (std::uint64_t p = pane - panes + 1; p <= pane_; ++p) {
        sum += totals_[index(fault)][p % panes][slot.value];
    }
    return sum;
}

// --- Small parts -----------------------------------------------------------------------------

std::size_t Accusation::row_of(SourceId source) {
    constexpr std::uint64_t golden = 0x9e3779b97f4a7c15;  // tests have sources 0, 1, 2 ...
    return source.value * golden >> (64 - std::bit_width(rows - 1));
}

Accusation::Testimony& Accusation::testimony(SourceId source, RequestKind kind, Ticks now) {
    const auto row = std::span(table_).subspan(row_of(source) * row_len, row_len);
    const auto age = [&](const Testimony& entry) { return live(entry) ? entry.last.value + 1 : 0; };
    Testimony* oldest = &row.front();
    Testimony* own_oldest = nullptr;
    std::size_t own = 0;
    for (Testimony& entry : row) {
        if (age(entry) < age(*oldest)) oldest = &entry;
        if (!live(entry) || entry.source != source) continue;
        if (entry.kind == kind) {
            for (; entry.pane < pane_; ++entry.pane) {
                for (auto& by_pane : entry.seen) by_pane[(entry.pane + 1) % panes].fill(0);
            }
            entry.last = now;
            return entry;
        }
        ++own;
        if (own_oldest == nullptr || age(entry) < age(*own_oldest)) own_oldest = &entry;
    }
    Testimony& taken = own < kinds_per_source ? *oldest : *own_oldest;
    taken = {source, kind, now, pane_, {}};
    return taken;
}

// What some honest slot is responsible for: the greatest count that f faulty slots cannot explain.
std::uint32_t Accusation::noise(const Counts& counts) const {
    Counts sorted = counts;
    std::ranges::sort(sorted, std::greater{});
    return sorted[rules_.faults];
}

std::uint32_t Accusation::faults_min(Fault fault) const {
    return fault == Fault::dissent ? rules_.dissents_min : rules_.silences_min;
}

// Weighing costs a look at the whole table, so it waits until the count has grown by an eighth, but
// not past the least count for which it can find anything.
std::uint64_t Accusation::next_weighing(Fault fault, std::uint64_t count) const {
    const std::uint64_t next =
        std::max<std::uint64_t>(rules_.sources_min, count + std::max<std::uint64_t>(1, count / 8));
    const std::uint64_t least = faults_min(fault);
    return count < least ? std::min(next, std::max<std::uint64_t>(1, least)) : next;
}

bool Accusation::in_force(const Suspicion& suspicion, Ticks now) const {
    return suspicion.any && (rules_.window.value == 0 || now.value < suspicion.since.value ||
                             now.value - suspicion.since.value < rules_.window.value);
}

void Accusation::mark(RequestKind kind, SlotSet noisy) {
    Mark* place = find_mark(kind);
    if (place == nullptr) {
        // A mark in force is not pushed out: else kinds without end would be reported without end.
        place = &*std::ranges::min_element(marks_, {}, &Mark::pane);
        if (in_force(*place)) return;
        *place = {};
    }
    if (!in_force(*place)) *place = {kind, pane_, ++marks_made_, {}, false};
    place->pane = pane_;
    place->noisy = noisy;
}

const Accusation::Mark* Accusation::find_mark(RequestKind kind) const {
    const auto found = std::ranges::find_if(
        marks_, [&](const Mark& mark) { return mark.pane != 0 && mark.kind == kind; });
    return found == marks_.end() ? nullptr : &*found;
}

}  // namespace voter
