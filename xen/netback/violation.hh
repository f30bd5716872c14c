// What a frontend may do wrong: one table of names and texts; the metric is the name. An honest
// netfront does none of it, so each of these is evidence against its replica, and costs that
// replica only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace xen::netback {

// clang-format off
#define XEN_NETBACK_VIOLATIONS(X)                                                                   \
    /* these end the use of the ring: nothing after them can be understood */                       \
    X(ring_overflow,      "a producer index further ahead than the ring is long")                   \
    X(ring_state_changed, "our own index in the shared page was overwritten")                       \
    X(frame_cut,          "a frame whose last descriptors are not there")                           \
    X(slots_exceeded,     "a frame of more than 18 descriptors")                                    \
    X(extra_info_invalid, "extra information of unknown type, twice, or without end")               \
    X(crosses_page,       "a piece that ends past its page")                                        \
    X(sizes_disagree,     "pieces that do not add up to the frame")                                 \
    X(frame_too_short,    "a frame shorter than its Ethernet header")                               \
    /* these cost a frame */                                                                        \
    X(grant_refused,      "a grant that is not there, revoked, or not ours to use")                 \
    /* these keep it from connecting */                                                             \
    X(keys_invalid,       "keys in xenstore that make no sense together")                           \
    X(reconnects_often,   "connects again and again")
// clang-format on

enum class Violation : std::uint8_t {
    none,
#define XEN_NETBACK_NAME(name, text) name,
    XEN_NETBACK_VIOLATIONS(XEN_NETBACK_NAME)
#undef XEN_NETBACK_NAME
};

struct ViolationText {
    std::string_view name;
    std::string_view text;
};
constexpr std::array violation_texts{ViolationText{"none", "nothing wrong"},
#define XEN_NETBACK_TEXT(name, text) ViolationText{#name, text},
                                     XEN_NETBACK_VIOLATIONS(XEN_NETBACK_TEXT)
#undef XEN_NETBACK_TEXT
};
constexpr std::size_t violations_count = violation_texts.size();

constexpr const ViolationText& text_of(Violation violation) {
    return violation_texts[static_cast<std::size_t>(violation)];
}

}  // namespace xen::netback
