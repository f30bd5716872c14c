#include "voter/comparator.hh"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

#include "voter/dns_comparator.hh"

namespace voter {

class Workspace {
  public:
    dns::DnsScratch dns;
    std::array<std::byte, 65'536> masked;  // as long as a datagram can be
};

void WorkspaceDeleter::operator()(Workspace* workspace) const { delete workspace; }
// Not value-initialised: the scratch needs none, and pages that are never used are never touched.
WorkspacePtr make_workspace() { return WorkspacePtr(new Workspace); }

namespace {

bool equal(Bytes a, Bytes b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

std::uint64_t end_of(const MaskRange& range) { return std::uint64_t{range.offset} + range.length; }

// The part of a range that lies within a reply of `length` bytes; empty where none does.
struct Clipped {
    std::size_t offset;
    std::size_t length;
    Bytes of(Bytes reply) const { return reply.subspan(offset, length); }
};
Clipped clip(const MaskRange& range, std::size_t length) {
    const std::size_t begin = std::min<std::uint64_t>(range.offset, length);
    return {begin, std::min<std::uint64_t>(end_of(range), length) - begin};
}

// Visits the stretches that no range covers, in order, until `visit(offset, length)` returns false.
// The ranges are sorted by offset and may overlap.
template <class Visit>
void for_each_voted(std::span<const MaskRange> ranges, std::size_t length, Visit&& visit) {
    std::uint64_t at = 0;
    for (const MaskRange& range : ranges) {
        if (range.offset >= length) break;
        if (range.offset > at && !visit(at, range.offset - at)) return;
        at = std::max(at, end_of(range));
    }
    if (at < length) visit(at, length - at);
}

bool mask_same(std::span<const MaskRange> ranges, Bytes a, Bytes b) {
    if (a.size() != b.size()) return false;
    bool same = true;
    for_each_voted(ranges, a.size(), [&](std::size_t offset, std::size_t length) {
        same = std::memcmp(a.data() + offset, b.data() + offset, length) == 0;
        return same;
    });
    return same;
}

// The digest of a reply with its ranges zeroed. What exceeds a datagram's greatest length is left
// out, which no caller can notice: such a reply can not arrive.
Digest mask_digest(std::span<const MaskRange> ranges, Bytes reply, DigestKey key,
                   MutableBytes scratch) {
    const MutableBytes masked = scratch.first(std::min(reply.size(), scratch.size()));
    if (!masked.empty()) std::memcpy(masked.data(), reply.data(), masked.size());
    for (const MaskRange& range : ranges) {
        const Clipped part = clip(range, masked.size());
        std::fill_n(masked.begin() + static_cast<std::ptrdiff_t>(part.offset), part.length,
                    std::byte{0});
    }
    return digest_of(masked, key);
}

// The bytes that at least `quorum` of the replies have in this range; empty where there are none.
Bytes agreed_bytes(const Clipped& part, std::span<const Bytes> agreeing, unsigned quorum) {
    for (const Bytes candidate : agreeing) {
        const Bytes bytes = part.of(candidate);
        const auto holders = std::ranges::count_if(
            agreeing, [&](Bytes other) { return equal(part.of(other), bytes); });
        if (holders >= static_cast<std::ptrdiff_t>(quorum)) return bytes;
    }
    return {};
}

std::size_t mask_compose(std::span<const MaskRange> ranges, std::span<const Bytes> agreeing,
                         unsigned quorum, MutableBytes out) {
    const Bytes base = agreeing.front();
    // Replies that compare `same` have one length; checked because what follows relies on it.
    for (const Bytes reply : agreeing) {
        if (reply.size() != base.size()) return 0;
    }
    if (base.empty() || base.size() > out.size()) return 0;
    std::memcpy(out.data(), base.data(), base.size());
    for (const MaskRange& range : ranges) {
        const Clipped part = clip(range, base.size());
        const Bytes taken =
            range.on == MaskRange::On::taken ? agreed_bytes(part, agreeing, quorum) : Bytes{};
        const MutableBytes to = out.subspan(part.offset, part.length);
        if (taken.empty()) {
            std::ranges::fill(to, std::byte{0});
        } else {
            std::ranges::copy(taken, to.begin());
        }
    }
    // Where ranges overlap, zero wins.
    for (const MaskRange& range : ranges) {
        if (range.on != MaskRange::On::zero) continue;
        const Clipped part = clip(range, base.size());
        std::ranges::fill(out.subspan(part.offset, part.length), std::byte{0});
    }
    return base.size();
}

// Characters into a caller's buffer; what does not fit is cut off.
class Text {
  public:
    explicit Text(std::span<char> out) : out_(out) {}
    Text& operator<<(std::string_view text) {
        const std::size_t length = std::min(text.size(), out_.size() - length_);
        std::copy_n(text.data(), length, out_.data() + length_);
        length_ += length;
        return *this;
    }
    Text& operator<<(std::size_t number) {
        std::array<char, 20> digits;
        const char* end = std::to_chars(digits.begin(), digits.end(), number).ptr;
        return *this << std::string_view(digits.data(), end);
    }
    std::size_t length() const { return length_; }

  private:
    std::span<char> out_;
    std::size_t length_ = 0;
};

std::size_t describe_bytes(std::span<const MaskRange> ranges, Bytes a, Bytes b,
                           std::span<char> out) {
    Text text(out);
    for_each_voted(
        ranges, std::min(a.size(), b.size()), [&](std::size_t offset, std::size_t length) {
            const auto [at, other] =
                std::ranges::mismatch(a.subspan(offset, length), b.subspan(offset, length));
            if (at == a.begin() + static_cast<std::ptrdiff_t>(offset + length)) {
                return true;
            }
            text << "byte " << static_cast<std::size_t>(at - a.begin());
            return false;
        });
    if (a.size() != b.size()) {
        if (text.length() > 0) text << ", ";
        text << "length " << a.size() << " against " << b.size();
    }
    return text.length();
}

}  // namespace

Comparator::Comparator(std::span<const MaskRange> ranges) : kind_(ComparatorKind::mask) {
    const std::size_t count = std::min<std::size_t>(ranges.size(), mask_ranges_max);
    std::copy_n(ranges.begin(), count, ranges_.begin());
    ranges_count_ = static_cast<std::uint8_t>(count);
    std::ranges::sort(std::span(ranges_).first(count), {}, &MaskRange::offset);
}

Likeness Comparator::compare(Bytes a, Bytes b, Workspace& workspace) const {
    if (equal(a, b)) return Likeness::identical;
    switch (kind_) {
        case ComparatorKind::bytes:
            return Likeness::different;
        case ComparatorKind::dns:
            return dns::compare(a, b, workspace.dns);
        case ComparatorKind::mask:
            return mask_same(ranges(), a, b) ? Likeness::same : Likeness::different;
    }
    return Likeness::different;
}

Digest Comparator::canonical_digest(Bytes reply, const Digest& of_bytes, DigestKey key,
                                    Workspace& workspace) const {
    switch (kind_) {
        case ComparatorKind::bytes:
            return of_bytes;
        case ComparatorKind::dns:
            return dns::canonical_digest(reply, key, workspace.dns);
        case ComparatorKind::mask:
            return mask_digest(ranges(), reply, key, workspace.masked);
    }
    return of_bytes;
}

Fingerprint Comparator::fingerprint(Bytes reply, DigestKey key, Workspace& workspace) const {
    const Digest bytes = digest_of(reply, key);
    return {bytes, canonical_digest(reply, bytes, key, workspace)};
}

Likeness Comparator::compare(const Fingerprint& winner, Bytes late, DigestKey key,
                             Workspace& workspace) const {
    const Digest bytes = digest_of(late, key);
    if (bytes == winner.bytes) return Likeness::identical;
    if (kind_ == ComparatorKind::bytes) return Likeness::different;
    return canonical_digest(late, bytes, key, workspace) == winner.canonical ? Likeness::same
                                                                             : Likeness::different;
}

std::size_t Comparator::compose(Bytes request, std::span<const Bytes> agreeing, unsigned quorum,
                                MutableBytes out, Workspace& workspace) const {
    if (agreeing.empty() || agreeing.size() < quorum) return 0;
    switch (kind_) {
        case ComparatorKind::bytes:
            return mask_compose({}, agreeing, quorum, out);
        case ComparatorKind::dns:
            return dns::compose(request, agreeing, quorum, out, workspace.dns);
        case ComparatorKind::mask:
            return mask_compose(ranges(), agreeing, quorum, out);
    }
    return 0;
}

std::size_t Comparator::describe_difference(Bytes a, Bytes b, std::span<char> out,
                                            Workspace& workspace) const {
    if (kind_ == ComparatorKind::dns) return dns::describe_difference(a, b, out, workspace.dns);
    return describe_bytes(ranges(), a, b, out);
}

}  // namespace voter
