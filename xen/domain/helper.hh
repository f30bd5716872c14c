// The process that does one thing with libxl and ends: `quorate replica-domain`, hidden. It reads
// an order as JSON and prints what came of it; whoever started it ends it at a deadline, and it
// ends with whoever started it.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "xen/domain/plan.hh"
#include "xen/domain_id.hh"

namespace xen::domain {

constexpr const char* helper_subcommand = "replica-domain";

// main() of the helper; the exit code.
int run_helper();

// The callers' side. `command` is how this same program is called to end in run_helper().
class Helper {
  public:
    explicit Helper(std::vector<std::string> command) : command_(std::move(command)) {}

    tl::expected<DomainId, std::string> build(const Plan& plan) const;
    tl::expected<void, std::string> destroy(DomainId domain, const Uuid& uuid) const;
    tl::expected<void, std::string> dump(DomainId domain, const Uuid& uuid,
                                         const std::filesystem::path& file,
                                         std::uint64_t bytes_max) const;

  private:
    tl::expected<std::string, std::string> ask(const std::string& about, const std::string& order,
                                               std::chrono::milliseconds deadline) const;
    std::vector<std::string> command_;
};

}  // namespace xen::domain
