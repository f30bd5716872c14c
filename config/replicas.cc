// [[group.replica]]: where a slot's replica is reached, or how one of the two hosts runs it.
#include <algorithm>

#include <pwd.h>
#include <unistd.h>

#include "config/sections.hh"
#include "config/words.hh"

namespace config {

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

std::optional<std::filesystem::path> beside_config(const Section& section,
                                                   const Placed<std::string>& written,
                                                   const Pass& pass) {
    if (written.value.empty()) {
        section.wrong(written.spot, "is empty", "write a file, relative to the config");
        return std::nullopt;
    }
    std::error_code ignored;
    const auto home = std::filesystem::absolute(pass.config.file, ignored).parent_path();
    const std::filesystem::path file = (home / written.value).lexically_normal();
    if (pass.machine.files && !std::filesystem::exists(file, ignored)) {
        section.wrong(written.spot, "is " + in_quotes(written.value) + ", which is not there",
                      "write a file that exists, relative to the config");
    }
    return file;
}

void read_files(Section& section, const Pass& pass, const PathRule& rule,
                std::map<std::string, std::string>& files,
                std::map<std::string, std::string>& copies) {
    const auto check = [&](const std::string& path, const Spot& spot) {
        if (!rule.right(path)) section.wrong(spot, "is no path for a file of it", rule.fix);
    };
    for (auto& [path, content] : section.dictionary("files", files_max)) {
        check(path, content.spot);
        files.emplace(path, std::move(content.value));
    }
    for (auto& [path, source] : section.dictionary("copies", files_max)) {
        check(path, source.spot);
        if (files.contains(path)) {
            section.wrong(source.spot, "is in files, too", "write it in files or in copies");
        }
        if (const auto from = beside_config(section, source, pass)) {
            copies.emplace(path, from->native());
        }
    }
}

namespace {

constexpr std::size_t variables_max = 256;

bool is_variable_name(std::string_view text) {
    const auto inner = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_';
    };
    return !text.empty() && !(text[0] >= '0' && text[0] <= '9') &&
           std::all_of(text.begin(), text.end(), inner);
}

void read_command(Section& section, std::string_view key, const Machine& machine,
                  std::vector<std::string>& out) {
    auto written = section.arguments(key, command_words_max);
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

// A replica's files are in its own directory.
const PathRule below_directory{is_inner_path,
                               "write a path below the replica's directory, without \"..\""};

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
    read_files(section, pass, below_directory, replica.files, replica.copies);
    for (auto& [name, value] : section.dictionary("environment", variables_max)) {
        if (!is_variable_name(name)) {
            section.wrong(value.spot, "is no name of a variable",
                          "write letters, digits and '_', not a digit first");
        }
        replica.environment.emplace(name, std::move(value.value));
    }
    read_cpus(section, pass.machine.cpus, replica.cpus);
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

// Exactly one way to reach it.
void check_ways(Section& section) {
    const bool netns = section.has("netns");
    const bool xen = section.has("xen");
    if (netns && xen) {
        section.wrong("xen", "is given for a replica with netns",
                      "write [group.replica.netns] or [group.replica.xen]");
    }
    const char* place = section.has("place_a") ? "place_a" : "place_b";
    if (netns || xen) {
        if (!section.has(place)) return;
        section.wrong(place,
                      std::string("is given for a replica with ") + (netns ? "netns" : "xen"),
                      "leave it out: its host makes both places");
    } else if (!section.has("place_a")) {
        section.wrong(section.has("place_b") ? "place_b" : "place_a",
                      section.has("place_b") ? "is given without place_a" : "is missing",
                      "write place_a = \"veth:IFNAME\", a [group.replica.netns] or a "
                      "[group.replica.xen]");
    }
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
        Section xen = section.section("xen");
        if (xen.present()) replica.xen = read_xen(xen, pass);
        check_ways(section);
        section.finish();
    }
    if (before == pass.report.count() && group.replicas.empty()) {
        group_section.wrong("replica", "is missing", "write a [[group.replica]] for each replica");
    }
}

}  // namespace config
