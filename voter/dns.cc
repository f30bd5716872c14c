#include "voter/dns.hh"

namespace voter::dns {

std::optional<std::uint8_t> refused(Bytes, const RefuseSet&) { return std::nullopt; }
std::size_t write_error(Bytes, std::uint8_t, MutableBytes) { return 0; }

}  // namespace voter::dns
