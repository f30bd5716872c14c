// A frontend in this process that speaks the real ring layout (xen/io/ring.h, netif.h): it can be
// honest, and it can write whatever it likes where a guest could. Grants are numbers for pages of
// its own; the copier refuses what is not granted, as the hypervisor does.
#pragma once

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "xen/netback/grant_copy.hh"
#include "xen/netback/guest_rx.hh"
#include "xen/netback/guest_tx.hh"

namespace tests {

using Page = std::array<std::byte, xen::netback::page_bytes>;

// The granted pages of one domain.
class Grants {
  public:
    // A new page under a new reference.
    grant_ref_t grant() {
        pages_[next_] = std::make_unique<Page>();
        return next_++;
    }
    void revoke(grant_ref_t ref) { revoked_[ref] = true; }
    std::byte* bytes(grant_ref_t ref) { return pages_.at(ref)->data(); }
    bool usable(grant_ref_t ref) const { return pages_.contains(ref) && !revoked_.contains(ref); }

    // GNTTABOP_copy, for this domain only.
    xen::netback::Copier copier() { return {&run, this}; }
    int fail_with = 0;  // the whole ioctl

  private:
    static int run(void* context, xen::netback::CopySegment* segments, std::uint32_t count) {
        auto* self = static_cast<Grants*>(context);
        if (self->fail_with != 0) return -self->fail_with;
        for (std::uint32_t i = 0; i < count; ++i) self->copy(segments[i]);
        return 0;
    }
    void copy(xen::netback::CopySegment& segment) {
        const bool in = (segment.flags & GNTCOPY_source_gref) != 0;
        const auto& foreign = in ? segment.source.foreign : segment.dest.foreign;
        if (!usable(foreign.ref) || foreign.offset + segment.len > xen::netback::page_bytes) {
            segment.status = -3;  // GNTST_bad_gntref
            return;
        }
        std::byte* guest = bytes(foreign.ref) + foreign.offset;
        if (in) {
            std::memcpy(segment.dest.virt, guest, segment.len);
        } else {
            std::memcpy(guest, segment.source.virt, segment.len);
        }
        segment.status = GNTST_okay;
    }

    grant_ref_t next_ = 8;
    std::map<grant_ref_t, std::unique_ptr<Page>> pages_;
    std::map<grant_ref_t, bool> revoked_;
};

// One shared ring, seen from the guest.
template <class Ring>
class FrontRing {
  public:
    using Shared = typename Ring::Shared;
    FrontRing() : page_(std::make_unique<AlignedPage>()) {
        shared().req_event = 1;
        shared().rsp_event = 1;
    }

    void* page() { return page_->bytes.data(); }
    Shared& shared() { return *reinterpret_cast<Shared*>(page_->bytes.data()); }
    typename Ring::Entry& entry(xen::netback::Index index) {
        return reinterpret_cast<typename Ring::Entry*>(
            page_->bytes.data() + offsetof(Shared, ring))[index % xen::netback::ring_entries<Ring>];
    }

    // Writes a request that is not published yet.
    void put(const typename Ring::Request& request) { entry(prepared_++).req = request; }
    void put_extra(const netif_extra_info& extra) {
        std::memcpy(&entry(prepared_++), &extra, sizeof extra);
    }
    void publish() { shared().req_prod = prepared_; }
    xen::netback::Index prepared() const { return prepared_; }

    std::vector<typename Ring::Response> responses() {
        std::vector<typename Ring::Response> out;
        for (; consumed_ != shared().rsp_prod; ++consumed_) out.push_back(entry(consumed_).rsp);
        shared().rsp_event = consumed_ + 1;
        return out;
    }

  private:
    struct alignas(4096) AlignedPage {
        Page bytes{};
    };
    std::unique_ptr<AlignedPage> page_;
    xen::netback::Index prepared_ = 0;
    xen::netback::Index consumed_ = 0;
};

inline netif_tx_request tx_request(grant_ref_t grant, unsigned offset, unsigned size,
                                   unsigned flags = 0, unsigned id = 0) {
    netif_tx_request request{};
    request.gref = grant;
    request.offset = static_cast<std::uint16_t>(offset);
    request.size = static_cast<std::uint16_t>(size);
    request.flags = static_cast<std::uint16_t>(flags);
    request.id = static_cast<std::uint16_t>(id);
    return request;
}

inline netif_rx_request rx_request(grant_ref_t grant, unsigned id) {
    netif_rx_request request{};
    request.gref = grant;
    request.id = static_cast<std::uint16_t>(id);
    return request;
}

inline netif_extra_info segmentation_extra(unsigned size, bool more = false) {
    netif_extra_info extra{};
    extra.type = XEN_NETIF_EXTRA_TYPE_GSO;
    extra.flags = more ? XEN_NETIF_EXTRA_FLAG_MORE : 0;
    extra.u.gso.type = XEN_NETIF_GSO_TYPE_TCPV4;
    extra.u.gso.size = static_cast<std::uint16_t>(size);
    return extra;
}

inline netif_extra_info multicast_extra(std::uint8_t type, std::uint8_t last) {
    netif_extra_info extra{};
    extra.type = type;
    const std::array<std::uint8_t, 6> address{0x33, 0x33, 0, 0, 0, last};
    std::copy(address.begin(), address.end(), extra.u.mcast.addr);
    return extra;
}

}  // namespace tests
