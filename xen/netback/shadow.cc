#include "xen/netback/shadow.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace xen::netback {

RingCounts DeviceShadow::counts() {
    RingCounts counts;
    // In this order no response is counted whose request is not.
    const auto add = [&counts](auto& ring) {
        counts.responses += std::atomic_ref(ring.published).load(std::memory_order_acquire);
        counts.requests += std::atomic_ref(ring.taken).load(std::memory_order_acquire);
    };
    if (mark != connected_mark) return counts;
    for (Rings& queue : std::span(rings).first(std::min(queues_count, queues_max))) {
        add(queue.tx);
        add(queue.rx);
    }
    return counts;
}

bool DeviceShadow::is_of(DomainId id, const FrontendKeys& frontend) const {
    return mark == connected_mark && domain == id.value && queues_count == frontend.queues.size() &&
           std::equal(frontend.queues.begin(), frontend.queues.end(), keys.begin());
}

void DeviceShadow::begin(DomainId id, const FrontendKeys& frontend) {
    end();
    domain = id.value;
    queues_count = static_cast<std::uint32_t>(frontend.queues.size());
    std::copy(frontend.queues.begin(), frontend.queues.end(), keys.begin());
    std::atomic_ref(mark).store(connected_mark, std::memory_order_release);
}

tl::expected<ShadowFile, std::string> ShadowFile::open(const std::filesystem::path& file) {
    const auto failed = [&](const char* step) {
        return tl::unexpected("cannot " + std::string(step) + " " + file.string() + ": " +
                              std::strerror(errno));
    };
    const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0) return failed("open");
    void* address = MAP_FAILED;
    if (::ftruncate(descriptor, sizeof(DeviceShadow)) == 0) {
        address = ::mmap(nullptr, sizeof(DeviceShadow), PROT_READ | PROT_WRITE, MAP_SHARED,
                         descriptor, 0);
    }
    const int error = errno;
    ::close(descriptor);
    errno = error;
    if (address == MAP_FAILED) return failed("map");
    return ShadowFile(file, static_cast<DeviceShadow*>(address));
}

ShadowFile::~ShadowFile() {
    if (device_ != nullptr) ::munmap(device_, sizeof(DeviceShadow));
}

ShadowFile::ShadowFile(ShadowFile&& other) noexcept
    : file_(std::move(other.file_)), device_(std::exchange(other.device_, nullptr)) {}

void ShadowFile::remove() {
    std::error_code ignored;
    std::filesystem::remove(file_, ignored);
}

}  // namespace xen::netback
