// A bounded reader of DNS messages (RFC 1035 section 4): where things are, nothing copied. What it
// accepts is sound in its framing: every count is met, every record lies within the message, and
// nothing follows the last one. Names are only walked over; read_name() checks and unpacks one.
//
// Known limit: at most one question, and at most one OPT record, which is in the additional section
// (RFC 9619 and RFC 6891 section 6.1.1 allow no more). What breaks this is "not DNS" here.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>

#include "voter/types.hh"

namespace voter::dns {

constexpr std::size_t header_len = 12;
constexpr std::size_t message_len_max = 65535;
constexpr std::size_t name_len_max = 255;                  // unpacked, with the root's octet
constexpr std::size_t opt_len = 11;                        // an OPT record without options
constexpr std::size_t records_max = message_len_max / 11;  // a record has 11 octets or more
constexpr unsigned name_labels_max = name_len_max / 2;
// Pointers followed in one name. A name of 34 labels (ip6.arpa) needs at most that many.
constexpr unsigned name_hops_max = 64;
constexpr std::size_t udp_payload_min = 512;      // RFC 1035 section 4.2.1
constexpr std::uint16_t udp_payload_ours = 1232;  // what our OPT advertises

constexpr std::uint16_t flag_response = 0x8000;
constexpr std::uint16_t flag_authoritative = 0x0400;
constexpr std::uint16_t flag_truncated = 0x0200;
constexpr std::uint16_t flag_recursion_desired = 0x0100;
constexpr std::uint16_t flag_checking_disabled = 0x0010;
constexpr std::uint16_t mask_opcode = 0x7800;
constexpr std::uint16_t mask_rcode = 0x000f;
constexpr unsigned shift_opcode = 11;
constexpr std::uint32_t opt_dnssec_ok = 0x8000;  // in the TTL of an OPT record

constexpr std::uint16_t type_ns = 2;
constexpr std::uint16_t type_cname = 5;
constexpr std::uint16_t type_soa = 6;
constexpr std::uint16_t type_dname = 39;
constexpr std::uint16_t type_opt = 41;
constexpr std::uint16_t type_any = 255;
constexpr std::uint16_t class_chaos = 3;
constexpr std::uint8_t opcode_query = 0;
constexpr std::uint8_t opcode_status = 2;

inline std::uint8_t load_u8(const std::byte* at) { return std::to_integer<std::uint8_t>(*at); }
inline std::uint16_t load_u16(const std::byte* at) {
    return static_cast<std::uint16_t>(load_u8(at) << 8 | load_u8(at + 1));
}
inline std::uint32_t load_u32(const std::byte* at) {
    return static_cast<std::uint32_t>(load_u16(at)) << 16 | load_u16(at + 2);
}
inline void store_u16(std::byte* at, std::uint16_t value) {
    at[0] = static_cast<std::byte>(value >> 8);
    at[1] = static_cast<std::byte>(value);
}
inline void store_u32(std::byte* at, std::uint32_t value) {
    store_u16(at, static_cast<std::uint16_t>(value >> 16));
    store_u16(at + 2, static_cast<std::uint16_t>(value));
}

struct Header {
    std::uint16_t id = 0;
    std::uint16_t flags = 0;  // all of the second word: QR, opcode, ..., rcode
    std::uint16_t questions = 0;
    std::array<std::uint16_t, 3> records{};  // by Section

    std::uint8_t opcode() const {
        return static_cast<std::uint8_t>((flags & mask_opcode) >> shift_opcode);
    }
    bool response() const { return flags & flag_response; }
};
enum class Section : std::uint8_t { answer, authority, additional };

// nullopt: shorter than a header.
std::optional<Header> read_header(Bytes message);

struct Question {
    std::size_t name_len = 0;  // at header_len; uncompressed, case as sent
    std::uint16_t type = 0;
    std::uint16_t klass = 0;

    std::size_t length() const { return name_len == 0 ? 0 : name_len + 4; }
};
// The question of a message whose header says it has exactly one. Nothing may stand before it, so
// its name cannot be compressed.
std::optional<Question> read_question(Bytes message, const Header& header);

// Offsets are from the start of the message.
struct Record {
    std::uint32_t owner = 0;
    std::uint32_t rdata = 0;
    std::uint32_t ttl = 0;
    std::uint16_t rdata_len = 0;
    std::uint16_t type = 0;
    std::uint16_t klass = 0;

