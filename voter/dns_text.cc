#include "voter/dns_text.hh"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "voter/dns_message.hh"

namespace voter::dns {
namespace {

using Named = std::pair<std::uint16_t, std::string_view>;

constexpr Named type_names[] = {
    {1, "A"},      {2, "NS"},     {5, "CNAME"},   {6, "SOA"},    {12, "PTR"},   {13, "HINFO"},
    {15, "MX"},    {16, "TXT"},   {17, "RP"},     {18, "AFSDB"}, {28, "AAAA"},  {29, "LOC"},
    {33, "SRV"},   {35, "NAPTR"}, {39, "DNAME"},  {41, "OPT"},   {43, "DS"},    {44, "SSHFP"},
    {46, "RRSIG"}, {47, "NSEC"},  {48, "DNSKEY"}, {50, "NSEC3"}, {52, "TLSA"},  {64, "SVCB"},
    {65, "HTTPS"}, {99, "SPF"},   {250, "TSIG"},  {251, "IXFR"}, {252, "AXFR"}, {255, "ANY"},
    {256, "URI"},  {257, "CAA"},
};
constexpr Named class_names[] = {{1, "IN"}, {3, "CH"}, {4, "HS"}, {254, "NONE"}, {255, "ANY"}};

std::string_view find(std::span<const Named> names, std::uint16_t number) {
    const auto found = std::ranges::find(names, number, &Named::first);
    return found == names.end() ? std::string_view{} : found->second;
}

}  // namespace

Text& Text::add(char character) {
    if (size_ < out_.size()) out_[size_++] = character;
    return *this;
}

Text& Text::add(std::string_view text) {
    for (const char character : text) add(character);
    return *this;
}

Text& Text::add(std::size_t number) {
    std::array<char, 20> digits;
    const char* end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
    return add(std::string_view(digits.data(), end));
}

Text& Text::add_name(Bytes name) {
    std::size_t at = 0;
    while (at < name.size() && load_u8(&name[at]) != 0) {
        const std::size_t end = std::min(at + 1 + load_u8(&name[at]), name.size());
        while (++at < end) {
            const std::uint8_t octet = load_u8(&name[at]);
            const char character = static_cast<char>(octet);
            if (octet <= ' ' || octet > '~') {
                add('\\').add(static_cast<char>('0' + octet / 100));
                add(static_cast<char>('0' + octet / 10 % 10));
                add(static_cast<char>('0' + octet % 10));
            } else {
                if (std::string_view("\\.\"();@$").find(character) != std::string_view::npos) {
                    add('\\');
                }
                add(character);
            }
        }
        add('.');
    }
    return size_ == 0 || name.size() > 1 ? *this : add('.');
}

Text& Text::add_type(std::uint16_t type) {
    const std::string_view name = find(type_names, type);
    return name.empty() ? add("TYPE").add(std::size_t{type}) : add(name);
}

Text& Text::add_class(std::uint16_t klass) {
    const std::string_view name = find(class_names, klass);
    return name.empty() ? add("CLASS").add(std::size_t{klass}) : add(name);
}

}  // namespace voter::dns
