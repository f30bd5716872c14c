#include "xen/domain/helper.hh"

#include <charconv>
#include <csignal>
#include <cstdio>

#include <nlohmann/json.hpp>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "recovery/process.hh"
#include "xen/domain/text.hh"
#include "xen/domain/toolstack.hh"

namespace xen::domain {
namespace {

using Json = nlohmann::ordered_json;
using std::chrono::milliseconds;

// Seconds on a quiet machine; an emulated one may take twenty times as long.
constexpr milliseconds build_deadline{120'000};
constexpr milliseconds destroy_deadline{60'000};
constexpr milliseconds dump_deadline{120'000};
constexpr unsigned quoted_lines = 6;

// The last line of a helper that succeeded.
constexpr std::string_view result_mark = "result: ";

tl::expected<std::string, std::string> obey(const Json& order) {
    const std::string action = order.at("do").get<std::string>();
    if (action == "build") {
        const auto plan = parse_plan(order.at("plan").get<std::string>());
        if (!plan) return tl::unexpected(plan.error());
        const auto built = toolstack::build(*plan);
        if (!built) return tl::unexpected(built.error());
        return std::to_string(built->value);
    }
    const DomainId domain{order.at("domain").get<std::uint16_t>()};
    const auto uuid = parse_uuid(order.at("uuid").get<std::string>());
    if (!uuid || domain == domain_0) return tl::unexpected(std::string("no domain of ours"));
    tl::expected<void, std::string> done;
    if (action == "destroy") {
        done = toolstack::destroy(domain, *uuid);
    } else if (action == "dump") {
        done = toolstack::dump(domain, *uuid, order.at("file").get<std::string>(),
                               order.at("bytes_max").get<std::uint64_t>());
    } else {
        return tl::unexpected("what is '" + action + "'?");
    }
    if (!done) return tl::unexpected(done.error());
    return std::string("done");
}

Json about(DomainId domain, const Uuid& uuid, const char* action) {
    return {{"do", action}, {"domain", domain.value}, {"uuid", uuid.text()}};
}

}  // namespace

int run_helper() {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::prctl(PR_SET_NAME, "quorate-domain");
    ::signal(SIGXFSZ, SIG_IGN);  // the bound of a dump is an error, not a death
    ::umask(077);
    tl::expected<std::string, std::string> result;
    try {
        result = obey(Json::parse(recovery::read_input()));
    } catch (const Json::exception& error) {
        result =
            tl::unexpected("replica-domain is for Quorate's own use: " + std::string(error.what()));
    }
    std::fflush(stderr);
    if (!result) {
        std::printf("%s\n", result.error().c_str());
        return 1;
    }
    std::printf("%s%s\n", std::string(result_mark).c_str(), result->c_str());
    return 0;
}

tl::expected<std::string, std::string> Helper::ask(const std::string& about,
                                                   const std::string& order,
                                                   milliseconds deadline) const {
    std::vector<std::string> command = command_;
    command.push_back(about);  // for whoever looks at the processes
    const auto finished = recovery::run(command, deadline, {"/proc/self/exe", order});
    if (!finished) return tl::unexpected(finished.error());
    const std::string said = last_lines(finished->output, quoted_lines);
    if (!finished->succeeded()) {
        return tl::unexpected(
            said.empty() ? "its helper " + recovery::describe_end(finished->wait_status) : said);
    }
    const std::size_t at = said.rfind(result_mark);
    if (at == std::string::npos) return tl::unexpected("its helper said only: " + said);
    return said.substr(at + result_mark.size());
}

tl::expected<DomainId, std::string> Helper::build(const Plan& plan) const {
    const Json order{{"do", "build"}, {"plan", to_text(plan)}};
    const auto result = ask(plan.domain_name, order.dump(), build_deadline);
    if (!result) return tl::unexpected(result.error());
    DomainId domain;
    const auto [end, error] =
        std::from_chars(result->data(), result->data() + result->size(), domain.value);
    if (error != std::errc() || domain == domain_0) {
        return tl::unexpected("its helper gave it the number " + *result);
    }
    return domain;
}

tl::expected<void, std::string> Helper::destroy(DomainId domain, const Uuid& uuid) const {
    const auto result = ask("destroy", about(domain, uuid, "destroy").dump(), destroy_deadline);
    if (!result) return tl::unexpected(result.error());
    return {};
}

tl::expected<void, std::string> Helper::dump(DomainId domain, const Uuid& uuid,
                                             const std::filesystem::path& file,
                                             std::uint64_t bytes_max) const {
    Json order = about(domain, uuid, "dump");
    order["file"] = file.native();
    order["bytes_max"] = bytes_max;
    const auto result = ask("dump", order.dump(), dump_deadline);
    if (!result) return tl::unexpected(result.error());
    return {};
}

}  // namespace xen::domain
