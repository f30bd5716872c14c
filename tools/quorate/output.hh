// JSON for programs on stdout: one object, one line.
#pragma once

#include <cstdio>

#include <nlohmann/json.hpp>

namespace quorate {

// Bytes that are not UTF-8 (paths, keys of a broken file) are replaced, never thrown about.
template <class Json>
void print_json(const Json& object) {
    std::printf("%s\n", object.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
}

}  // namespace quorate
