// The bounded reader: what it finds lies within the message, names are bounded, and a buffer of any
// size is never overrun (each is a heap block of just that size).
#include <vector>

#include "tests/fuzz/voter/dns_input.hh"
#include "voter/dns_canonical.hh"
#include "voter/dns_message.hh"
#include "voter/dns_text.hh"

using namespace voter::dns;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    DnsInput input(data, size);
    const std::size_t room = input.octet() * 4u;
    const voter::Bytes cut = input.message();
    const std::vector<std::byte> bytes(cut.begin(), cut.end());
    const auto message = read_message(bytes);
    if (!message) return 0;
    std::size_t records = 0;
    std::size_t end = header_len + message->question_len();
    for (const Section section : {Section::answer, Section::authority, Section::additional}) {
        REQUIRE(message->sections[static_cast<unsigned>(section)] == end);
        message->for_each(section, [&](const Record& record) {
            ++records;
            REQUIRE(record.owner == end && record.rdata > record.owner);
            end = record.end();
            std::vector<std::byte> out(room);
            const std::size_t written = write_canonical(bytes, record, out);
            REQUIRE(written <= out.size());
            if (written == 0) return true;
            const CanonicalRecord opened = open_canonical(voter::Bytes(out).first(written));
            REQUIRE(opened.owner_len > 0 && opened.owner_len <= name_len_max);
            REQUIRE(opened.type() == record.type);
            std::vector<char> text(room / 8);
            const Text told = Text(text).add_name(opened.owner()).add_type(opened.type());
            REQUIRE(told.size() <= text.size());
            for (std::size_t i = 0; i < told.size(); ++i) REQUIRE(text[i] > ' ' && text[i] <= '~');
            // Canonical is canonical: once more changes nothing.
            std::vector<std::byte> again(written);
            const auto alone = read_record(opened.bytes, 0);
            REQUIRE(alone && alone->end() == written);
            REQUIRE(write_canonical(opened.bytes, *alone, again) == written);
            REQUIRE(equal(opened.bytes, again));
            return true;
        });
    }
    REQUIRE(end == bytes.size());
    REQUIRE(records <= records_max);
    return 0;
}
