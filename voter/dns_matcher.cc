#include "voter/dns_matcher.hh"

#include <algorithm>

#include "voter/dns_canonical.hh"
#include "voter/dns_message.hh"
#include "voter/dns_text.hh"

namespace voter::dns {
namespace {

// How a kind is packed: 1 | opcode:4 | class:11 | type:16. Classes from 2046 up share one value.
constexpr std::uint32_t kind_known = 1u << 31;
constexpr unsigned kind_opcode_shift = 27;
constexpr unsigned kind_class_shift = 16;
constexpr std::uint32_t kind_class_max = 0x7ff;
constexpr std::uint32_t kind_unusual = kind_class_max << kind_class_shift;

constexpr std::uint16_t class_in = 1;

std::optional<MatchKey> key_of(Bytes message, bool response) {
    const std::optional<Header> header = read_header(message);
    if (!header || header->response() != response) return std::nullopt;
    return MatchKey{.request = header->id};
}

bool same_question(Bytes a, const Header& a_header, Bytes b, const Header& b_header) {
    const std::optional<Question> a_question = read_question(a, a_header);
    const std::optional<Question> b_question = read_question(b, b_header);
    return a_question && b_question &&
           equal(a.subspan(header_len, a_question->length()),
                 b.subspan(header_len, b_question->length()));
}

// Nothing but a question, and perhaps an OPT.
bool plain(const Message& message) {
    return message.count(Section::answer) == 0 && message.count(Section::authority) == 0 &&
           message.count(Section::additional) == (message.opt ? 1 : 0);
}

}  // namespace

std::optional<MatchKey> request_key(Bytes request) { return key_of(request, false); }

std::optional<MatchKey> reply_key(Bytes reply) { return key_of(reply, true); }

bool answers(Bytes request, Bytes reply) {
    const std::optional<Header> asked = read_header(request);
    const std::optional<Header> answer = read_header(reply);
    if (!asked || !answer || asked->response() || !answer->response()) return false;
    if (asked->id != answer->id || asked->opcode() != answer->opcode()) return false;
    return answer->questions == 0 || same_question(request, *asked, reply, *answer);
}

bool repeats(Bytes request, Bytes again) {
    const std::optional<Header> first = read_header(request);
    const std::optional<Header> second = read_header(again);
    if (!first || !second || first->response() || second->response()) return false;
    if (first->id != second->id || first->opcode() != second->opcode()) return false;
    return same_question(request, *first, again, *second) || equal(request, again);
}

RequestKind kind_of(Bytes request) {
    const std::optional<Header> header = read_header(request);
    const std::uint32_t opcode = header ? std::uint32_t{header->opcode()} << kind_opcode_shift : 0;
    const std::optional<Message> message = read_message(request);
    if (!message || !message->question || (opcode == opcode_query && !plain(*message))) {
        return RequestKind{kind_known | opcode | kind_unusual};
    }
    const Question& question = *message->question;
    const std::uint32_t klass = std::min<std::uint32_t>(question.klass, kind_class_max - 1);
    return RequestKind{kind_known | opcode | klass << kind_class_shift | question.type};
}

std::size_t describe_kind(RequestKind kind, std::span<char> out) {
    Text text(out);
    const std::uint32_t opcode = kind.value >> kind_opcode_shift & 0xf;
    const std::uint32_t klass = kind.value >> kind_class_shift & kind_class_max;
    if (opcode != opcode_query) text.add("opcode ").add(std::size_t{opcode});
    if ((kind.value & kind_unusual) == kind_unusual) {
        text.add(text.size() == 0 ? "unusual" : " unusual");
    } else {
        text.add(text.size() == 0 ? "" : " ").add_type(static_cast<std::uint16_t>(kind.value));
        if (klass != class_in) text.add(" ").add_class(static_cast<std::uint16_t>(klass));
    }
    return text.size();
}

}  // namespace voter::dns
