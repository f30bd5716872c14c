// Any text as a configuration: never a crash, never an error without a fix, never more than one
// line, and what is accepted keeps the promises that the rest of the program is built on.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "config/config.hh"

namespace {

void must(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "broken: %s\n", what);
    std::abort();
}

bool prints_on_one_line(const std::string& text) {
    return std::none_of(text.begin(), text.end(),
                        [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

void check_group(const config::Group& group) {
    const std::size_t n = group.replicas.size();
    must(n >= 1 && n <= voter::replicas_max, "1 to 7 replicas");
    must(group.quorum <= n && 2u * group.quorum > n, "two quorums share a replica");
    must(group.f < group.quorum && group.f <= voter::faults_max, "f liars are no quorum");
    must(group.primary < n, "the primary is there");
    for (const config::Replica& replica : group.replicas) {
        must(replica.netns.has_value() + replica.xen.has_value() + replica.place_a.has_value() == 1,
             "one way to reach it");
        must(!replica.netns || !replica.netns->command.empty(), "a command");
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto parsed = config::parse(text, "fuzz.toml", config::Machine{4, false, "/run/quorate"});
    if (!parsed) {
        const config::Error& error = parsed.error();
        must(!error.what.empty() && !error.fix.empty(), "what is wrong and what would be right");
        must(prints_on_one_line(error.text()), "one line");
        const auto lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
        must(error.line <= lines, "a line of the file");
        return 0;
    }
    must(!parsed->groups.empty() && !parsed->services.empty(), "something to do");
    must(parsed->state_dir.is_absolute() && parsed->evidence.directory.is_absolute(), "absolute");
    for (const config::Group& group : parsed->groups) check_group(group);
    for (const config::Service& service : parsed->services) {
        must(parsed->group(service.group) != nullptr, "a service has its group");
        must(!service.addresses.empty() && service.port != 0, "a service can be reached");
    }
    return 0;
}
