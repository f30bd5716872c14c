// The xenstore nodes of a replica's devices, written while the domain is paused, removed when it is
// gone: the network device, whose backend is the proxy, and the disk, if it has one, whose backend
// is the kernel's xen-blkback. libxl knows nothing of them.
//
//     /local/domain/0/backend/quorate/DOMAIN/0    dom0's; the guest may read
//     /local/domain/DOMAIN/device/vif/0           the guest's; dom0 may read, as it may everything
//     /local/domain/0/backend/vbd/DOMAIN/51712    and so the disk (XEN: public/io/blkif.h), xvda
//     /local/domain/DOMAIN/device/vbd/51712
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "voter/types.hh"
#include "xen/domain/uuid.hh"
#include "xen/domain_id.hh"
#include "xen/store/store.hh"

namespace xen::domain {

struct DeviceNames {
    std::string appliance;
    Uuid uuid;
    voter::Incarnation incarnation;
    std::optional<dev_t> disk = {};  // the block device behind it
};

std::string backend_path(DomainId domain);   // ".../DOMAIN/0"
std::string frontend_path(DomainId domain);  // ".../vif/0"

// All of it or nothing.
store::Result<void> write_devices(store::Store& store, DomainId domain, const DeviceNames& names);

// The backends' parts, if they are of this UUID: domain numbers come again.
store::Result<void> remove_devices(store::Store& store, DomainId domain, const Uuid& uuid);

struct LeftDevice {
    DomainId domain;
    Uuid uuid;
};
// All backend parts that this appliance has written.
store::Result<std::vector<LeftDevice>> devices_of(store::Store& store,
                                                  const std::string& appliance);

// The domain carries the mark of this appliance, which only the toolstack can write.
store::Result<bool> is_marked(store::Store& store, DomainId domain, const std::string& appliance);

}  // namespace xen::domain
