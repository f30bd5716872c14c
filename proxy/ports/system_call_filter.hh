// libseccomp's rules without its macros, which are C99 only.
#pragma once

#include <cstdint>
#include <initializer_list>

#include <seccomp.h>

namespace proxy {

inline scmp_arg_cmp argument_is(unsigned index, scmp_datum_t value) {
    return {index, SCMP_CMP_EQ, value, 0};
}

inline scmp_arg_cmp argument_has(unsigned index, scmp_datum_t mask, scmp_datum_t value) {
    return {index, SCMP_CMP_MASKED_EQ, mask, value};
}

// Zero, or a negative errno.
inline int add_rule(scmp_filter_ctx filter, std::uint32_t action, int call,
                    std::initializer_list<scmp_arg_cmp> arguments = {}) {
    return seccomp_rule_add_array(filter, action, call, static_cast<unsigned>(arguments.size()),
                                  arguments.begin());
}

}  // namespace proxy
