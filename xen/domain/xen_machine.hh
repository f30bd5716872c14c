// The machine we run on: inspected, paused and limited by libxenctrl at once; built, destroyed and
// dumped by helpers.
//
// Known limit: a cap is credit2's; under another scheduler it is an error.
#pragma once

#include <string>
#include <vector>

#include "xen/domain/helper.hh"
#include "xen/domain/machine.hh"

namespace xen::domain {

class XenMachine final : public Machine {
  public:
    // How this same program is called to end in run_helper() and run_keeper(); by default
    // {"quorate", helper_subcommand} and {"quorate", keeper_subcommand}.
    explicit XenMachine(std::vector<std::string> helper = {}, std::vector<std::string> keeper = {});

    Result<MachineFacts> facts() override;
    Result<std::vector<DomainFacts>> domains() override;
    Result<Disk> attach(const std::filesystem::path& file, const std::string& sha256) override;
    Result<DomainId> build(const Plan& plan) override;
    Result<void> destroy(DomainId domain, const Uuid& uuid) override;
    Result<void> limit(DomainId domain, const Limits& limits) override;
    Result<void> pause(DomainId domain) override;
    Result<void> unpause(DomainId domain) override;
    Result<void> dump(DomainId domain, const Uuid& uuid, const std::filesystem::path& file,
                      std::uint64_t bytes_max) override;
    Result<void> keep(const KeeperOrder& order) override;

  private:
    Helper helper_;
    std::vector<std::string> keeper_;
};

}  // namespace xen::domain
