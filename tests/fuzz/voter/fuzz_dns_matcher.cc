// Keys, answers and repeats of untrusted messages agree with each other; what we write ourselves is
// a reply to the request it was written for.
#include <vector>

#include "tests/fuzz/voter/dns_input.hh"
#include "voter/dns.hh"
#include "voter/dns_matcher.hh"
#include "voter/dns_message.hh"

using namespace voter::dns;
using voter::Bytes;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    DnsInput input(data, size);
    const std::uint8_t rcode = input.octet();
    const std::size_t room = input.octet() * 4u;
    const Bytes cut = input.message();
    const std::vector<std::byte> request(cut.begin(), cut.end());
    const Bytes other = input.message();

    const auto key = request_key(request);
    REQUIRE((key || reply_key(request)) == (request.size() >= header_len));
    REQUIRE(!(key && reply_key(request)));
    REQUIRE(kind_of(request).value != 0);
    char text[40];
    REQUIRE(describe_kind(kind_of(request), text) != 0);

    if (answers(request, other)) {
        REQUIRE(key && reply_key(other) && key->request == reply_key(other)->request);
    }
    REQUIRE(repeats(request, request) == key.has_value());
    REQUIRE(repeats(request, other) == repeats(other, request));
    if (repeats(request, other)) REQUIRE(request_key(other)->request == key->request);

    const auto refusal = refused(request, {true, true, true});
    REQUIRE(!refused(request, {}));
    REQUIRE(!refusal || key);
    std::vector<std::byte> out(room);
    const std::size_t written = write_error(request, refusal.value_or(rcode), out);
    REQUIRE(written <= room);
    if (written == 0) {
        const auto message = read_message(request);
        REQUIRE(!message || !key || room < request.size() + opt_len ||
                (!message->opt && rcode > 15));
        return 0;
    }
    const Bytes reply = Bytes(out).first(written);
    const auto said = read_message(reply);
    REQUIRE(said && answers(request, reply));
    REQUIRE((said->header.flags & mask_rcode) == (refusal.value_or(rcode) & mask_rcode));
    REQUIRE(said->opt.value_or(Opt{}).rcode_high() == refusal.value_or(rcode) >> 4);
    REQUIRE(written <= udp_payload_min);
    return 0;
}
