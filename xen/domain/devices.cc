#include "xen/domain/devices.hh"

#include <array>
#include <charconv>
#include <cstdio>

#include <sys/sysmacros.h>

#include "xen/domain/plan.hh"

namespace xen::domain {
namespace {

using store::Access;
using store::Permissions;
using store::Result;
using store::Store;
using store::Transaction;

constexpr const char* backends = "/local/domain/0/backend/quorate";
constexpr std::size_t name_bytes_max = 64;
constexpr const char* xvda = "51712";  // XEN: docs/misc/vbd-interface.txt, 202 << 8

std::string home(DomainId domain) { return "/local/domain/" + std::to_string(domain.value); }

std::string backend_directory(DomainId domain) {
    return std::string(backends) + "/" + std::to_string(domain.value);
}

std::string disks_directory(DomainId domain) {
    return "/local/domain/0/backend/vbd/" + std::to_string(domain.value);
}

std::string disk_path(DomainId domain) { return disks_directory(domain) + "/" + xvda; }

Permissions readable(DomainId owner, DomainId reader) {
    return {owner, Access::none, {{reader, Access::read}}};
}

void add_disk(std::vector<store::Node>& nodes, DomainId domain, const Uuid& uuid, dev_t device) {
    const std::string backend = disk_path(domain);
    const std::string frontend = home(domain) + "/device/vbd/" + xvda;
    std::array<char, 32> number;  // as xen-blkback reads it
    std::snprintf(number.data(), number.size(), "%x:%x", major(device), minor(device));
    nodes.insert(nodes.end(), {
                                  {backend, "", readable(domain_0, domain)},
                                  {backend + "/frontend", frontend, {}},
                                  {backend + "/frontend-id", std::to_string(domain.value), {}},
                                  {backend + "/online", "1", {}},
                                  {backend + "/uuid", uuid.text(), {}},
                                  {backend + "/dev", "xvda", {}},
                                  {backend + "/type", "phy", {}},
                                  {backend + "/device-type", "disk", {}},
                                  {backend + "/mode", "r", {}},
                                  {backend + "/removable", "0", {}},
                                  {backend + "/bootable", "0", {}},
                                  {backend + "/discard-enable", "0", {}},
                                  {backend + "/physical-device", number.data(), {}},
                                  {backend + "/state", "1", {}},
                                  {frontend, "", readable(domain, domain_0)},
                                  {frontend + "/backend", backend, {}},
                                  {frontend + "/backend-id", "0", {}},
                                  {frontend + "/virtual-device", xvda, {}},
                                  {frontend + "/device-type", "disk", {}},
                                  {frontend + "/state", "1", {}},
                              });
}

}  // namespace

std::string backend_path(DomainId domain) { return backend_directory(domain) + "/0"; }

std::string frontend_path(DomainId domain) { return home(domain) + "/device/vif/0"; }

Result<void> write_devices(Store& store, DomainId domain, const DeviceNames& names) {
    const std::string backend = backend_path(domain);
    const std::string frontend = frontend_path(domain);
    // Nodes below take the permissions of these two.
    std::vector<store::Node> nodes{
        {backend, "", readable(domain_0, domain)},
        {backend + "/frontend", frontend, {}},
        {backend + "/frontend-id", std::to_string(domain.value), {}},
        {backend + "/online", "1", {}},
        {backend + "/handle", "0", {}},
        {backend + "/mac", replica_mac, {}},
        {backend + "/uuid", names.uuid.text(), {}},
        {backend + "/incarnation", std::to_string(names.incarnation.value), {}},
        {backend + "/appliance", names.appliance, {}},
        {backend + "/state", "1", {}},
        {frontend, "", readable(domain, domain_0)},
        {frontend + "/backend", backend, {}},
        {frontend + "/backend-id", "0", {}},
        {frontend + "/handle", "0", {}},
        {frontend + "/mac", replica_mac, {}},
        {frontend + "/state", "1", {}},
    };
    if (names.disk) add_disk(nodes, domain, names.uuid, *names.disk);
    return store.transaction([&](Transaction& transaction) -> Result<void> {
        // What an earlier domain of this number may have left.
        if (auto done = transaction.remove(backend_directory(domain)); !done) return done;
        if (auto done = transaction.remove(disks_directory(domain)); !done) return done;
        for (const store::Node& node : nodes) {
            if (auto done = transaction.write(node); !done) return done;
        }
        return {};
    });
}

Result<void> remove_devices(Store& store, DomainId domain, const Uuid& uuid) {
    return store.transaction([&](Transaction& transaction) -> Result<void> {
        const auto written =
            transaction.read_if_there(backend_path(domain) + "/uuid", name_bytes_max);
        if (!written) return tl::unexpected(written.error());
        if (*written != uuid.text()) return {};
        const auto disk = transaction.read_if_there(disk_path(domain) + "/uuid", name_bytes_max);
        if (!disk) return tl::unexpected(disk.error());
        if (*disk == uuid.text()) {
            if (auto done = transaction.remove(disks_directory(domain)); !done) return done;
        }
        return transaction.remove(backend_directory(domain));
    });
}

Result<std::vector<LeftDevice>> devices_of(Store& store, const std::string& appliance) {
    std::vector<LeftDevice> found;
    const auto numbers = store.list(backends);
    if (!numbers) {
        if (numbers.error().failure == store::Failure::missing) return found;
        return tl::unexpected(numbers.error());
    }
    for (const std::string& text : *numbers) {
        DomainId domain;
        const auto [end, error] =
            std::from_chars(text.data(), text.data() + text.size(), domain.value);
        if (error != std::errc() || end != text.data() + text.size()) continue;
        const auto whose = store.read_if_there(backend_path(domain) + "/appliance", name_bytes_max);
        if (!whose) return tl::unexpected(whose.error());
        if (*whose != appliance) continue;
        const auto written = store.read_if_there(backend_path(domain) + "/uuid", name_bytes_max);
        if (!written) return tl::unexpected(written.error());
        const auto uuid = parse_uuid(written->value_or(""));
        if (uuid) found.push_back({domain, *uuid});
    }
    return found;
}

Result<bool> is_marked(Store& store, DomainId domain, const std::string& appliance) {
    const auto mark = store.read_if_there(home(domain) + "/quorate/appliance", name_bytes_max);
    if (!mark) return tl::unexpected(mark.error());
    return *mark == appliance;
}

}  // namespace xen::domain
