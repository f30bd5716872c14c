// Host::clean(): what killed commands and dead domains have left, by record, by mark and by backend
// node. What is not ours is not even counted.
#include <algorithm>

#include "xen/domain/devices.hh"
#include "xen/domain/host.hh"

namespace xen::domain {

using recovery::HostError;

tl::expected<unsigned, std::string> Host::clean_records(const std::vector<DomainFacts>& domains) {
    const auto records = read_records(paths_);
    if (!records) return tl::unexpected(records.error());
    unsigned removed = 0;
    for (const Record& record : *records) {
        if (is_alive(record, domains)) continue;
        // Since the domains were listed it may have been started, and be healthy.
        const auto again = machine_->domains();
        if (!again) return tl::unexpected(again.error());
        const auto now = read_record(paths_.record(record.name));
        if (!now) return tl::unexpected(now.error());
        if (!*now || (*now)->uuid != record.uuid || is_alive(**now, *again)) continue;
        if (auto done = end(record); !done) return tl::unexpected(done.error());
        ++removed;
    }
    return removed;
}

// Domains with our mark, and backends, that no record knows.
tl::expected<unsigned, std::string> Host::clean_strays(store::Store& store,
                                                       const std::vector<DomainFacts>& domains) {
    // After the domains were listed: every one of ours that is in the list was in a record before.
    const auto records = read_records(paths_);
    if (!records) return tl::unexpected(records.error());
    const auto is_known = [&](const Uuid& uuid) {
        return std::any_of(records->begin(), records->end(),
                           [&](const Record& record) { return record.uuid == uuid; });
    };
    unsigned removed = 0;
    for (const DomainFacts& domain : domains) {
        if (domain.id == domain_0 || is_known(domain.uuid)) continue;
        const auto ours = is_marked(store, domain.id, config_.name);
        if (!ours) return tl::unexpected(ours.error().what);
        if (!*ours) continue;
        if (auto done = machine_->destroy(domain.id, domain.uuid); !done) {
            return tl::unexpected(done.error());
        }
        ++removed;
    }
    const auto devices = devices_of(store, config_.name);
    if (!devices) return tl::unexpected(devices.error().what);
    for (const LeftDevice& device : *devices) {
        if (is_known(device.uuid)) continue;
        if (auto done = remove_devices(store, device.domain, device.uuid); !done) {
            return tl::unexpected(done.error().what);
        }
        ++removed;
    }
    return removed;
}

Host::Result<unsigned> Host::clean() {
    const auto domains = machine_->domains();
    if (!domains) return tl::unexpected(HostError{domains.error()});
    auto store = store::Store::open(connect_);
    if (!store) return tl::unexpected(HostError{store.error().what});
    const auto dead = clean_records(*domains);
    if (!dead) return tl::unexpected(HostError{dead.error()});
    const auto strays = clean_strays(*store, *domains);
    if (!strays) return tl::unexpected(HostError{strays.error()});
    return *dead + *strays;
}

}  // namespace xen::domain
