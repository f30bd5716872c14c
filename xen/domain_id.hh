// A domain's number. Xen gives numbers again: it names a domain only together with its UUID.
#pragma once

#include <compare>
#include <cstdint>

namespace xen {

struct DomainId {
    std::uint16_t value = 0;
    friend constexpr auto operator<=>(DomainId, DomainId) = default;
};

constexpr DomainId domain_0{0};

}  // namespace xen
