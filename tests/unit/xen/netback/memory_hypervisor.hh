// A hypervisor in this process: pages that guests grant, event channels that count.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "xen/netback/hypervisor.hh"

namespace tests {

class MemoryHypervisor final : public xen::netback::Hypervisor {
  public:
    void grant(xen::DomainId guest, grant_ref_t grant, void* page) {
        pages_[{guest, grant}] = page;
    }
    void add_channel(xen::DomainId guest, std::uint32_t channel) {
        channels_.insert({{guest, channel}, 0});
    }
    // Notifications to the guest by its channel.
    unsigned notified(xen::DomainId guest, std::uint32_t channel) const {
        return channels_.at({guest, channel});
    }
    unsigned mapped() const { return mapped_; }
    unsigned bound() const { return bound_; }

    tl::expected<std::unique_ptr<xen::netback::MappedPage>, std::string> map(
        xen::DomainId guest, grant_ref_t grant) override {
        const auto page = pages_.find({guest, grant});
        if (page == pages_.end()) return tl::unexpected<std::string>("no such grant");
        return std::make_unique<Page>(page->second, mapped_);
    }
    tl::expected<std::unique_ptr<xen::netback::EventChannels>, std::string> bind(
        xen::DomainId guest, std::uint32_t tx, std::uint32_t rx) override {
        const auto of_tx = channels_.find({guest, tx});
        const auto of_rx = channels_.find({guest, rx});
        if (of_tx == channels_.end() || of_rx == channels_.end()) {
            return tl::unexpected<std::string>("no such channel");
        }
        return std::make_unique<Channels>(of_tx->second, of_rx->second, bound_);
    }

  private:
    struct Page final : xen::netback::MappedPage {
        Page(void* address, unsigned& mapped) : address_(address), mapped_(mapped) { ++mapped_; }
        ~Page() override { --mapped_; }
        Page(const Page&) = delete;
        Page& operator=(const Page&) = delete;
        void* address() const override { return address_; }
        void* address_;
        unsigned& mapped_;
    };
    struct Channels final : xen::netback::EventChannels {
        Channels(unsigned& tx, unsigned& rx, unsigned& bound) : tx_(tx), rx_(rx), bound_(bound) {
            ++bound_;
        }
        ~Channels() override { --bound_; }
        Channels(const Channels&) = delete;
        Channels& operator=(const Channels&) = delete;
        void notify_tx() override { ++tx_; }
        void notify_rx() override { ++rx_; }
        bool take_events() override { return false; }
        void listen() override {}
        int descriptor() const override { return -1; }
        unsigned& tx_;
        unsigned& rx_;
        unsigned& bound_;
    };

    std::map<std::pair<xen::DomainId, grant_ref_t>, void*> pages_;
    std::map<std::pair<xen::DomainId, std::uint32_t>, unsigned> channels_;
    unsigned mapped_ = 0;
    unsigned bound_ = 0;
};

}  // namespace tests
