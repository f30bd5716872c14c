// How the service was told to (mis)behave: ../README.md has the commands.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace counter {

using std::chrono::milliseconds;

enum class Mode { honest, lie, silent, deaf, burn, late, twice, early, copy, corrupt };

struct Behaviour {
    Mode mode = Mode::honest;
    std::uint64_t by = 1;        // lie: added to the count
    milliseconds delay{0};       // late
    std::uint64_t one_in = 1;    // corrupt
    std::size_t byte = 15;       // corrupt
    std::string peer;            // copy: the other replica's control socket
    std::uint64_t answered = 0;  // since the command
};

// Decimal digits and nothing else.
std::optional<std::uint64_t> number(std::string_view text);

// Nothing: there is no such command. `words` are not empty.
std::optional<Behaviour> parse_behaviour(const std::vector<std::string>& words);

}  // namespace counter
