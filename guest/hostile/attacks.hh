// What a hostile frontend does to the backend, by name. Each attack starts from a connected, honest
// frontend and leaves it in any state; the caller connects anew.
//
// Known limit: what an attack does to the backend is not seen from here, but for its state.
#pragma once

#include <span>
#include <string_view>

#include "guest/hostile/frontend.hh"

namespace hostile {

struct Attack {
    std::string_view name;
    std::string_view about;
    void (*run)(Frontend&);
};

std::span<const Attack> attacks();
const Attack* find_attack(std::string_view name);

}  // namespace hostile
