// A guest with one network device, as the slow path meets it: the pages and event channels of one
// queue, and what it writes to xenstore.
#pragma once

#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "tests/unit/xen/netback/frontend.hh"
#include "tests/unit/xen/netback/memory_hypervisor.hh"
#include "xen/store/store.hh"

namespace tests {

struct Guest {
    Guest(xen::DomainId id, MemoryHypervisor& hypervisor) : domain(id) {
        hypervisor.grant(domain, tx_grant, tx.page());
        hypervisor.grant(domain, rx_grant, rx.page());
        hypervisor.add_channel(domain, tx_channel);
        hypervisor.add_channel(domain, rx_channel);
    }

    void write_keys(xen::store::Store& store) const {
        for (const auto& [key, value] : {std::pair{"tx-ring-ref", tx_grant},
                                         {"rx-ring-ref", rx_grant},
                                         {"event-channel-tx", tx_channel},
                                         {"event-channel-rx", rx_channel},
                                         {"request-rx-copy", 1u},
                                         {"feature-rx-notify", 1u}}) {
            ASSERT_TRUE(store.write(frontend + "/" + key, std::to_string(value))) << key;
        }
    }

    static constexpr grant_ref_t tx_grant = 8;
    static constexpr grant_ref_t rx_grant = 9;
    static constexpr unsigned tx_channel = 3;
    static constexpr unsigned rx_channel = 4;

    const xen::DomainId domain;
    const std::string home = "/local/domain/" + std::to_string(domain.value);
    const std::string frontend = home + "/device/vif/0";
    const std::string backend =
        "/local/domain/0/backend/quorate/" + std::to_string(domain.value) + "/0";
    FrontRing<xen::netback::TxRing> tx;
    FrontRing<xen::netback::RxRing> rx;
};

}  // namespace tests
