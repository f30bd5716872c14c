#include "xen/netback/hypervisor.hh"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

extern "C" {
#include <xen/sys/evtchn.h>
#include <xen/sys/gntdev.h>
#include <xenevtchn.h>
}

namespace xen::netback {

namespace {

std::string cause() { return std::strerror(errno); }

std::string no_xen(const char* device) {
    return std::string(device) + " cannot be opened (" + cause() +
           "): this must run in Xen's Dom0, with the modules xen-gntdev and xen-evtchn";
}

class RealPage final : public MappedPage {
  public:
    RealPage(xengnttab_handle* grants, void* address) : grants_(grants), address_(address) {}
    ~RealPage() override { xengnttab_unmap(grants_, address_, 1); }
    RealPage(const RealPage&) = delete;
    RealPage& operator=(const RealPage&) = delete;
    void* address() const override { return address_; }

  private:
    xengnttab_handle* grants_;
    void* address_;
};

class RealChannels final : public EventChannels {
  public:
    ~RealChannels() override {
        if (handle_ != nullptr) xenevtchn_close(handle_);  // unbinds
    }
    RealChannels() = default;
    RealChannels(const RealChannels&) = delete;
    RealChannels& operator=(const RealChannels&) = delete;

    tl::expected<void, std::string> bind(DomainId domain, std::uint32_t tx, std::uint32_t rx) {
        handle_ = xenevtchn_open(nullptr, 0);
        if (handle_ == nullptr) return tl::unexpected(no_xen("/dev/xen/evtchn"));
        // take_events() must not wait.
        const int flags = ::fcntl(xenevtchn_fd(handle_), F_GETFL);
        ::fcntl(xenevtchn_fd(handle_), F_SETFL, flags | O_NONBLOCK);
        const auto bound = [&](std::uint32_t remote) {
            return xenevtchn_bind_interdomain(handle_, domain.value, remote);
        };
        const auto first = bound(tx);
        const auto second = tx == rx || first < 0 ? first : bound(rx);
        if (first < 0 || second < 0) {
            return tl::unexpected("its event channel cannot be bound (" + cause() + ")");
        }
        tx_ = static_cast<evtchn_port_t>(first);
        rx_ = static_cast<evtchn_port_t>(second);
        return {};
    }

    void notify_tx() override { xenevtchn_notify(handle_, tx_); }
    void notify_rx() override { xenevtchn_notify(handle_, rx_); }
    bool take_events() override {
        bool any = false;
        const unsigned channels = rx_ == tx_ ? 1 : 2;
        for (unsigned i = 0; i < channels && xenevtchn_pending(handle_) >= 0; ++i) any = true;
        return any;
    }
    void listen() override {
        xenevtchn_unmask(handle_, tx_);
        if (rx_ != tx_) xenevtchn_unmask(handle_, rx_);
    }
    int descriptor() const override { return xenevtchn_fd(handle_); }

  private:
    xenevtchn_handle* handle_ = nullptr;
    evtchn_port_t tx_ = 0;
    evtchn_port_t rx_ = 0;
};

class RealHypervisor final : public Hypervisor {
  public:
    explicit RealHypervisor(xengnttab_handle* grants) : grants_(grants) {}
    ~RealHypervisor() override { xengnttab_close(grants_); }
    RealHypervisor(const RealHypervisor&) = delete;
    RealHypervisor& operator=(const RealHypervisor&) = delete;

    tl::expected<std::unique_ptr<MappedPage>, std::string> map(DomainId domain,
                                                               grant_ref_t grant) override {
        void* address =
            xengnttab_map_grant_ref(grants_, domain.value, grant, PROT_READ | PROT_WRITE);
        if (address == nullptr) {
            return tl::unexpected("its ring page cannot be mapped (" + cause() + ")");
        }
        return std::make_unique<RealPage>(grants_, address);
    }
    tl::expected<std::unique_ptr<EventChannels>, std::string> bind(
        DomainId domain, std::uint32_t tx_channel, std::uint32_t rx_channel) override {
        auto channels = std::make_unique<RealChannels>();
        if (auto bound = channels->bind(domain, tx_channel, rx_channel); !bound) {
            return tl::unexpected(bound.error());
        }
        return channels;
    }

  private:
    xengnttab_handle* grants_;
};

int run_copies(void* grants, CopySegment* segments, std::uint32_t count) {
    if (xengnttab_grant_copy(static_cast<xengnttab_handle*>(grants), count, segments) == 0) {
        return 0;
    }
    return errno == 0 ? -EIO : -errno;
}

}  // namespace

tl::expected<std::unique_ptr<Hypervisor>, std::string> open_hypervisor() {
    xengnttab_handle* grants = xengnttab_open(nullptr, 0);
    if (grants == nullptr) return tl::unexpected(no_xen("/dev/xen/gntdev"));
    return std::make_unique<RealHypervisor>(grants);
}

tl::expected<Copier, std::string> open_copier() {
    xengnttab_handle* grants = xengnttab_open(nullptr, 0);
    if (grants == nullptr) return tl::unexpected(no_xen("/dev/xen/gntdev"));
    return Copier{&run_copies, grants};
}

// linux/xen's <xen/gntdev.h> and <xen/evtchn.h>, as libxen-dev has them.
std::array<unsigned long, 2> worker_ioctls() {
    return {IOCTL_GNTDEV_GRANT_COPY, IOCTL_EVTCHN_NOTIFY};
}

}  // namespace xen::netback
