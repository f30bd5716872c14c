// Reads one TOML table into plain values and remembers everything that is wrong with it.
//
// Each read names its key once; what was never asked for is an unknown key, and the keys that were
// asked for are the candidates of its "did you mean". Errors are collected, not thrown, because
// tables are read section by section while the error to report is the first in *file* order.
//
// Limit: TOML's own syntax errors come alone, from the parser, which stops at the first.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/config.hh"
#include "config/toml.hh"

namespace config {

// Where something stands in the file.
struct Spot {
    unsigned line = 1;
    unsigned column = 1;
    std::string key;  // dotted
};

// All that is wrong so far.
class Report {
  public:
    void add(const Spot& spot, std::string what, std::string fix);
    std::size_t count() const { return count_; }
    // The first in file order; nullopt: nothing is wrong.
    std::optional<Error> first(const std::filesystem::path& file) const;

  private:
    std::size_t count_ = 0;
    Spot first_spot_;
    std::string first_what_;
    std::string first_fix_;
};

// A value of a list together with its place in the file.
template <class T>
struct Placed {
    T value;
    Spot spot;
};

class Section {
  public:
    // `table` may be null: a section that is not in the file, every key of it absent.
    Section(const toml::table* table, Spot spot, Report& report)
        : table_(table), spot_(std::move(spot)), report_(&report) {}

    bool present() const { return table_ != nullptr; }
    bool has(std::string_view key) const;
    bool is_number(std::string_view key) const;
    bool is_empty_list(std::string_view key) const;
    // Of the section itself; of a key, which is the section's when the key is absent.
    const Spot& spot() const { return spot_; }
    Spot spot(std::string_view key) const;

    void wrong(const Spot& where, std::string what, std::string fix) const;
    void wrong(std::string_view key, std::string what, std::string fix) const;
    // Of the whole file so far.
    std::size_t wrong_count() const { return report_->count(); }

    // Each leaves `out` as it is where the key is absent or wrong, and says whether it was set.
    bool flag(std::string_view key, bool& out);
    bool text(std::string_view key, std::string& out);  // one line, not empty
    bool number(std::string_view key, std::int64_t min, std::int64_t max, std::int64_t& out);
    bool size(std::string_view key, std::uint64_t min, std::uint64_t max, std::uint64_t& out);
    template <class T>
    bool number(std::string_view key, std::int64_t min, std::int64_t max, T& out);
    template <class Enum>
    bool choice(std::string_view key,
                std::initializer_list<std::pair<std::string_view, Enum>> choices, Enum& out);

    // Lists; absent ones are empty, wrong elements are left out.
    std::vector<Placed<std::string>> texts(std::string_view key, std::size_t count_max);
    // Of a command: each may be empty and have line ends.
    std::vector<Placed<std::string>> arguments(std::string_view key, std::size_t count_max);
    std::vector<Placed<std::int64_t>> numbers(std::string_view key, std::size_t count_max,
                                              std::int64_t min, std::int64_t max);
    // A table whose keys are the user's own: name -> string.
    std::vector<std::pair<std::string, Placed<std::string>>> dictionary(std::string_view key,
                                                                        std::size_t count_max);

    Section section(std::string_view key);                                            // [key]
    std::vector<Section> sections(std::string_view key, std::size_t count_max);       // [[key]]
    std::vector<Section> inline_tables(std::string_view key, std::size_t count_max);  // key = [{}]

    // The key must be there; `fix` says what to write.
    bool required(std::string_view key, std::string fix);

    // Call last: every key that was not read is an error.
    void finish() const;

  private:
    const toml::node* find(std::string_view key);
    bool choose(std::string_view key, const std::vector<std::string_view>& names,
                std::size_t& index);
    const toml::array* list(std::string_view key, std::size_t count_max);
    std::vector<Placed<std::string>> strings(std::string_view key, std::size_t count_max,
                                             bool one_line);
    std::vector<Section> tables(std::string_view key, std::size_t count_max, const char* shape);
    Spot element(std::string_view key, std::size_t index, const toml::node& node) const;

    const toml::table* table_;
    Spot spot_;
    Report* report_;
    std::vector<std::string_view> asked_;
};

template <class T>
bool Section::number(std::string_view key, std::int64_t min, std::int64_t max, T& out) {
    std::int64_t wide = 0;
    if (!number(key, min, max, wide)) return false;
    out = static_cast<T>(wide);
    return true;
}

template <class Enum>
bool Section::choice(std::string_view key,
                     std::initializer_list<std::pair<std::string_view, Enum>> choices, Enum& out) {
    std::vector<std::string_view> names;
    for (const auto& choice : choices) names.push_back(choice.first);
    std::size_t index = 0;
    if (!choose(key, names, index)) return false;
    out = (choices.begin() + index)->second;
    return true;
}

}  // namespace config
