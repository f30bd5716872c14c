// Two replies, and what may leave when they agree. The second one is either as the input has it, or
// made from the first by changing only what is not voted; then they must be the same.
#include <cstring>
#include <vector>

#include "tests/fuzz/voter/dns_input.hh"
#include "voter/comparator.hh"
#include "voter/dns_canonical.hh"
#include "voter/dns_message.hh"
#include "voter/dns_writer.hh"

using namespace voter::dns;
using voter::Bytes;
using voter::Likeness;
using Octets = std::vector<std::byte>;

namespace {

const voter::Comparator comparator(voter::ComparatorKind::dns);
const voter::WorkspacePtr workspace = voter::make_workspace();
const voter::DigestKey key{12345};

void append(Octets& out, Bytes bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

// The voted section, unpacked and turned round; a liar's records everywhere else. Nothing of it is
// written by voter's writer.
Octets disguise(const Message& message, std::uint8_t choice) {
    const bool answers = message.count(Section::answer) != 0;
    const Section voted = answers ? Section::answer : Section::authority;
    std::vector<Octets> records;
    bool sound = true;
    if (!(message.header.flags & flag_truncated)) {
        message.for_each(voted, [&](const Record& record) {
            Octets out(4096 + record.rdata_len);
            out.resize(write_canonical(message.bytes, record, out));
            sound = sound && !out.empty();
            records.push_back(out);
            return sound;
        });
    }
    if (!sound) return {};
    if (choice & 1) std::reverse(records.begin(), records.end());
    Octets out;
    append(out, message.bytes.first(header_len + message.question_len()));
    for (const Octets& record : records) append(out, record);
    constexpr std::byte liar[] = {
        std::byte{4}, std::byte{'e'}, std::byte{'v'}, std::byte{'i'}, std::byte{'l'}, std::byte{0},
        std::byte{0}, std::byte{2},   std::byte{0},   std::byte{1},   std::byte{0},   std::byte{0},
        std::byte{0}, std::byte{9},   std::byte{0},   std::byte{1},   std::byte{0}};
    const bool authority = (choice & 2) && (answers || message.header.flags & flag_truncated);
    const bool additional = choice & 4;
    if (authority) append(out, liar);
    if (additional) append(out, liar);
    if (message.opt) {
        Octets opt(opt_len);
        store_u16(&opt[1], type_opt);
        store_u16(&opt[3], choice);
        store_u32(&opt[5], message.opt->ttl ^ 0x8000);
        append(out, opt);
    }
    const auto count = static_cast<std::uint16_t>(records.size());
    store_u16(&out[6], answers ? count : std::uint16_t{0});
    store_u16(&out[8], static_cast<std::uint16_t>((answers ? 0 : count) + authority));
    store_u16(&out[10], static_cast<std::uint16_t>(additional + (message.opt ? 1 : 0)));
    return out;
}

// Is this record, in canonical form, in the additional section of the reply?
bool has_additional(Bytes reply, Bytes sought) {
    bool found = false;
    read_message(reply)->for_each(Section::additional, [&](const Record& record) {
        Octets out(70000);
        out.resize(write_canonical(reply, record, out));
        found = equal(out, sought);
        return !found;
    });
    return found;
}

void check_composed(Bytes request, Bytes a, Bytes b, std::size_t room) {
    Octets out(room);
    const Bytes agreeing[] = {a, b};
    out.resize(comparator.compose(request, agreeing, 2, out, *workspace));
    Octets turned(room);
    const Bytes other_way[] = {b, a};
    turned.resize(comparator.compose(request, other_way, 2, turned, *workspace));
    REQUIRE(out == turned);
    const auto asked = read_message(request);
    const bool sayable =
        (asked && asked->opt) || !read_message(a)->opt || read_message(a)->opt->rcode_high() == 0;
    REQUIRE(sayable || out.empty());
    REQUIRE(!out.empty() || !sayable || room < 512);
    if (out.empty()) return;

    const auto left = read_message(out);
    REQUIRE(left);
    REQUIRE(out.size() <= udp_payload_of(asked.value_or(Message{})));
    REQUIRE(left->opt.has_value() == (asked && asked->opt));
    if (left->header.flags & flag_truncated) {
        REQUIRE(left->count(Section::answer) + left->count(Section::authority) == 0);
        REQUIRE(left->count(Section::additional) == (left->opt ? 1 : 0));
    } else {
        REQUIRE(comparator.compare(out, a, *workspace) != Likeness::different);
    }
    if (left->count(Section::answer) != 0) REQUIRE(left->count(Section::authority) == 0);
    left->for_each(Section::additional, [&](const Record& record) {
        if (record.type == type_opt) return true;
        Octets canonical(70000);
        canonical.resize(write_canonical(out, record, canonical));
        REQUIRE(!canonical.empty());
        REQUIRE(has_additional(a, canonical) && has_additional(b, canonical));
        return true;
    });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    DnsInput input(data, size);
    const std::uint8_t choice = input.octet();
    const std::size_t room = choice & 64 ? input.octet() * 16u : 65535u;
    const Bytes request = input.message();
    const Bytes a = input.message();
    Octets made;
    Bytes b = input.message();
    const auto message = read_message(a);
    if (choice & 128 && message) {
        made = disguise(*message, choice);
        b = made;
    }
    const Likeness found = comparator.compare(a, b, *workspace);
    REQUIRE(comparator.compare(b, a, *workspace) == found);
    REQUIRE(comparator.compare(a, a, *workspace) == Likeness::identical);
    REQUIRE((found == Likeness::identical) == equal(a, b));
    // Beyond that a reply may unpack to more than is taken for DNS.
    if (!made.empty() && made.size() <= canonical_len_max(0)) {
        REQUIRE(found != Likeness::different);
    }

    const auto left = comparator.fingerprint(a, key, *workspace);
    const auto right = comparator.fingerprint(b, key, *workspace);
    REQUIRE((left.canonical == right.canonical) == (found != Likeness::different));
    REQUIRE(comparator.compare(left, b, key, *workspace) == found);

    char text[64];
    const std::size_t told = comparator.describe_difference(a, b, text, *workspace);
    REQUIRE(told <= sizeof text && (told == 0) == (found == Likeness::identical));
    if (found != Likeness::different && message) check_composed(request, a, b, room);
    return 0;
}
