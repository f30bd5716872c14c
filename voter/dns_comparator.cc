#include "voter/dns_comparator.hh"

#include <algorithm>
#include <utility>

#include "voter/dns_text.hh"

namespace voter::dns {
namespace {

// Digests of bytes and of canonical forms never meet: a message that is not DNS must not be able to
// pass for the form of one that is.
constexpr std::uint64_t not_dns = 0x6e6f7420444e5321;

std::string_view name_of(Voted voted) { return voted == Voted::authority ? "authority" : "answer"; }

// The first record in which two sorted forms part, counted from 1.
void describe_records(const Form& a, const Form& b, Text& text) {
    std::size_t i = 0;
    while (i < a.size() && i < b.size() && equal(a.record(i), b.record(i))) ++i;
    // Of two that differ, the lower one is what the other reply lacks.
    const bool from_a = i < a.size() && (i == b.size() || before(a.record(i), b.record(i)));
    const CanonicalRecord record = open_canonical((from_a ? a : b).record(i));
    text.add("DNS ").add(name_of((from_a ? a : b).voted())).add(", record ").add(i + 1);
    text.add(" (").add_name(record.owner()).add(" ").add_type(record.type()).add(")");
}

void describe_bytes(Bytes a, Bytes b, Text& text) {
    const std::size_t shared = std::min(a.size(), b.size());
    std::size_t i = 0;
    while (i < shared && a[i] == b[i]) ++i;
    text.add("byte ").add(i);
}

}  // namespace

Likeness compare(Bytes a, Bytes b, DnsScratch& scratch) {
    if (equal(a, b)) return Likeness::identical;
    // The shorter one first, the other one no further than that: a liar's reply that unpacks to
    // much costs no more than the honest one it is compared with.
    Form& left = scratch.left;
    Form& right = scratch.right;
    if (a.size() > b.size()) std::swap(a, b);
    if (!left.assign(a)) return Likeness::different;
    if (!right.assign(b, std::min(left.length(), canonical_len_max(b.size())))) {
        return Likeness::different;
    }
    if (left.equals_unsorted(right)) return Likeness::same;
    if (!left.equals_but_records(right)) return Likeness::different;
    left.sort();
    right.sort();
    return left.equals(right) ? Likeness::same : Likeness::different;
}

Digest canonical_digest(Bytes reply, DigestKey key, DnsScratch& scratch) {
    if (!scratch.left.assign(reply)) return digest_of(reply, DigestKey{key.seed ^ not_dns});
    scratch.left.sort();
    return digest_of(scratch.left.contents(scratch.right), key);
}

std::size_t describe_difference(Bytes a, Bytes b, std::span<char> out, DnsScratch& scratch) {
    Text text(out);
    Form& left = scratch.left;
    Form& right = scratch.right;
    if (equal(a, b)) return 0;
    if (!left.assign(a) || !right.assign(b)) {
        describe_bytes(a, b, text);
        return text.size();
    }
    left.sort_by_name();
    right.sort_by_name();
    const unsigned flags = left.flags() ^ right.flags();
    if (left.id() != right.id()) {
        text.add("DNS id");
    } else if (flags & mask_rcode || left.rcode_high() != right.rcode_high()) {
        text.add("DNS rcode");
    } else if (flags != 0) {
        text.add("DNS flags");
    } else if (!equal(left.question(), right.question())) {
        text.add("DNS question");
    } else if (left.voted() != right.voted()) {
        text.add("DNS answer, empty in one of them");
    } else if (!left.equals(right)) {
        describe_records(left, right, text);
    } else {
        text.add("nothing that is voted, ");
        describe_bytes(a, b, text);
    }
    return text.size();
}

}  // namespace voter::dns
