// Writes a DNS message into a bounded buffer, names compressed (RFC 1035 section 4.1.4) against
// what is in it already. Once something does not fit, nothing more is written until the caller goes
// back to a mark.
//
// Known limit: the table of names already written is small and never searched for long, so that a
// message full of names costs no more than its length; what it forgets is written out again.
#pragma once

#include <array>
#include <cstdint>

#include "voter/dns_canonical.hh"
#include "voter/dns_message.hh"
#include "voter/types.hh"

namespace voter::dns {

class Writer {
  public:
    // Where names have been written before. A slot is checked against the bytes it points to, so
    // what it holds from before a rewind can only be useless.
    struct Names {
        static constexpr unsigned slots = 256;
        static constexpr unsigned probes_max = 8;
        std::array<std::uint32_t, slots> hashes;
        std::array<std::uint16_t, slots> offsets;  // 0: free
    };

    // Writes nothing beyond `out`; `names` must outlive the writer.
    Writer(MutableBytes out, Names& names);
    // Compresses no names.
    explicit Writer(MutableBytes out) : out_(out), limit_(out.size()) {}

    std::size_t position() const { return at_; }
    bool fits() const { return fits_; }
    // From here on at most `length` octets in all, and never more than `out`.
    void limit(std::size_t length);
    // Forgets what was written behind `mark`, a position() of before.
    void rewind(std::size_t mark);

    void header(std::uint16_t id, std::uint16_t flags, std::uint16_t questions);
    // `section`: a question section as sent.
    void question(Bytes section);
    // A record in canonical form, which must outlive the writer.
    void record(Bytes canonical);
    // Our own OPT (RFC 6891 section 6.1.2): no options.
    void opt(std::uint8_t rcode_high, bool dnssec_ok);
    // Only after a header.
    void counts(std::uint16_t answer, std::uint16_t authority, std::uint16_t additional);

  private:
    void raw(Bytes bytes);
    // Returns where the name can be read; 0: nowhere that a pointer reaches.
    std::size_t name(Bytes canonical);
    void owner(Bytes canonical);
    void pointer(std::size_t target);
    void remember(std::uint32_t hash, std::size_t offset);
    std::size_t find(std::uint32_t hash, Bytes suffix) const;
    bool reads_as(std::size_t offset, Bytes suffix) const;

    MutableBytes out_;
    Names* names_ = nullptr;
    std::size_t limit_;
    std::size_t at_ = 0;
    // The latest owner and where it stands: the records of a set repeat it.
    Bytes owner_;
    std::size_t owner_at_ = 0;
    bool fits_ = true;
};

// The longest reply that the sender of `request` takes: 512 octets, or what its OPT says.
std::size_t udp_payload_of(const Message& request);
// Whether its OPT asks for DNSSEC records (RFC 3225); echoed.
bool dnssec_ok(const Message& request);

}  // namespace voter::dns
