// What the slow path asks of Xen: pages of a guest mapped, event channels bound. A class with
// virtual functions: nothing of it is near a packet but EventChannels::notify, which is once a
// burst.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <tl/expected.hpp>

#include "xen/domain_id.hh"
#include "xen/netback/grant_copy.hh"
#include "xen/netback/keys.hh"
#include "xen/netback/queue.hh"

namespace xen::netback {

// Pages stay mapped as long as it lives.
class MappedPage {
  public:
    MappedPage() = default;
    MappedPage(const MappedPage&) = delete;
    MappedPage& operator=(const MappedPage&) = delete;
    virtual ~MappedPage() = default;
    virtual void* address() const = 0;
};

class Hypervisor {
  public:
    Hypervisor() = default;
    Hypervisor(const Hypervisor&) = delete;
    Hypervisor& operator=(const Hypervisor&) = delete;
    virtual ~Hypervisor() = default;

    virtual tl::expected<std::unique_ptr<MappedPage>, std::string> map(DomainId domain,
                                                                       grant_ref_t grant) = 0;
    virtual tl::expected<std::unique_ptr<EventChannels>, std::string> bind(
        DomainId domain, std::uint32_t tx_channel, std::uint32_t rx_channel) = 0;
};

// The one we run on. The error says what to do. `copier` of a thread: from real_copier(), which
// lives as long as the process.
tl::expected<std::unique_ptr<Hypervisor>, std::string> open_hypervisor();
tl::expected<Copier, std::string> open_copier();

// What copying and EventChannels ask of the kernel, by ioctl(): for a system call filter.
std::array<unsigned long, 2> worker_ioctls();

}  // namespace xen::netback
