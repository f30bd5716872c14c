#include "tools/quorate/replica_hosts.hh"

#include <algorithm>
#include <memory>

#include "xen/domain/xen_machine.hh"
#include "xen/store/library.hh"

namespace quorate {

ReplicaHosts::ReplicaHosts(const config::Config& config)
    : config_(config),
      netns_(config),
      xen_(config, std::make_shared<xen::domain::XenMachine>(), xen::store::by_library()) {}

bool ReplicaHosts::is_domain(const std::string& group, voter::ReplicaId slot) const {
    const config::Group* found = config_.group(group);
    return found != nullptr && slot.value < found->replicas.size() &&
           found->replicas[slot.value].xen.has_value();
}

ReplicaHosts::Result<recovery::ReplicaFacts> ReplicaHosts::start(
    const recovery::ReplicaName& name) {
    return is_domain(name.group, name.slot) ? xen_.start(name) : netns_.start(name);
}

ReplicaHosts::Result<void> ReplicaHosts::stop(const recovery::ReplicaName& name) {
    return is_domain(name.group, name.slot) ? xen_.stop(name) : netns_.stop(name);
}

ReplicaHosts::Result<void> ReplicaHosts::pause(const recovery::ReplicaName& name) {
    return is_domain(name.group, name.slot) ? xen_.pause(name) : netns_.pause(name);
}

ReplicaHosts::Result<void> ReplicaHosts::resume(const recovery::ReplicaName& name) {
    return is_domain(name.group, name.slot) ? xen_.resume(name) : netns_.resume(name);
}

ReplicaHosts::Result<std::vector<recovery::ReplicaFacts>> ReplicaHosts::inspect(
    const std::string& group, voter::ReplicaId slot) {
    auto all = is_domain(group, slot) ? xen_.inspect() : netns_.inspect();
    if (!all) return all;
    std::erase_if(*all, [&](const recovery::ReplicaFacts& facts) {
        return facts.name.group != group || facts.name.slot != slot;
    });
    return all;
}

ReplicaHosts::Result<unsigned> ReplicaHosts::clean() {
    const auto processes = netns_.clean();
    if (!processes) return processes;
    // Where there is nothing of Xen's in the configuration, there need not be a Xen.
    const bool domains =
        std::any_of(config_.groups.begin(), config_.groups.end(), [](const config::Group& group) {
            return std::any_of(group.replicas.begin(), group.replicas.end(),
                               [](const config::Replica& replica) { return replica.xen; });
        });
    if (!domains) return processes;
    const auto more = xen_.clean();
    if (!more) return more;
    return *processes + *more;
}

ReplicaHosts::Result<void> ReplicaHosts::dump(const recovery::ReplicaName& name,
                                              const std::filesystem::path& file) {
    if (is_domain(name.group, name.slot)) return xen_.dump(name, file);
    return tl::unexpected(recovery::HostError{"replica " + name.group + "/" +
                                              std::to_string(name.slot.value) + " is no domain"});
}

}  // namespace quorate
