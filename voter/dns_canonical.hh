// The canonical form of a reply: the parts that are voted, written so that equal content is equal
// bytes. Names are unpacked and lower-cased, owners and names in record data alike; records can be
// sorted. What RFC 4034 section 6.2 does for signatures, done for votes.
//
// Voted are id, flags, the extended rcode, the question as sent, and the answer section; where that
// is empty the authority section in its place; where TC is set neither, since clients must not use
// a truncated reply's records and servers cut them off at different places.
//
// Why names in record data lose their case too: nsd and knot lower-case them, named keeps them.
// Why the flag CD is left out: named repeats the request's, nsd and knot clear it; a composed reply
// repeats it (RFC 4035 section 3.1.6).
//
// Known limit: a message may unpack to canonical_len_max(its length) octets. One that unpacks to
// more is treated as not DNS, as is one with a malformed name where a name must be.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "voter/dns_message.hh"
#include "voter/types.hh"

namespace voter::dns {

// A set of addresses, 16 octets each when compressed, may so have an owner of a hundred octets. A
// liar's 14 octets can unpack to 520, and its cost must stay near that of an honest reply.
constexpr std::size_t form_len_max = 4 * (message_len_max + 1);
constexpr std::size_t canonical_len_max(std::size_t message_len) {
    return std::min(form_len_max, 2048 + 8 * message_len);
}

// How the data of a type begins, where it has names that may be compressed (RFC 1035, RFC 3597
// section 4) or that have no case (RFC 4034 section 6.2, without NSEC by RFC 6840 section 5.1).
struct RdataShape {
    std::uint8_t fixed = 0;     // octets before the names
    std::uint8_t strings = 0;   // then so many character strings
    std::uint8_t names = 0;     // then so many names; whatever follows is opaque
    bool compressible = false;  // may be written compressed (RFC 3597 section 4: RFC 1035's)
};
RdataShape rdata_shape(std::uint16_t type);

// Writes the record in canonical form: owner, type, class, TTL, length, data. Returns the octets
// written; 0: malformed, or too long for `out`.
std::size_t write_canonical(Bytes message, const Record& record, MutableBytes out);
// The same behind an owner that has been written.
std::size_t write_canonical_rest(Bytes message, const Record& record, MutableBytes out);

// Where the parts of a record in canonical form are.
struct CanonicalRecord {
    Bytes bytes;
    std::size_t owner_len = 0;

    Bytes owner() const { return bytes.first(owner_len); }
    std::uint16_t type() const { return load_u16(&bytes[owner_len]); }
    Bytes rdata() const { return bytes.subspan(owner_len + 10); }
    // Owner, type and class: what the records of one set have in common.
    Bytes set() const { return bytes.first(owner_len + 4); }
};
CanonicalRecord open_canonical(Bytes record);

enum class Voted : std::uint8_t { none, answer, authority };

// Uninitialised until assign() has returned true.
class Form {
  public:
    // False: not DNS, or longer than `length_max` octets when unpacked.
    bool assign(Bytes reply) { return assign(reply, canonical_len_max(reply.size())); }
    bool assign(Bytes reply, std::size_t length_max);
    std::size_t length() const { return length_; }
    // Puts the records into an order that is their content's, quickly; or into octet order, by
    // owner, type and class first.
    void sort();
    void sort_by_name();

    // Before sorting equal forms may look different, never the other way round.
    bool equals_unsorted(const Form& other) const;
    // Id, flags, question, and the count and length of what is voted.
    bool equals_but_records(const Form& other) const;
    // Both sorted, in the same way.
    bool equals(const Form& other) const;
    // All of it in one piece, in the order of sort(); in `spare` where sorting moved records.
    Bytes contents(Form& spare) const;

    std::uint16_t id() const { return load_u16(&bytes_[0]); }
    // Without CD.
    std::uint16_t flags() const { return load_u16(&bytes_[2]); }
    std::uint8_t rcode_high() const { return load_u8(&bytes_[4]); }
    Voted voted() const { return static_cast<Voted>(load_u8(&bytes_[5])); }
    // The question section as sent; empty where the reply has none.
    Bytes question() const { return Bytes(bytes_).subspan(head_len, question_len_); }
    std::size_t size() const { return count_; }
    Bytes record(std::size_t index) const { return bytes_of(entries_[index]); }

  private:
    static constexpr std::size_t head_len = 10;

    struct Entry {
        std::uint64_t key;  // of the content; equal records have equal keys
        std::uint32_t offset;
        std::uint32_t length;
    };

    // A pointer seen as an owner, and where the name it stands for has been unpacked: the records
    // of a set mostly repeat it.
    struct Seen {
        std::uint16_t pointer = 0;
        std::uint32_t offset = 0;
        std::uint32_t length = 0;
    };

    bool append(Bytes reply, const Record& record, Seen& seen, MutableBytes out);
    Bytes bytes_of(const Entry& entry) const {
        return Bytes(bytes_).subspan(entry.offset, entry.length);
    }
    void sort_if_needed(auto&& ordered);

    std::uint32_t length_;
    std::uint32_t count_;
    std::uint32_t question_len_;
    bool moved_;  // entries are no longer in the order of the bytes
    std::array<std::byte, form_len_max> bytes_;
    std::array<Entry, records_max> entries_;
};

// Octet order, a shorter one before its continuations.
bool before(Bytes a, Bytes b);
bool equal(Bytes a, Bytes b);

}  // namespace voter::dns