    std::size_t end() const { return std::size_t{rdata} + rdata_len; }
};

constexpr std::uint8_t pointer_bits = 0xc0;  // RFC 1035 section 4.1.4

// The offset behind the name at `at` as it is written there (a pointer ends it); 0: not a name.
std::size_t skip_labels(Bytes message, std::size_t at);
inline std::size_t skip_name(Bytes message, std::size_t at) {
    // Most names in replies are but a pointer.
    const bool points = at + 2 <= message.size() && load_u8(&message[at]) >= pointer_bits;
    return points ? at + 2 : skip_labels(message, at);
}

// The record at `at`; nullopt where it does not fit into the message.
inline std::optional<Record> read_record(Bytes message, std::size_t at) {
    constexpr std::size_t fixed_len = 10;  // type, class, TTL, length
    const std::size_t name_end = skip_name(message, at);
    if (name_end == 0 || message.size() - name_end < fixed_len) return std::nullopt;
    const std::byte* fixed = &message[name_end];
    Record record;
    record.owner = static_cast<std::uint32_t>(at);
    record.rdata = static_cast<std::uint32_t>(name_end + fixed_len);
    record.type = load_u16(fixed);
    record.klass = load_u16(fixed + 2);
    record.ttl = load_u32(fixed + 4);
    record.rdata_len = load_u16(fixed + 8);
    if (record.end() > message.size()) return std::nullopt;
    return record;
}

// Unpacks the name at `at` into `out`, lower-cased (RFC 4343), pointers followed (each must point
// backwards, behind the header). Returns its length; 0: not a name, longer than `out`, or with
// more than `hops_max` pointers.
std::size_t read_name(Bytes message, std::size_t at, MutableBytes out,
                      unsigned hops_max = name_hops_max);

inline std::byte lower(std::byte octet) {
    const auto value = std::to_integer<unsigned>(octet);
    return static_cast<std::byte>(value + (value - 'A' < 26u ? 32u : 0u));
}

struct Opt {
    std::uint16_t udp_payload = 0;
    std::uint32_t ttl = 0;  // extended rcode, version, flags

    std::uint8_t rcode_high() const { return static_cast<std::uint8_t>(ttl >> 24); }
};

struct Message {
    Bytes bytes;
    Header header;
    std::optional<Question> question;
    std::array<std::uint32_t, 3> sections{};  // where each begins
    std::optional<Opt> opt;

    std::size_t question_len() const { return question ? question->length() : 0; }
    std::uint16_t count(Section section) const {
        return header.records[static_cast<unsigned>(section)];
    }
    // Visits the records of a section in their order; `visit` returns false to stop.
    template <class Visit>
    void for_each(Section section, Visit&& visit) const {
        std::size_t at = sections[static_cast<unsigned>(section)];
        for (unsigned left = count(section); left != 0; --left) {
            const std::optional<Record> record = read_record(bytes, at);
            if (!record || !visit(*record)) return;
            at = record->end();
        }
    }
};
// The first half of reading a message: header and question; its records are not looked at.
// nullopt: not DNS.
std::optional<Message> read_head(Bytes message);
// Notes an OPT record; false where none may be.
bool take_opt(Message& message, Section section, const Record& record);
// The second half: walks over all records and calls `visit(section, record)` for each in its turn,
// which returns false to refuse the message. False: not DNS, or refused.
template <class Visit>
bool read_records(Message& message, Visit&& visit) {
    std::size_t at = header_len + message.question_len();
    for (unsigned section = 0; section < 3; ++section) {
        message.sections[section] = static_cast<std::uint32_t>(at);
        for (unsigned left = message.header.records[section]; left != 0; --left) {
            const std::optional<Record> record = read_record(message.bytes, at);
            if (!record) return false;
            const auto where = static_cast<Section>(section);
            if (record->type == type_opt && !take_opt(message, where, *record)) return false;
            if (!visit(where, *record)) return false;
            at = record->end();
        }
    }
    return at == message.bytes.size();
}
// Both. The result refers to `message`.
std::optional<Message> read_message(Bytes message);

}  // namespace voter::dns
