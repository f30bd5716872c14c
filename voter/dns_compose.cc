// What leaves when replies agree but are not the same bytes: the voted sections, written anew.
//
// Records leave in an order that depends on nothing but their content: along the chain of aliases
// from the question's name, since some clients read answers that way, then the rest; sorted within.
#include <algorithm>

#include "voter/dns_comparator.hh"

namespace voter::dns {
namespace {

constexpr unsigned chain_len_max = 64;

// Kinds of record that speak about the message, not about names: never taken over.
bool meta(std::uint16_t type) {
    constexpr std::uint16_t type_sig = 24;  // SIG(0), RFC 2931
    constexpr std::uint16_t type_tkey = 249;
    constexpr std::uint16_t type_tsig = 250;
    return type == type_opt || type == type_sig || type == type_tkey || type == type_tsig;
}

// Puts the records of a sorted form into the order in which they leave.
class Ordering {
  public:
    Ordering(const Form& form, DnsScratch& scratch)
        : form_(form), order_(scratch.order), taken_(scratch.taken) {
        std::ranges::fill(taken_.first(form.size()), false);
    }

    void run() {
        follow();
        // What the chain did not reach keeps its place among the others.
        for (std::size_t i = 0; i < form_.size(); ++i) {
            if (!taken_[i]) push(i);
        }
    }

  private:
    void follow() {
        if (form_.question().empty()) return;
        std::array<std::byte, name_len_max> asked;
        const std::size_t asked_len = read_name(form_.question(), 0, asked);
        Bytes name = Bytes(asked).first(asked_len);
        for (unsigned step = 0; step < chain_len_max && !name.empty(); ++step) {
            take_dnames_above(name);
            name = take(name);
        }
    }

    // Takes the records that `owner` owns; returns what it is an alias of, or nothing.
    Bytes take(Bytes owner) {
        Bytes alias;
        for (std::size_t i = first_of(owner); i < form_.size(); ++i) {
            const CanonicalRecord record = open_canonical(form_.record(i));
            if (!equal(record.owner(), owner) || taken_[i]) break;
            if (record.type() == type_cname) alias = record.rdata();
            push(i);
        }
        return alias;
    }

    void take_dnames_above(Bytes name) {
        while (load_u8(&name[0]) != 0) {
            name = name.subspan(1u + load_u8(&name[0]));
            const std::size_t i = first_of(name);
            if (i == form_.size() || taken_[i]) continue;
            const CanonicalRecord record = open_canonical(form_.record(i));
            if (equal(record.owner(), name) && record.type() == type_dname) take(name);
        }
    }

