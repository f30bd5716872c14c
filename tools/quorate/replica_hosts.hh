// The two hosts behind one: which of them runs a replica is the configuration's to say.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "config/config.hh"
#include "netns/host.hh"
#include "recovery/replica_host.hh"
#include "xen/domain/host.hh"

namespace quorate {

class ReplicaHosts {
  public:
    template <class Value>
    using Result = tl::expected<Value, recovery::HostError>;

    // The configuration must outlive it.
    explicit ReplicaHosts(const config::Config& config);

    // False: it is run by somebody else.
    bool runs(const config::Replica& replica) const { return replica.netns || replica.xen; }

    Result<recovery::ReplicaFacts> start(const recovery::ReplicaName& name);
    Result<void> stop(const recovery::ReplicaName& name);
    // It stands still, and goes on; doing either twice is no error.
    Result<void> pause(const recovery::ReplicaName& name);
    Result<void> resume(const recovery::ReplicaName& name);
    // Of one slot.
    Result<std::vector<recovery::ReplicaFacts>> inspect(const std::string& group,
                                                        voter::ReplicaId slot);
    Result<unsigned> clean();
    // Domains only.
    Result<void> dump(const recovery::ReplicaName& name, const std::filesystem::path& file);

  private:
    bool is_domain(const std::string& group, voter::ReplicaId slot) const;

    const config::Config& config_;
    netns::Host netns_;
    xen::domain::Host xen_;
};

}  // namespace quorate
