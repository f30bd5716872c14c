// [[group.replica]]: where a slot's replica is reached, or how the namespace host runs it.
#include <algorithm>

#include <pwd.h>
#include <unistd.h>

#include "config/sections.hh"
#include "config/words.hh"

namespace config {

namespace {

constexpr std::size_t arguments_max = 256;
constexpr std::size_t files_max = 256;

// Below the replica's directory: relative, no "..", no empty part.
bool is_inner_path(const std::string& text) {
    if (text.empty() || text.size() > 255 || text.front() == '/' || text.back() == '/') {
        return false;
    }
    const std::filesystem::path path(text);
    return std::none_of(path.begin(), path.end(), [](const std::filesystem::path& part) {
        return part == ".." || part == "." || part.empty();
    });
}

bool is_variable_name(std::string_view text) {
    const auto inner = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_';
    };
    return !text.empty() && !(text[0] >= '0' && text[0] <= '9') &&
           std::all_of(text.begin(), text.end(), inner);
}

bool is_there(const std::filesystem::path& path) {
    std::error_code ignored;
    return std::filesystem::exists(path, ignored);
}

void read_command(Section& section, std::string_view key, const Machine& machine,
                  std::vector<std::string>& out) {
    auto written = section.arguments(key, arguments_max);
    if (written.empty()) return;
    const std::string& program = written.front().value;
    if (program.empty()) {
        section.wrong(written.front().spot, "is empty", "write the program to run");
    } else if (machine.files && program.front() == '/' && ::access(program.c_str(), X_OK) != 0) {
        section.wrong(written.front().spot,
                      "is " + in_quotes(program) + ", which cannot be run here",
                      "write the path of an executable file");
    }
    for (auto& argument : written) out.push_back(std::move(argument.value));
}

void read_files(Section& section, const Pass& pass, NetnsReplica& replica) {
    const std::string fix = "write a path below the replica's directory, without \"..\"";
    for (auto& [path, content] : section.dictionary("files", files_max)) {
        if (!is_inner_path(path)) section.wrong(content.spot, "is no path for a file of it", fix);
        replica.files.emplace(path, std::move(content.value));
    }
    // Where the config is, so that it works from every working directory.
    std::error_code ignored;
    const auto home = std::filesystem::absolute(pass.config.file, ignored).parent_path();
    for (auto& [path, source] : section.dictionary("copies", files_max)) {
        if (!is_inner_path(path)) section.wrong(source.spot, "is no path for a file of it", fix);
        if (replica.files.contains(path)) {
            section.wrong(source.spot, "is in files, too", "write it in files or in copies");
        }
        if (source.value.empty()) {
            section.wrong(source.spot, "is empty", "write the file to copy from");
            continue;
        }
        const std::filesystem::path from = (home / source.value).lexically_normal();
        if (pass.machine.files && !is_there(from)) {
            section.wrong(source.spot, "is " + in_quotes(source.value) + ", which is not there",
                          "write a file that exists, relative to the config");
        }
        replica.copies.emplace(path, from.native());
    }
}

void read_user(Section& section, const Machine& machine, std::string& out) {
    if (!section.text("user", out)) return;
    if (machine.files && ::getpwnam(out.c_str()) == nullptr) {
        section.wrong("user", "is " + in_quotes(out) + ", which this machine does not know",
                      "write the name of a user, or leave it out");
    }
}

NetnsReplica read_netns(Section& section, Pass& pass) {
    NetnsReplica replica;
    const std::size_t before = pass.report.count();
    section.required("command", "write command = [\"PROGRAM\", \"ARGUMENT\", ...]");
    read_command(section, "command", pass.machine, replica.command);
    if (before == pass.report.count() && replica.command.empty()) {
        section.wrong("command", "is empty", "write command = [\"PROGRAM\", \"ARGUMENT\", ...]");
    }
    read_files(section, pass, replica);
    for (auto& [name, value] : section.dictionary("environment", files_max)) {
        if (!is_variable_name(name)) {
            section.wrong(value.spot, "is no name of a variable",
                          "write letters, digits and '_', not a digit first");
        }
        replica.environment.emplace(name, std::move(value.value));
    }
    read_cpus(section, pass, replica.cpus);
    read_user(section, pass.machine, replica.user);
    read_command(section, "health", pass.machine, replica.health);
    section.number("health_timeout_ms", 100, 600'000, replica.health_timeout_ms);
    section.finish();
    return replica;
}

std::optional<PortSpec> read_place(Section& section, std::string_view key, Pass& pass) {
    std::string written;
    if (!section.text(key, written)) return std::nullopt;
    return take_port(section, {written, section.spot(key)}, pass);
}

}  // namespace

void read_replicas(Section& group_section, Pass& pass, Group& group) {
    std::map<std::string, std::string> names;
    const std::size_t before = pass.report.count();
    for (Section& section : group_section.sections("replica", voter::replicas_max)) {
        Replica& replica = group.replicas.emplace_back();
        read_name(section, names, replica.name);
        replica.place_a = read_place(section, "place_a", pass);
        replica.place_b = read_place(section, "place_b", pass);
        Section netns = section.section("netns");
        if (netns.present()) replica.netns = read_netns(netns, pass);
        const bool places = section.has("place_a") || section.has("place_b");
        if (section.has("netns") && places) {
            section.wrong(section.has("place_a") ? "place_a" : "place_b",
                          "is given for a replica with netns",
                          "leave it out: the namespace host makes both places");
        } else if (!section.has("netns") && !section.has("place_a")) {
            section.wrong(section.has("place_b") ? "place_b" : "place_a",
                          section.has("place_b") ? "is given without place_a" : "is missing",
                          "write place_a = \"veth:IFNAME\", or a [group.replica.netns]");
        }
        section.finish();
    }
    if (before == pass.report.count() && group.replicas.empty()) {
        group_section.wrong("replica", "is missing", "write a [[group.replica]] for each replica");
    }
}

}  // namespace config
