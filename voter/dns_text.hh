// DNS in words, for evidence and reports. Not for the fast path. What came from the network is
// escaped (RFC 1035 section 5.1), so that a name can do nothing to a terminal or a log.
#pragma once

#include <span>
#include <string_view>

#include "voter/types.hh"

namespace voter::dns {

// Text into a buffer of the caller's; what does not fit is cut off.
class Text {
  public:
    explicit Text(std::span<char> out) : out_(out) {}

    Text& add(std::string_view text);
    Text& add(std::size_t number);
    // An unpacked name: "www.example."
    Text& add_name(Bytes name);
    // "AAAA", or "TYPE65280" (RFC 3597 section 5)
    Text& add_type(std::uint16_t type);
    Text& add_class(std::uint16_t klass);
    std::size_t size() const { return size_; }

  private:
    Text& add(char character);

    std::span<char> out_;
    std::size_t size_ = 0;
};

}  // namespace voter::dns
