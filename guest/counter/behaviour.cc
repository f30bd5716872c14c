#include "guest/counter/behaviour.hh"

#include <charconv>
#include <utility>

#include "guest/counter/wire.hh"

namespace counter {

std::optional<std::uint64_t> number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || text.empty()) return {};
    return value;
}

std::optional<Behaviour> parse_behaviour(const std::vector<std::string>& words) {
    const std::string& name = words[0];
    const auto argument = [&](std::size_t i) {
        return i < words.size() ? number(words[i]) : std::nullopt;
    };
    constexpr std::pair<const char*, Mode> plain[] = {
        {"honest", Mode::honest}, {"silent", Mode::silent}, {"deaf", Mode::deaf},
        {"burn", Mode::burn},     {"twice", Mode::twice},   {"early", Mode::early}};
    Behaviour wanted;
    for (const auto& [word, mode] : plain) {
        if (name != word || words.size() != 1) continue;
        wanted.mode = mode;
        return wanted;
    }
    if (name == "lie" && (words.size() == 1 || (words.size() == 2 && argument(1)))) {
        wanted.mode = Mode::lie;
        wanted.by = argument(1).value_or(1);
        return wanted;
    }
    if (name == "late" && words.size() == 2 && argument(1) && *argument(1) <= 60'000) {
        wanted.mode = Mode::late;
        wanted.delay = milliseconds(*argument(1));
        return wanted;
    }
    if (name == "copy" && words.size() == 2) {
        wanted.mode = Mode::copy;
        wanted.peer = words[1];
        return wanted;
    }
    if (name == "corrupt" && (words.size() == 2 || (words.size() == 3 && argument(2)))) {
        wanted.mode = Mode::corrupt;
        wanted.one_in = argument(1).value_or(0);
        const std::uint64_t byte = argument(2).value_or(15);
        if (wanted.one_in == 0 || byte >= answer_bytes) return {};
        wanted.byte = static_cast<std::size_t>(byte);
        return wanted;
    }
    return {};
}

}  // namespace counter
