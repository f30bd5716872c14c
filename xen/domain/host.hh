// Replicas as Xen domains: recovery's concept "replica host" on a hypervisor.
//
// Safe to use from several threads and processes at once. What is not ours (another name's UUID, no
// mark of this appliance) is never touched.
//
// Known limits: the proxy must attach the network device while the domain boots, so tell it before
// start(); a domain that has ended keeps its memory, for a look at it, until its place is
// stopped, started or cleaned.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "config/config.hh"
#include "recovery/replica_host.hh"
#include "xen/domain/machine.hh"
#include "xen/domain/record.hh"
#include "xen/store/store.hh"

namespace xen::domain {

class Host {
  public:
    template <class Value>
    using Result = tl::expected<Value, recovery::HostError>;

    // The configuration must outlive the host.
    Host(const config::Config& config, std::shared_ptr<Machine> machine, store::Connect connect);

    // Blocks until it is healthy, at most for the build and its health_timeout_ms.
    Result<recovery::ReplicaFacts> start(const recovery::ReplicaName& name);
    Result<void> stop(const recovery::ReplicaName& name);
    Result<void> pause(const recovery::ReplicaName& name);
    Result<void> resume(const recovery::ReplicaName& name);
    Result<std::vector<recovery::ReplicaFacts>> inspect();
    Result<unsigned> clean();
    // Its memory into a new file that only we may read; also of one that has crashed.
    Result<void> dump(const recovery::ReplicaName& name, const std::filesystem::path& file);

    std::filesystem::path log(const recovery::ReplicaName& name) const { return paths_.log(name); }

  private:
    using Done = tl::expected<void, std::string>;
    struct Boot;

    tl::expected<Boot, std::string> boot_of(const recovery::ReplicaName& name) const;
    Done claim(const Boot& boot);
    Done admit(const Boot& boot);
    tl::expected<DomainId, std::string> build(const Record& record, const config::XenImage& image);
    Done bring_up(Boot& boot);
    tl::expected<store::Store, std::string> living_store() const;
    Done await_health(const Boot& boot, store::Store& store);
    Done end(const Record& record);
    tl::expected<DomainFacts, std::string> living(const recovery::ReplicaName& name);
    tl::expected<unsigned, std::string> clean_records(const std::vector<DomainFacts>& domains);
    tl::expected<unsigned, std::string> clean_strays(store::Store& store,
                                                     const std::vector<DomainFacts>& domains);

    const config::Config& config_;
    std::shared_ptr<Machine> machine_;
    store::Connect connect_;
    Paths paths_;
};

static_assert(recovery::ReplicaHost<Host>);

}  // namespace xen::domain
