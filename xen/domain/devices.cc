#include "xen/domain/devices.hh"

#include <charconv>

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

std::string home(DomainId domain) { return "/local/domain/" + std::to_string(domain.value); }

std::string backend_directory(DomainId domain) {
    return std::string(backends) + "/" + std::to_string(domain.value);
}

}  // namespace

std::string backend_path(DomainId domain) { return backend_directory(domain) + "/0"; }

std::string frontend_path(DomainId domain) { return home(domain) + "/device/vif/0"; }

Result<void> write_devices(Store& store, DomainId domain, const DeviceNames& names) {
    const std::string backend = backend_path(domain);
    const std::string frontend = frontend_path(domain);
    const Permissions ours{domain_0, Access::none, {{domain, Access::read}}};
    const Permissions theirs{domain, Access::none, {{domain_0, Access::read}}};
    // Nodes below take the permissions of these two.
    const std::vector<store::Node> nodes{
        {backend, "", ours},
        {backend + "/frontend", frontend, {}},
        {backend + "/frontend-id", std::to_string(domain.value), {}},
        {backend + "/online", "1", {}},
        {backend + "/handle", "0", {}},
        {backend + "/mac", replica_mac, {}},
        {backend + "/uuid", names.uuid.text(), {}},
        {backend + "/incarnation", std::to_string(names.incarnation.value), {}},
        {backend + "/appliance", names.appliance, {}},
        {backend + "/state", "1", {}},
        {frontend, "", theirs},
        {frontend + "/backend", backend, {}},
        {frontend + "/backend-id", "0", {}},
        {frontend + "/handle", "0", {}},
        {frontend + "/mac", replica_mac, {}},
        {frontend + "/state", "1", {}},
    };
    return store.transaction([&](Transaction& transaction) -> Result<void> {
        // What an earlier domain of this number may have left.
        if (auto done = transaction.remove(backend_directory(domain)); !done) return done;
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
