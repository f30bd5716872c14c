#include "voter/dns_message.hh"

namespace voter::dns {
namespace {

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

std::size_t skip_labels(Bytes message, std::size_t at) {
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
    std::size_t at = header_len;
    while (at < message.size() && load_u8(&message[at]) != 0) {
        if (load_u8(&message[at]) > 63) return std::nullopt;
        at += 1u + load_u8(&message[at]);
    }
    ++at;
    const std::size_t name_len = at - header_len;
    if (name_len > name_len_max || at + question_fixed_len > message.size()) return std::nullopt;
    return Question{name_len, load_u16(&message[at]), load_u16(&message[at + 2])};
}

std::optional<Message> read_head(Bytes bytes) {
    if (bytes.size() > message_len_max) return std::nullopt;
    const std::optional<Header> header = read_header(bytes);
    if (!header) return std::nullopt;
    Message message;
    message.bytes = bytes;
    message.header = *header;
    if (header->questions != 0) {
        message.question = read_question(bytes, *header);
        if (!message.question) return std::nullopt;
    }
    return message;
}

bool take_opt(Message& message, Section section, const Record& record) {
    const bool at_root = load_u8(&message.bytes[record.owner]) == 0;
    if (section != Section::additional || !at_root || message.opt) return false;
    message.opt = Opt{record.klass, record.ttl};
    return true;
}

std::optional<Message> read_message(Bytes bytes) {
    std::optional<Message> message = read_head(bytes);
    if (message && !read_records(*message, [](Section, const Record&) { return true; })) {
        message.reset();
    }
    return message;
}

}  // namespace voter::dns
