// Replicas as process trees in network namespaces of this machine: recovery's concept "replica
// host" without a hypervisor. As root, or without root in a user namespace in which we are root.
//
// Known limits: the namespaces share the machine's kernel and file system, so this contains faults,
// not attacks. The links are in the network namespace of whoever calls start(), where the proxy
// must be; clean() looks for left-over links only there.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "config/config.hh"
#include "netns/record.hh"
#include "recovery/replica_host.hh"

namespace netns {

class Host {
  public:
    template <class Value>
    using Result = tl::expected<Value, recovery::HostError>;

    // The configuration must outlive the host. `supervisor` is how this same program is called to
    // end in run_supervisor(); by default {"quorate", supervisor_subcommand}.
    explicit Host(const config::Config& config, std::vector<std::string> supervisor = {});

    // Blocks until it is healthy, at most its health_timeout_ms and a little.
    Result<recovery::ReplicaFacts> start(const recovery::ReplicaName& name);
    // SIGTERM, and SIGKILL 2 s later. A name of another incarnation than sits there is not there.
    Result<void> stop(const recovery::ReplicaName& name);
    // Stops all of its processes where they are, and lets them go on.
    Result<void> pause(const recovery::ReplicaName& name);
    Result<void> resume(const recovery::ReplicaName& name);
    Result<std::vector<recovery::ReplicaFacts>> inspect();
    Result<unsigned> clean();

    // Where its files are while it lives, and its output, also after that.
    std::filesystem::path directory(const recovery::ReplicaName& name) const;
    std::filesystem::path log(const recovery::ReplicaName& name) const;

  private:
    tl::expected<Spec, std::string> specification(const recovery::ReplicaName& name) const;
    tl::expected<void, std::string> claim(const Record& record);
    tl::expected<void, std::string> supervise(const Spec& spec);
    tl::expected<void, std::string> end(const Record& record);
    tl::expected<void, std::string> remove_unfinished_records();
    Result<void> change_phase(const recovery::ReplicaName& name, int signal, Phase wanted);

    const config::Config& config_;
    std::vector<std::string> supervisor_;
    Paths paths_;
};

static_assert(recovery::ReplicaHost<Host>);

}  // namespace netns
