#include "voter/dns_canonical.hh"

#include <algorithm>
#include <cstring>

namespace voter::dns {
namespace {

constexpr std::size_t fixed_len = 10;  // type, class, TTL, length
std::uint64_t load_u64(const std::byte* at) {
    std::uint64_t value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

// For a quick order only: who makes keys meet gains comparisons, nothing else. A record has eleven
// octets or more.
std::uint64_t key_of(Bytes record) {
    const std::byte* const last = record.data() + record.size() - 8;
    std::uint64_t key = load_u64(last);
    for (const std::byte* at = record.data(); at < last; at += 8) {
        key = (key ^ load_u64(at)) * 0x9e3779b97f4a7c15;
        key ^= key >> 32;
    }
    return key;
}

constexpr std::uint16_t flags_voted = 0xffff & ~flag_checking_disabled;

// Unpacks the data of a record that has names in it. Returns the octets written; 0: malformed or
// too long.
std::size_t write_named_rdata(Bytes message, const Record& record, RdataShape shape,
                              MutableBytes out) {
    // Names may point out of the data, but their own octets must lie within it.
    const Bytes bounded = message.first(record.end());
    std::size_t at = record.rdata + shape.fixed;
    for (unsigned left = shape.strings; left != 0; --left) {
        if (at >= record.end()) return 0;
        at += 1u + load_u8(&message[at]);
    }
    if (at > record.end()) return 0;
    std::size_t written = at - record.rdata;
    if (written > out.size()) return 0;
    std::memcpy(out.data(), &message[record.rdata], written);
    for (unsigned left = shape.names; left != 0; --left) {
        const std::size_t length = read_name(bounded, at, out.subspan(written));
        if (length == 0) return 0;
        written += length;
        at = skip_name(bounded, at);
    }
    const std::size_t rest = record.end() - at;
    if (rest > out.size() - written) return 0;
    if (rest != 0) std::memcpy(&out[written], &message[at], rest);
    return written + rest;
}

}  // namespace

RdataShape rdata_shape(std::uint16_t type) {
    switch (type) {
        case 2:   // NS
        case 3:   // MD
        case 4:   // MF
        case 5:   // CNAME
        case 7:   // MB
        case 8:   // MG
        case 9:   // MR
        case 12:  // PTR
            return {0, 0, 1, true};
        case 6:   // SOA
        case 14:  // MINFO
            return {0, 0, 2, true};
        case 15:  // MX
            return {2, 0, 1, true};
        case 30:  // NXT
        case 39:  // DNAME
            return {0, 0, 1, false};
        case 17:  // RP
            return {0, 0, 2, false};
        case 18:  // AFSDB
        case 21:  // RT
        case 36:  // KX
            return {2, 0, 1, false};
        case 26:  // PX
            return {2, 0, 2, false};
        case 33:  // SRV
            return {6, 0, 1, false};
        case 35:  // NAPTR
            return {4, 3, 1, false};
        case 24:  // SIG
        case 46:  // RRSIG
            return {18, 0, 1, false};
        default:
            return {};
    }
}

std::size_t write_canonical(Bytes message, const Record& record, MutableBytes out) {
    const std::size_t owner = read_name(message, record.owner, out);
    if (owner == 0) return 0;
    const std::size_t rest = write_canonical_rest(message, record, out.subspan(owner));
    return rest == 0 ? 0 : owner + rest;
}

std::size_t write_canonical_rest(Bytes message, const Record& record, MutableBytes out) {
    if (out.size() < fixed_len) return 0;
    const MutableBytes data = out.subspan(fixed_len);
    const RdataShape shape = rdata_shape(record.type);
    std::size_t length = record.rdata_len;
    if (shape.names != 0) {
        length = write_named_rdata(message, record, shape, data);
        if (length == 0 || length > 0xffff) return 0;
    } else {
        if (length > data.size()) return 0;
        if (length != 0) std::memcpy(data.data(), &message[record.rdata], length);
    }
    store_u16(&out[0], record.type);
    store_u16(&out[2], record.klass);
    store_u32(&out[4], record.ttl);
    store_u16(&out[8], static_cast<std::uint16_t>(length));
    return fixed_len + length;
}

CanonicalRecord open_canonical(Bytes record) { return {record, skip_name(record, 0)}; }

bool Form::assign(Bytes reply, std::size_t length_max) {
    // The head is small: a name, at most.
    const MutableBytes room = MutableBytes(bytes_).first(
        std::clamp(length_max, head_len + name_len_max + 4, bytes_.size()));
    std::optional<Message> message = read_head(reply);
    if (!message) return false;
    const Header& header = message->header;
    Voted voted = Voted::none;
    if (!(header.flags & flag_truncated)) {
        if (message->count(Section::answer) != 0) {
            voted = Voted::answer;
        } else if (message->count(Section::authority) != 0) {
            voted = Voted::authority;
        }
    }
    const Section section = voted == Voted::authority ? Section::authority : Section::answer;
    question_len_ = static_cast<std::uint32_t>(message->question_len());
    length_ = static_cast<std::uint32_t>(head_len + question_len_);
    count_ = 0;
    moved_ = false;
    Seen seen;
    const bool sound = read_records(*message, [&](Section where, const Record& record) {
        return voted == Voted::none || where != section ||
               append(reply, record, seen, room.subspan(length_));
    });
    if (!sound) return false;
    store_u16(&bytes_[0], header.id);
    store_u16(&bytes_[2], header.flags & flags_voted);
    bytes_[4] = std::byte{message->opt ? message->opt->rcode_high() : std::uint8_t{0}};
    bytes_[5] = static_cast<std::byte>(voted);
    store_u16(&bytes_[6], static_cast<std::uint16_t>(count_));
    store_u16(&bytes_[8], static_cast<std::uint16_t>(question_len_));
    if (question_len_ != 0) std::memcpy(&bytes_[head_len], &reply[header_len], question_len_);
    return true;
}

bool Form::append(Bytes reply, const Record& record, Seen& seen, MutableBytes out) {
    const std::uint16_t owner = load_u16(&reply[record.owner]);
    std::size_t written = 0;
    if (seen.length != 0 && owner == seen.pointer && out.size() >= seen.length) {
        std::memcpy(out.data(), &bytes_[seen.offset], seen.length);
        written = seen.length;
    } else {
        written = read_name(reply, record.owner, out);
        if (written == 0) return false;
        if (owner >= 0xc000) seen = {owner, length_, static_cast<std::uint32_t>(written)};
    }
    const std::size_t rest = write_canonical_rest(reply, record, out.subspan(written));
    if (rest == 0) return false;
    entries_[count_++] = {0, length_, static_cast<std::uint32_t>(written + rest)};
    length_ += static_cast<std::uint32_t>(written + rest);
    return true;
}

void Form::sort_if_needed(auto&& ordered) {
    const std::span<Entry> entries = std::span(entries_).first(count_);
    if (std::ranges::is_sorted(entries, ordered)) return;
    moved_ = true;
    std::ranges::sort(entries, ordered);
}

void Form::sort() {
    if (count_ < 2) return;
    for (Entry& entry : std::span(entries_).first(count_)) entry.key = key_of(bytes_of(entry));
    sort_if_needed([this](const Entry& a, const Entry& b) {
        return a.key != b.key ? a.key < b.key : before(bytes_of(a), bytes_of(b));
    });
}

void Form::sort_by_name() {
    sort_if_needed(
        [this](const Entry& a, const Entry& b) { return before(bytes_of(a), bytes_of(b)); });
}

bool Form::equals_unsorted(const Form& other) const {
    return length_ == other.length_ &&
           std::memcmp(bytes_.data(), other.bytes_.data(), length_) == 0;
}

bool Form::equals_but_records(const Form& other) const {
    const std::size_t head = head_len + question_len_;
    return length_ == other.length_ && question_len_ == other.question_len_ &&
           std::memcmp(bytes_.data(), other.bytes_.data(), head) == 0;
}

bool Form::equals(const Form& other) const {
    // The head holds the count of the records, so both have as many.
    if (!equals_but_records(other)) return false;
    for (std::size_t i = 0; i < count_; ++i) {
        if (!equal(record(i), other.record(i))) return false;
    }
    return true;
}

Bytes Form::contents(Form& spare) const {
    if (!moved_) return Bytes(bytes_).first(length_);
    std::size_t at = head_len + question_len_;
    std::memcpy(spare.bytes_.data(), bytes_.data(), at);
    for (std::size_t i = 0; i < count_; ++i) {
        const Bytes next = record(i);
        std::memcpy(&spare.bytes_[at], next.data(), next.size());
        at += next.size();
    }
    return Bytes(spare.bytes_).first(length_);
}

bool before(Bytes a, Bytes b) {
    const std::size_t shared = std::min(a.size(), b.size());
    const int order = shared == 0 ? 0 : std::memcmp(a.data(), b.data(), shared);
    return order != 0 ? order < 0 : a.size() < b.size();
}

bool equal(Bytes a, Bytes b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

}  // namespace voter::dns
