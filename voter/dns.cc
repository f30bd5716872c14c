#include "voter/dns.hh"

#include "voter/dns_message.hh"
#include "voter/dns_writer.hh"

namespace voter::dns {

// STATUS has never been specified (RFC 1035 section 4.1.1 names it, nothing more), so it is "not
// implemented"; ANY and CHAOS are, and are declined: RFC 1035's "refused for policy reasons".
std::optional<std::uint8_t> refused(Bytes request, const RefuseSet& set) {
    const std::optional<Header> header = read_header(request);
    if (!header || header->response()) return std::nullopt;
    if (set.status && header->opcode() == opcode_status) return rcode_notimp;
    if (set.opcodes && header->opcode() != opcode_query) return rcode_notimp;
    const std::optional<Question> question = read_question(request, *header);
    if (!question) return std::nullopt;
    if (set.any && question->type == type_any) return rcode_refused;
    if (set.chaos && question->klass == class_chaos) return rcode_refused;
    return std::nullopt;
}

std::size_t write_error(Bytes request, std::uint8_t rcode, MutableBytes out) {
    const std::optional<Message> asked = read_message(request);
    if (!asked || asked->header.response()) return 0;
    if (rcode > mask_rcode && !asked->opt) return 0;
    // What a reply repeats of its request: RFC 1035 section 4.1.1, RFC 4035 section 3.2.2 (CD).
    constexpr std::uint16_t repeated =
        mask_opcode | flag_recursion_desired | flag_checking_disabled;
    const auto flags = static_cast<std::uint16_t>((asked->header.flags & repeated) | flag_response |
                                                  (rcode & mask_rcode));
    Writer writer(out);
    writer.header(asked->header.id, flags, asked->header.questions);
    writer.question(request.subspan(header_len, asked->question_len()));
    if (asked->opt) writer.opt(static_cast<std::uint8_t>(rcode >> 4), dnssec_ok(*asked));
    if (!writer.fits()) return 0;
    writer.counts(0, 0, asked->opt ? 1 : 0);
    return writer.position();
}

}  // namespace voter::dns
