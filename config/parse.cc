// The way from a file to a Config: bounds of the text, TOML, then section by section.
#include <fstream>
#include <sstream>
#include <thread>

#include <unistd.h>

#include "config/sections.hh"
#include "config/words.hh"

namespace config {

namespace {

constexpr std::size_t file_bytes_max = 4u << 20;
constexpr unsigned key_parts_max = 8;

// toml++ builds and frees its trees recursively, and bounds the nesting of values, but not the
// parts of a dotted key: "a.a.a..." would overrun the stack. Returns the line of a key with too
// many. Knows strings and comments, nothing else of TOML.
class DottedKeys {
  public:
    explicit DottedKeys(std::string_view text) : text_(text) {}

    std::optional<unsigned> too_deep() {
        while (at_ < text_.size()) {
            const char c = text_[at_];
            if (c == '"' || c == '\'') {
                skip_string(c);
                continue;
            }
            if (c == '#') {
                while (at_ < text_.size() && text_[at_] != '\n') ++at_;
                continue;
            }
            if (c == '.') {
                if (++parts_ > key_parts_max) return line_;
            } else if (c == '\n' || c == '=' || c == ',' || c == '{' || c == '[') {
                parts_ = 0;
            }
            if (c == '\n') ++line_;
            ++at_;
        }
        return std::nullopt;
    }

  private:
    void skip_string(char quote) {
        const std::string three(3, quote);
        const bool multiline = text_.substr(at_, 3) == three;
        at_ += multiline ? 3 : 1;
        while (at_ < text_.size()) {
            const char c = text_[at_];
            if (c == '\\' && quote == '"') {
                if (text_.substr(at_, 2) == "\\\n") ++line_;
                at_ += 2;
                continue;
            }
            if (multiline && text_.substr(at_, 3) == three) {
                at_ += 3;
                return;
            }
            if (c == '\n') {
                if (!multiline) return;  // not closed: the parser will say so
                ++line_;
            }
            ++at_;
            if (!multiline && c == quote) return;
        }
    }

    std::string_view text_;
    std::size_t at_ = 0;
    unsigned line_ = 1;
    unsigned parts_ = 0;
};

std::string on_one_line(std::string_view text) {
    std::string out;
    for (const char c : text) {
        const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
        out += control ? ' ' : c;
    }
    return out;
}

Error whole_file(const std::filesystem::path& file, unsigned line, std::string what,
                 std::string fix) {
    return Error{file, line, "", std::move(what), std::move(fix)};
}

}  // namespace

std::string Error::text() const {
    std::string out = on_one_line(file.native());
    if (line != 0) out.append(":").append(std::to_string(line));
    out.append(": ");
    if (!key.empty()) out.append(key).append(": ");
    return out.append(what).append("; ").append(fix);
}

const Group* Config::group(std::string_view name_wanted) const {
    const auto index = group_index(name_wanted);
    return index ? &groups[*index] : nullptr;
}

std::optional<std::size_t> Config::group_index(std::string_view name_wanted) const {
    for (std::size_t i = 0; i < groups.size(); ++i) {
        if (groups[i].name == name_wanted) return i;
    }
    return std::nullopt;
}

Machine Machine::here() {
    Machine machine;
    const long cpus = ::sysconf(_SC_NPROCESSORS_CONF);
    machine.cpus = cpus > 0 ? static_cast<unsigned>(cpus) : 0;
    machine.files = true;
    if (::geteuid() != 0) {
        const char* const runtime = std::getenv("XDG_RUNTIME_DIR");
        const bool given = runtime != nullptr && runtime[0] == '/';
        machine.run_directory =
            given ? std::filesystem::path(runtime) / "quorate" : std::filesystem::path();
    }
    return machine;
}

tl::expected<Config, Error> parse(std::string_view text, const std::filesystem::path& file,
                                  const Machine& machine) {
    if (text.size() > file_bytes_max) {
        return tl::unexpected(whole_file(file, 0, "has " + std::to_string(text.size()) + " bytes",
                                         "a configuration has at most 4 MiB; copy large files "
                                         "with copies"));
    }
    if (const auto line = DottedKeys(text).too_deep()) {
        return tl::unexpected(
            whole_file(file, *line, "has a key of too many parts", "write keys as in README.md"));
    }
    const toml::parse_result parsed = toml::parse(text);
    if (!parsed) {
        const toml::parse_error& error = parsed.error();
        return tl::unexpected(whole_file(
            file, error.source().begin.line, "is not TOML: " + on_one_line(error.description()),
            "write KEY = VALUE, [TABLE] or [[TABLE]], texts in quotes"));
    }

    Config config;
    config.file = file;
    Report report;
    Pass pass{config, report, machine, {}, {}};
    Section root(&parsed.table(), Spot{}, report);
    read_appliance(root, pass);
    read_client(root, pass);
    read_eal(root, pass);
    read_evidence(root, pass);
    read_groups(root, pass);
    read_services(root, pass);
    root.finish();
    if (auto error = report.first(file)) return tl::unexpected(std::move(*error));
    return config;
}

tl::expected<Config, Error> load(const std::filesystem::path& file, const Machine& machine) {
    std::error_code problem;
    if (std::filesystem::is_directory(file, problem)) {
        return tl::unexpected(whole_file(file, 0, "is a directory", "name a file"));
    }
    errno = 0;
    std::ifstream in(file, std::ios::binary);
    std::string text;
    text.resize(file_bytes_max + 1);
    if (in) in.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (in.bad() || !(in || in.eof())) {
        return tl::unexpected(whole_file(
            file, 0, "cannot be read: " + std::generic_category().message(errno != 0 ? errno : EIO),
            "name a file that is there and may be read"));
    }
    text.resize(static_cast<std::size_t>(in.gcount()));
    return parse(text, file, machine);
}

}  // namespace config
