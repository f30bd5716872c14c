#include "voter/dns_message.hh"

namespace voter::dns {
namespace {

constexpr std::uint8_t pointer_bits = 0xc0;
constexpr std::size_t record_fixed_len = 10;  // type, class, TTL, length
constexpr std::size_t question_fixed_len = 4;

}  // namespace

std::optional<Header> read_header(Bytes message) {
    if (message.size() < header_len) return std::nullopt;
    const std::byte* at = message.data();
    return Header{load_u16(at),
                  load_u16(at + 2),
                  load_u16(at + 4),
                  {load_u16(at + 6), load_u16(at + 8), load_u16(at + 10)}};
}

std::size_t skip_name(Bytes message, std::size_t at) {
    const std::size_t start = at;
    while (at < message.size()) {
        const std::uint8_t length = load_u8(&message[at]);
        if (length == 0) return at + 1 - start <= name_len_max ? at + 1 : 0;
        if (length >= pointer_bits) return at + 2 <= message.size() ? at + 2 : 0;
        if (length > 63 || at - start > name_len_max) return 0;
        at += 1u + length;
    }
    return 0;
}

std::size_t read_name(Bytes message, std::size_t at, MutableBytes out, unsigned hops_max) {
    std::size_t run = at;  // where the labels being read began: pointers go before it
    std::size_t length = 0;
    unsigned hops = 0;
    const std::size_t room = out.size() < name_len_max ? out.size() : name_len_max;
    while (at < message.size()) {
        const std::uint8_t label = load_u8(&message[at]);
        if (label >= pointer_bits) {
            if (at + 2 > message.size() || ++hops > hops_max) return 0;
            const std::size_t target = load_u16(&message[at]) & 0x3fffu;
            if (target < header_len || target >= run) return 0;
            run = at = target;
            continue;
        }
        const std::size_t step = 1u + label;
        if (label > 63 || length + step > room || at + step > message.size()) return 0;
        out[length] = message[at];
        for (std::size_t i = 1; i < step; ++i) out[length + i] = lower(message[at + i]);
        length += step;
        at += step;
        if (label == 0) return length;
    }
    return 0;
}

std::optional<Question> read_question(Bytes message, const Header& header) {
    if (header.questions != 1) return std::nullopt;
    const std::size_t end = skip_name(message, header_len);
    if (end == 0 || message.size() - end < question_fixed_len) return std::nullopt;
    Question question;
    question.name_len = end - header_len;
    for (std::size_t at = header_len; at < end; at += 1u + load_u8(&message[at])) {
        if (load_u8(&message[at]) >= pointer_bits) return std::nullopt;
    }
    question.type = load_u16(&message[end]);
    question.klass = load_u16(&message[end + 2]);
    return question;
}

std::optional<Record> read_record(Bytes message, std::size_t at) {
    const std::size_t name_end = skip_name(message, at);
    if (name_end == 0 || message.size() - name_end < record_fixed_len) return std::nullopt;
    const std::byte* fixed = &message[name_end];
    Record record;
    record.owner = static_cast<std::uint32_t>(at);
    record.rdata = static_cast<std::uint32_t>(name_end + record_fixed_len);
    record.type = load_u16(fixed);
    record.klass = load_u16(fixed + 2);
    record.ttl = load_u32(fixed + 4);
    record.rdata_len = load_u16(fixed + 8);
    if (record.end() > message.size()) return std::nullopt;
    return record;
}

std::optional<Message> read_message(Bytes bytes) {
    if (bytes.size() > message_len_max) return std::nullopt;
    const std::optional<Header> header = read_header(bytes);
    if (!header) return std::nullopt;
    Message message;
    message.bytes = bytes;
    message.header = *header;
    std::size_t at = header_len;
    if (header->questions != 0) {
        message.question = read_question(bytes, *header);
        if (!message.question) return std::nullopt;
        at += message.question->length();
    }
    for (unsigned section = 0; section < 3; ++section) {
        message.sections[section] = static_cast<std::uint32_t>(at);
        for (unsigned left = header->records[section]; left != 0; --left) {
            const std::optional<Record> record = read_record(bytes, at);
            if (!record) return std::nullopt;
            if (record->type == type_opt) {
                const bool at_root = load_u8(&bytes[at]) == 0;
                if (section != static_cast<unsigned>(Section::additional) || !at_root ||
                    message.opt) {
                    return std::nullopt;
                }
                message.opt = Opt{record->klass, record->ttl};
            }
            at = record->end();
        }
    }
    if (at != bytes.size()) return std::nullopt;
    return message;
}

}  // namespace voter::dns
