// `quorate compare`: which of several servers answered differently, from captures.
#include "tools/compare.hh"

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "config/config.hh"
#include "tools/quorate/commands.hh"

namespace quorate {

namespace {

using Json = nlohmann::json;

struct Arguments {
    std::vector<std::filesystem::path> captures;
    std::string service = "dns";
    std::filesystem::path config;
    std::uint16_t port = 0;
    unsigned quorum = 0;
    std::filesystem::path evidence;
    std::size_t list = 20;
    bool json = false;
};

[[noreturn]] void complain(const std::string& text, Exit code) {
    std::fprintf(stderr, "quorate compare: %s\n", text.c_str());
    leave(code);
}

// "dns" and "memcached" are known by name; any other service is one of a configuration.
tools::CompareOptions options_for(const Arguments& arguments) {
    tools::CompareOptions options;
    if (!arguments.config.empty()) {
        const auto config = config::load(arguments.config);
        if (!config) complain(config.error().text(), Exit::usage);
        for (const config::Service& service : config->services) {
            if (service.name != arguments.service) continue;
            options.matcher = service.matcher;
            options.comparator = service.comparator;
            options.port = service.port;
            return options;
        }
        complain(
            "there is no service \"" + arguments.service + "\" in " + arguments.config.string(),
            Exit::usage);
    }
    if (arguments.service == "dns") {
        options.matcher = voter::Matcher(voter::MatcherKind::dns);
        options.comparator = voter::Comparator(voter::ComparatorKind::dns);
        options.port = 53;
    } else if (arguments.service == "memcached") {
        options.matcher = voter::Matcher(voter::MatcherKind::memcached);
        options.port = 11211;
    } else {
        complain(
            "--service " + arguments.service +
                " is not dns or memcached: give the configuration that defines it with --config",
            Exit::usage);
    }
    return options;
}

const char* text(voter::Verdict verdict) {
    switch (verdict) {
        case voter::Verdict::agreed:
            return "agreed";
        case voter::Verdict::split:
            return "split";
        default:
            return "expired";
    }
}

Json as_json(const tools::Comparison& found) {
    Json captures = Json::array();
    for (const tools::CaptureSummary& capture : found.captures) {
        captures.push_back({{"file", capture.file},
                            {"requests", capture.requests},
                            {"replies", capture.replies},
                            {"strays", capture.strays},
                            {"dissent", capture.dissents},
                            {"silence", capture.silences},
                            {"complaint", capture.complaint}});
    }
    Json differences = Json::array();
    for (const tools::Difference& difference : found.differences) {
        Json dissents = Json::array();
        for (const auto& dissent : difference.dissents) {
            dissents.push_back({{"file", found.captures[dissent.capture].file},
                                {"frame", dissent.frame},
                                {"where", dissent.where}});
        }
        Json silent = Json::array();
        for (const std::size_t capture : difference.silent)
            silent.push_back(found.captures[capture].file);
        differences.push_back({{"time_ns", difference.time_ns},
                               {"frame", difference.frame},
                               {"request", difference.request},
                               {"verdict", text(difference.verdict)},
                               {"dissent", dissents},
                               {"silence", silent}});
    }
    return {{"requests", found.requests},
            {"agreed", found.agreed},
            {"split", found.split},
            {"expired", found.expired},
            {"captures", captures},
            {"differences", differences},
            {"differences_unlisted", found.differences_unlisted}};
}

void print(const tools::Comparison& found, const Arguments& arguments) {
    std::size_t listed = 0;
    for (const tools::Difference& difference : found.differences) {
        if (listed++ == arguments.list) break;
        std::printf("request %s (frame %llu): %s\n", difference.request.c_str(),
                    static_cast<unsigned long long>(difference.frame), text(difference.verdict));
        for (const auto& dissent : difference.dissents) {
            std::printf("  dissent  %s frame %llu: %s\n",
                        found.captures[dissent.capture].file.c_str(),
                        static_cast<unsigned long long>(dissent.frame), dissent.where.c_str());
        }
        for (const std::size_t capture : difference.silent) {
            std::printf("  silence  %s\n", found.captures[capture].file.c_str());
        }
    }
    const std::uint64_t all = found.differences.size() + found.differences_unlisted;
    if (all > arguments.list) {
        std::printf("... and %llu more (--list N, --json, --evidence FILE)\n",
                    static_cast<unsigned long long>(all - arguments.list));
    }
    std::printf("%-32s %9s %9s %9s %9s\n", "capture", "requests", "replies", "dissent", "silence");
    for (const tools::CaptureSummary& capture : found.captures) {
        std::printf("%-32s %9llu %9llu %9llu %9llu\n", capture.file.c_str(),
                    static_cast<unsigned long long>(capture.requests),
                    static_cast<unsigned long long>(capture.replies),
                    static_cast<unsigned long long>(capture.dissents),
                    static_cast<unsigned long long>(capture.silences));
    }
    std::printf("%llu requests: %llu agreed, %llu split, %llu expired\n",
                static_cast<unsigned long long>(found.requests),
                static_cast<unsigned long long>(found.agreed),
                static_cast<unsigned long long>(found.split),
                static_cast<unsigned long long>(found.expired));
    if (!arguments.evidence.empty()) std::printf("evidence: %s\n", arguments.evidence.c_str());
}

void run(const Arguments& arguments) {
    tools::CompareOptions options = options_for(arguments);
    if (arguments.port != 0) options.port = arguments.port;
    options.quorum = static_cast<std::uint8_t>(arguments.quorum);
    options.evidence = arguments.evidence;
    const auto found = tools::compare_captures(arguments.captures, options);
    if (!found) complain(found.error(), Exit::failed);
    if (arguments.json) {
        std::printf("%s\n", as_json(*found).dump(1).c_str());
    } else {
        print(*found, arguments);
    }
    bool whole = true;
    for (const tools::CaptureSummary& capture : found->captures) {
        if (capture.complaint.empty()) continue;
        std::fprintf(stderr, "quorate compare: %s\n", capture.complaint.c_str());
        whole = false;
    }
    if (found->requests == 0)
        complain(
            "no requests to port " + std::to_string(options.port) + " in these captures (--port?)",
            Exit::failed);
    std::uint64_t faults = found->split + found->expired;
    for (const tools::CaptureSummary& capture : found->captures)
        faults += capture.dissents + capture.silences;
    if (faults != 0 || !whole) leave(Exit::failed);
}

}  // namespace

void add_compare(CLI::App& app) {
    CLI::App* command = app.add_subcommand(
        "compare", "Vote offline over what several servers answered, from captures");
    command->footer(
        "Each capture holds the same requests with one server's replies (pcap or pcapng). The real "
        "voter\n"
        "says who dissented where. Exit code 0: all agreed; 1: there were differences.\n"
        "  quorate compare nsd.pcap knot.pcap named.pcap --service dns");
    auto arguments = std::make_shared<Arguments>();
    command->add_option("captures", arguments->captures, "one for each server, 2 to 7")
        ->required()
        ->expected(2, static_cast<int>(voter::replicas_max));
    command->add_option("--service", arguments->service,
                        "dns, memcached, or the name of a service in --config (default dns)");
    command->add_option("-c,--config", arguments->config, "where --service is defined");
    command->add_option("--port", arguments->port, "of the service, where it is not the usual one");
    command
        ->add_option("--quorum", arguments->quorum, "how many must agree (default: more than half)")
        ->check(CLI::Range(1u, voter::replicas_max));
    command->add_option("--evidence", arguments->evidence,
                        "write every ballot with a difference to this pcapng file");
    command->add_option("--list", arguments->list, "describe so many differences (default 20)");
    command->add_flag("--json", arguments->json, "one object on standard output");
    command->callback([arguments] { run(*arguments); });
}

}  // namespace quorate
