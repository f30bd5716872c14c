#include "config/reader.hh"

#include <algorithm>
#include <charconv>
#include <limits>
#include <tuple>

#include "config/words.hh"

namespace config {

namespace {

// A key as it is written in a dotted path: quoted where it is not a bare one.
std::string key_text(std::string_view key) {
    const bool bare =
        !key.empty() && key.size() <= 60 && std::all_of(key.begin(), key.end(), [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                   c == '-' || c == '_';
        });
    return bare ? std::string(key) : in_quotes(key);
}

std::string joined(const std::string& path, std::string_view key) {
    return path.empty() ? key_text(key) : path + "." + key_text(key);
}

Spot at(const toml::source_region& source, const Spot& otherwise, std::string key) {
    if (source.begin.line == 0) return Spot{otherwise.line, otherwise.column, std::move(key)};
    return Spot{source.begin.line, source.begin.column, std::move(key)};
}

const char* type_text(const toml::node& node) {
    switch (node.type()) {
        case toml::node_type::table:
            return "a table";
        case toml::node_type::array:
            return "a list";
        case toml::node_type::string:
            return "a text";
        case toml::node_type::integer:
            return "a number";
        case toml::node_type::floating_point:
            return "a number with a point";
        case toml::node_type::boolean:
            return "true or false";
        default:
            return "a date or time";
    }
}

bool one_line(std::string_view text) {
    return std::none_of(text.begin(), text.end(),
                        [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

}  // namespace

void Report::add(const Spot& spot, std::string what, std::string fix) {
    const bool earlier = count_ == 0 || std::tie(spot.line, spot.column) <
                                            std::tie(first_spot_.line, first_spot_.column);
    ++count_;
    if (!earlier) return;
    first_spot_ = spot;
    first_what_ = std::move(what);
    first_fix_ = std::move(fix);
}

std::optional<Error> Report::first(const std::filesystem::path& file) const {
    if (count_ == 0) return std::nullopt;
    return Error{file, first_spot_.line, first_spot_.key, first_what_, first_fix_};
}

bool Section::has(std::string_view key) const {
    return table_ != nullptr && table_->find(key) != table_->end();
}

bool Section::is_number(std::string_view key) const {
    const toml::node* node = table_ == nullptr ? nullptr : table_->get(key);
    return node != nullptr && node->is_number();
}

bool Section::is_empty_list(std::string_view key) const {
    const toml::node* node = table_ == nullptr ? nullptr : table_->get(key);
    return node != nullptr && node->is_array() && node->as_array()->empty();
}

Spot Section::spot(std::string_view key) const {
    const std::string path = joined(spot_.key, key);
    if (table_ == nullptr) return Spot{spot_.line, spot_.column, path};
    const auto found = table_->find(key);
    if (found == table_->end()) return Spot{spot_.line, spot_.column, path};
    return at(found->first.source(), spot_, path);
}

Spot Section::element(std::string_view key, std::size_t index, const toml::node& node) const {
    return at(node.source(), spot(key), joined(spot_.key, key) + "[" + std::to_string(index) + "]");
}

void Section::wrong(const Spot& where, std::string what, std::string fix) const {
    report_->add(where, std::move(what), std::move(fix));
}

void Section::wrong(std::string_view key, std::string what, std::string fix) const {
    report_->add(spot(key), std::move(what), std::move(fix));
}

const toml::node* Section::find(std::string_view key) {
    asked_.push_back(key);
    return table_ == nullptr ? nullptr : table_->get(key);
}

bool Section::flag(std::string_view key, bool& out) {
    const toml::node* node = find(key);
    if (node == nullptr) return false;
    if (!node->is_boolean()) {
        wrong(key, std::string("is ") + type_text(*node), "write true or false, without quotes");
        return false;
    }
    out = node->as_boolean()->get();
    return true;
}

bool Section::text(std::string_view key, std::string& out) {
    const toml::node* node = find(key);
    if (node == nullptr) return false;
    if (!node->is_string()) {
        wrong(key, std::string("is ") + type_text(*node), "write a text in double quotes");
        return false;
    }
    const std::string& value = node->as_string()->get();
    if (value.empty()) {
        wrong(key, "is empty", "write a text, or leave the key out");
        return false;
    }
    if (!one_line(value)) {
        wrong(key, "has control characters in " + in_quotes(value), "write one line of plain text");
        return false;
    }
    out = value;
    return true;
}

bool Section::number(std::string_view key, std::int64_t min, std::int64_t max, std::int64_t& out) {
    const toml::node* node = find(key);
    if (node == nullptr) return false;
    const std::string range = std::to_string(min) + " to " + std::to_string(max);
    if (!node->is_integer()) {
        wrong(key, std::string("is ") + type_text(*node),
              "write a whole number from " + range + ", without quotes");
        return false;
    }
    const std::int64_t value = node->as_integer()->get();
    if (value < min || value > max) {
        wrong(key, "is " + std::to_string(value) + ", out of range",
              "write a number from " + range);
        return false;
    }
    out = value;
    return true;
}

bool Section::size(std::string_view key, std::uint64_t min, std::uint64_t max, std::uint64_t& out) {
    const toml::node* node = find(key);
    if (node == nullptr) return false;
    std::optional<std::uint64_t> value;
    std::string written = type_text(*node);
    if (node->is_string()) {
        value = parse_size(node->as_string()->get());
        written = in_quotes(node->as_string()->get());
    } else if (node->is_integer()) {
        const std::int64_t bytes = node->as_integer()->get();
        written = std::to_string(bytes);
        if (bytes >= 0) value = static_cast<std::uint64_t>(bytes);
    }
    if (!value) {
        wrong(key, "is " + written + ", which is no size",
              "write bytes as a number, or a text like \"16 MiB\" (KiB, MiB, GiB, kB, MB, GB)");
        return false;
    }
    if (*value < min || *value > max) {
        wrong(key, "is " + written + ", out of range",
              "write a size from " + size_text(min) + " to " + size_text(max));
        return false;
    }
    out = *value;
    return true;
}

bool Section::choose(std::string_view key, const std::vector<std::string_view>& names,
                     std::size_t& index) {
    const toml::node* node = find(key);
    if (node == nullptr) return false;
    if (!node->is_string()) {
        wrong(key, std::string("is ") + type_text(*node), "write " + one_of(names));
        return false;
    }
    const std::string& value = node->as_string()->get();
    const auto found = std::find(names.begin(), names.end(), value);
    if (found == names.end()) {
        const auto meant = nearest(value, names);
        wrong(key, "is " + in_quotes(value) + ", which it cannot be",
              meant ? "did you mean " + in_quotes(*meant) + "? It is " + one_of(names)
                    : "write " + one_of(names));
        return false;
    }
    index = static_cast<std::size_t>(found - names.begin());
    return true;
}

const toml::array* Section::list(std::string_view key, std::size_t count_max) {
    const toml::node* node = find(key);
    if (node == nullptr) return nullptr;
    if (!node->is_array()) {
        wrong(key, std::string("is ") + type_text(*node), "write a list: [..., ...]");
        return nullptr;
    }
    const toml::array* array = node->as_array();
    if (array->size() > count_max) {
        wrong(key, "has " + std::to_string(array->size()) + " entries",
              "write at most " + std::to_string(count_max));
        return nullptr;
    }
    return array;
}

std::vector<Placed<std::string>> Section::strings(std::string_view key, std::size_t count_max,
                                                  bool only_one_line) {
    std::vector<Placed<std::string>> out;
    const toml::array* array = list(key, count_max);
    if (array == nullptr) return out;
    for (std::size_t i = 0; i < array->size(); ++i) {
        const toml::node& node = *array->get(i);
        const Spot where = element(key, i, node);
        if (!node.is_string()) {
            wrong(where, std::string("is ") + type_text(node), "write a text in double quotes");
            continue;
        }
        const std::string& value = node.as_string()->get();
        const bool good = only_one_line ? !value.empty() && one_line(value)
                                        : value.find('\0') == std::string::npos;
        if (!good) {
            wrong(where,
                  value.empty() ? std::string("is empty")
                                : "has control characters in " + in_quotes(value),
                  "write plain text");
            continue;
        }
        out.push_back({value, where});
    }
    return out;
}

std::vector<Placed<std::string>> Section::texts(std::string_view key, std::size_t count_max) {
    return strings(key, count_max, true);
}

std::vector<Placed<std::string>> Section::arguments(std::string_view key, std::size_t count_max) {
    return strings(key, count_max, false);
}

std::vector<Placed<std::int64_t>> Section::numbers(std::string_view key, std::size_t count_max,
                                                   std::int64_t min, std::int64_t max) {
    std::vector<Placed<std::int64_t>> out;
    const toml::array* array = list(key, count_max);
    if (array == nullptr) return out;
    for (std::size_t i = 0; i < array->size(); ++i) {
        const toml::node& node = *array->get(i);
        const Spot where = element(key, i, node);
        const std::string fix =
            "write numbers from " + std::to_string(min) + " to " + std::to_string(max);
        if (!node.is_integer()) {
            wrong(where, std::string("is ") + type_text(node), fix);
            continue;
        }
        const std::int64_t value = node.as_integer()->get();
        if (value < min || value > max) {
            wrong(where, "is " + std::to_string(value) + ", out of range", fix);
            continue;
        }
        out.push_back({value, where});
    }
    return out;
}

std::vector<std::pair<std::string, Placed<std::string>>> Section::dictionary(
    std::string_view key, std::size_t count_max) {
    std::vector<std::pair<std::string, Placed<std::string>>> out;
    const toml::node* node = find(key);
    if (node == nullptr) return out;
    if (!node->is_table()) {
        wrong(key, std::string("is ") + type_text(*node), "write a table: { NAME = \"text\" }");
        return out;
    }
    const toml::table& table = *node->as_table();
    if (table.size() > count_max) {
        wrong(key, "has " + std::to_string(table.size()) + " entries",
              "write at most " + std::to_string(count_max));
        return out;
    }
    const Spot parent = spot(key);
    for (const auto& [name, value] : table) {
        const Spot where = at(name.source(), parent, joined(parent.key, name.str()));
        if (!value.is_string()) {
            wrong(where, std::string("is ") + type_text(value), "write a text in double quotes");
        } else if (value.as_string()->get().find('\0') != std::string::npos ||
                   name.str().find('\0') != std::string_view::npos) {
            wrong(where, "has a NUL character", "leave it out");
        } else {
            out.push_back({std::string(name.str()), {value.as_string()->get(), where}});
        }
    }
    return out;
}

Section Section::section(std::string_view key) {
    const toml::node* node = find(key);
    if (node == nullptr) return Section(nullptr, spot(key), *report_);
    if (!node->is_table()) {
        wrong(key,
              node->is_array_of_tables() ? "is a list of tables"
                                         : std::string("is ") + type_text(*node),
              "write a table once, in single brackets: [" + joined(spot_.key, key) + "]");
        return Section(nullptr, spot(key), *report_);
    }
    return Section(node->as_table(), spot(key), *report_);
}

std::vector<Section> Section::tables(std::string_view key, std::size_t count_max,
                                     const char* shape) {
    std::vector<Section> out;
    const toml::node* node = find(key);
    if (node == nullptr) return out;
    if (!node->is_array()) {
        wrong(key, std::string("is ") + type_text(*node), shape);
        return out;
    }
    const toml::array& array = *node->as_array();
    if (array.size() > count_max) {
        wrong(key, "there are " + std::to_string(array.size()),
              "write at most " + std::to_string(count_max));
        return out;
    }
    for (std::size_t i = 0; i < array.size(); ++i) {
        const Spot where = element(key, i, *array.get(i));
        if (!array.get(i)->is_table()) {
            wrong(where, std::string("is ") + type_text(*array.get(i)), shape);
            continue;
        }
        out.emplace_back(array.get(i)->as_table(), where, *report_);
    }
    return out;
}

std::vector<Section> Section::sections(std::string_view key, std::size_t count_max) {
    return tables(key, count_max,
                  "each one starts with its own header in double brackets: [[...]]");
}

std::vector<Section> Section::inline_tables(std::string_view key, std::size_t count_max) {
    return tables(key, count_max, "write a list of tables: [{...}, {...}]");
}

bool Section::required(std::string_view key, std::string fix) {
    if (has(key)) return true;
    wrong(key, "is missing", std::move(fix));
    return false;
}

void Section::finish() const {
    if (table_ == nullptr) return;
    for (const auto& [key, value] : *table_) {
        if (std::find(asked_.begin(), asked_.end(), key.str()) != asked_.end()) continue;
        const auto meant = nearest(key.str(), asked_);
        std::vector<std::string_view> known = asked_;
        std::sort(known.begin(), known.end());
        known.erase(std::unique(known.begin(), known.end()), known.end());
        std::string all;
        for (const std::string_view name : known)
            all += (all.empty() ? "" : ", ") + std::string(name);
        wrong(at(key.source(), spot_, joined(spot_.key, key.str())), "is not a key of this section",
              meant ? "did you mean " + std::string(*meant) + "?" : "the keys here are " + all);
    }
}

}  // namespace config
