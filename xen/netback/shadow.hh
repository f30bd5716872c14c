// A device's part of the memory that outlives the process: which rings it had connected, and each
// ring's shadow. A file in the appliance's state directory, mapped shared; what is in it after a
// reboot of the machine is of no domain that exists.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>

#include <tl/expected.hpp>

#include "xen/domain_id.hh"
#include "xen/netback/keys.hh"
#include "xen/netback/ring.hh"

namespace xen::netback {

// Of all rings of a device: requests taken and responses published, as indices are: the numbers
// since the guest made its rings, modulo 2^32. Equal where the guest is owed nothing.
struct RingCounts {
    Index requests = 0;
    Index responses = 0;
};

struct DeviceShadow {
    static constexpr std::uint64_t connected_mark = 0x71756f7261746531;  // changes with the layout

    // writer and reader: the slow path of one process at a time
    std::uint64_t mark;  // connected_mark while what follows is of a connection
    std::uint32_t domain;
    std::uint32_t queues_count;
    std::array<QueueKeys, queues_max> keys;
    struct Rings {
        RingShadow<TxRing> tx;
        RingShadow<RxRing> rx;
    };
    std::array<Rings, queues_max> rings;

    RingCounts counts();  // a worker may use the rings meanwhile
    bool is_of(DomainId id, const FrontendKeys& frontend) const;
    void begin(DomainId id, const FrontendKeys& frontend);
    void end() { std::atomic_ref(mark).store(0, std::memory_order_release); }
};

class ShadowFile {
  public:
    // Opened as it is, or made. The error says what to do.
    static tl::expected<ShadowFile, std::string> open(const std::filesystem::path& file);
    ~ShadowFile();
    ShadowFile(ShadowFile&& other) noexcept;
    ShadowFile(const ShadowFile&) = delete;
    ShadowFile& operator=(const ShadowFile&) = delete;
    ShadowFile& operator=(ShadowFile&&) = delete;

    DeviceShadow& device() const { return *device_; }
    void remove();  // the file; the mapping stays

  private:
    ShadowFile(std::filesystem::path file, DeviceShadow* device)
        : file_(std::move(file)), device_(device) {}
    std::filesystem::path file_;
    DeviceShadow* device_;
};

}  // namespace xen::netback