    std::size_t first_of(Bytes owner) const {
        std::size_t low = 0;
        std::size_t high = form_.size();
        while (low < high) {
            const std::size_t middle = (low + high) / 2;
            if (before(form_.record(middle), owner)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low;
    }

    void push(std::size_t i) {
        taken_[i] = true;
        order_[count_++] = static_cast<std::uint16_t>(i);
    }

    const Form& form_;
    std::span<std::uint16_t> order_;
    std::span<bool> taken_;
    std::size_t count_ = 0;
};

// Collects the additional records of one reply, each once.
std::size_t gather(const Message& message, std::uint16_t reply, std::size_t count,
                   std::size_t& length, DnsScratch& scratch) {
    if (message.count(Section::additional) == (message.opt ? 1 : 0)) return count;
    message.for_each(Section::additional, [&](const Record& record) {
        if (meta(record.type)) return true;
        if (count == scratch.candidates.size()) return false;
        const std::size_t written = write_canonical(
            message.bytes, record, MutableBytes(scratch.additional).subspan(length));
        if (written == 0) return false;
        scratch.candidates[count++] = {static_cast<std::uint32_t>(length),
                                       static_cast<std::uint16_t>(written), reply};
        length += written;
        return true;
    });
    return count;
}

// Leaves in `scratch.candidates` the additional records that `quorum` of the replies have, each
// once and sorted; returns how many.
std::size_t agree_on_additional(std::span<const Message> replies, unsigned quorum,
                                DnsScratch& scratch) {
    std::size_t count = 0;
    std::size_t length = 0;
    for (std::size_t i = 0; i < replies.size(); ++i) {
        count = gather(replies[i], static_cast<std::uint16_t>(i), count, length, scratch);
    }
    const auto bytes_of = [&](const DnsScratch::Candidate& candidate) {
        return Bytes(scratch.additional).subspan(candidate.offset, candidate.length);
    };
    const auto candidates = std::span(scratch.candidates).first(count);
    std::ranges::sort(candidates, [&](const auto& a, const auto& b) {
        if (!equal(bytes_of(a), bytes_of(b))) return before(bytes_of(a), bytes_of(b));
        return a.reply < b.reply;
    });
    std::size_t kept = 0;
    for (std::size_t i = 0; i < count;) {
        const DnsScratch::Candidate first = candidates[i];
        unsigned senders = 0;
        std::uint32_t last = UINT32_MAX;  // one reply may say a record twice
        for (; i < count && equal(bytes_of(candidates[i]), bytes_of(first)); ++i) {
            if (candidates[i].reply != last) ++senders;
            last = candidates[i].reply;
        }
        if (senders >= quorum) candidates[kept++] = first;
    }
    return kept;
}

// Writes additional records in whole sets, as many as fit. Returns how many records were written.
std::size_t write_additional(Writer& writer, std::size_t count, const DnsScratch& scratch) {
    const auto record_of = [&](std::size_t i) {
        const DnsScratch::Candidate& candidate = scratch.candidates[i];
        return open_canonical(
            Bytes(scratch.additional).subspan(candidate.offset, candidate.length));
    };
    std::size_t written = 0;
    while (written < count) {
        const std::size_t mark = writer.position();
        const Bytes set = record_of(written).set();
        std::size_t end = written;
        for (; end < count && equal(record_of(end).set(), set); ++end) {
            writer.record(record_of(end).bytes);
        }
        if (!writer.fits()) {
            writer.rewind(mark);
            break;
        }
        written = end;
    }
    return written;
}

// A reply that only sends to somebody else: its glue belongs to it (RFC 9471 section 3.1).
bool refers(const Form& form) {
    if (form.voted() != Voted::authority || form.flags() & flag_authoritative) return false;
    for (std::size_t i = 0; i < form.size(); ++i) {
        if (open_canonical(form.record(i)).type() == type_ns) return true;
    }
    return false;
}

std::uint16_t narrow(std::size_t count) { return static_cast<std::uint16_t>(count); }

}  // namespace

std::size_t compose(Bytes request, std::span<const Bytes> agreeing, unsigned quorum,
                    MutableBytes out, DnsScratch& scratch) {
    Form& form = scratch.left;
    std::array<Message, replicas_max> replies;
    if (agreeing.empty() || agreeing.size() > replies.size()) return 0;
    for (std::size_t i = 0; i < agreeing.size(); ++i) {
        const std::optional<Message> reply = read_message(agreeing[i]);
        if (!reply) return 0;
        replies[i] = *reply;
    }
    if (!form.assign(agreeing.front())) return 0;
    form.sort_by_name();
    // A request that does not parse (the servers said FORMERR) is held to the least it can be.
    const Message asked = read_message(request).value_or(Message{});
    const bool with_opt = asked.opt.has_value();
    if (!with_opt && form.rcode_high() != 0) return 0;

    const std::size_t limit = udp_payload_of(asked);
    const std::size_t reserved = with_opt ? opt_len : 0;
    const std::uint16_t flags = form.flags() | (asked.header.flags & flag_checking_disabled);
    const std::uint16_t questions = form.question().empty() ? 0 : 1;
    Writer writer(out, scratch.names);
    writer.limit(std::min(limit, out.size()) - std::min(reserved, out.size()));
    writer.header(form.id(), flags, questions);
    writer.question(form.question());
    const std::size_t bare = writer.position();
    if (!writer.fits()) return 0;

    Ordering(form, scratch).run();
    for (std::size_t i = 0; i < form.size() && writer.fits(); ++i) {
        writer.record(form.record(scratch.order[i]));
    }
    bool whole = writer.fits();
    std::size_t additional = 0;
    if (whole && !(form.flags() & flag_truncated)) {
        const std::size_t agreed =
            agree_on_additional(std::span(replies).first(agreeing.size()), quorum, scratch);
        additional = write_additional(writer, agreed, scratch);
        whole = additional == agreed || !refers(form);
    }
    std::size_t records = form.size();
    if (!whole) {
        writer.rewind(0);
        writer.header(form.id(), flags | flag_truncated, questions);
        writer.rewind(bare);
        records = additional = 0;
    }
    writer.limit(limit);
    if (with_opt) writer.opt(form.rcode_high(), dnssec_ok(asked));
    writer.counts(form.voted() == Voted::answer ? narrow(records) : std::uint16_t{0},
                  form.voted() == Voted::authority ? narrow(records) : std::uint16_t{0},
                  narrow(additional + (with_opt ? 1 : 0)));
    return writer.position();
}

}  // namespace voter::dns
