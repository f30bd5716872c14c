#include "guest/hostile/machine.hh"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest/hostile/rings.hh"

namespace hostile {
namespace {

struct AllocateGrants {
    std::uint16_t domain;
    std::uint16_t flags;
    std::uint32_t count;
    std::uint64_t index;  // what mmap wants as its offset
    std::uint32_t grants[2];
};
struct ReleaseGrants {
    std::uint64_t index;
    std::uint32_t count;
    std::uint32_t pad;
};
constexpr std::uint16_t writable = 1;
constexpr unsigned long allocate_grants = _IOC(_IOC_NONE, 'G', 5, sizeof(AllocateGrants));
constexpr unsigned long release_grants = _IOC(_IOC_NONE, 'G', 6, sizeof(ReleaseGrants));
static_assert(sizeof(AllocateGrants) == 24 && sizeof(ReleaseGrants) == 16);

constexpr unsigned long bind_unbound = _IOC(_IOC_NONE, 'E', 2, sizeof(std::uint32_t));
constexpr unsigned long unbind = _IOC(_IOC_NONE, 'E', 3, sizeof(std::uint32_t));
constexpr unsigned long notify = _IOC(_IOC_NONE, 'E', 4, sizeof(std::uint32_t));

int open_device(const char* path) {
    const int file = ::open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) die(std::string("cannot open ") + path + ": " + std::strerror(errno));
    return file;
}

}  // namespace

void die(const std::string& what) {
    std::fprintf(stderr, "hostile: %s\n", what.c_str());
    std::exit(1);
}

Pages::Pages(std::uint16_t domain) : file_(open_device("/dev/xen/gntalloc")), domain_(domain) {}

Pages::~Pages() {
    for (std::size_t i = 0; i < pages_.size(); ++i) revoke(i);
    ::close(file_);
}

std::size_t Pages::add() {
    AllocateGrants asked{domain_, writable, 1, 0, {0, 0}};
    if (::ioctl(file_, allocate_grants, &asked) != 0) {
        die(std::string("cannot grant a page: ") + std::strerror(errno));
    }
    void* memory = ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_,
                          static_cast<off_t>(asked.index));
    if (memory == MAP_FAILED) die(std::string("cannot map a page: ") + std::strerror(errno));
    pages_.push_back({asked.index, asked.grants[0], static_cast<std::byte*>(memory)});
    return pages_.size() - 1;
}

void Pages::revoke(std::size_t number) {
    Page& page = pages_[number];
    if (page.memory == nullptr) return;
    ::munmap(page.memory, page_bytes);
    page.memory = nullptr;
    ReleaseGrants done{page.index, 1, 0};
    ::ioctl(file_, release_grants, &done);
}

Channel::Channel(std::uint16_t domain) : file_(open_device("/dev/xen/evtchn")) {
    std::uint32_t remote = domain;
    const int port = ::ioctl(file_, bind_unbound, &remote);
    if (port < 0) die(std::string("cannot make an event channel: ") + std::strerror(errno));
    port_ = static_cast<std::uint32_t>(port);
}

Channel::~Channel() {
    std::uint32_t port = port_;
    ::ioctl(file_, unbind, &port);
    ::close(file_);
}

void Channel::tell() const {
    std::uint32_t port = port_;
    ::ioctl(file_, notify, &port);  // nobody may be bound to it (any more)
}

void Channel::heard() const {
    std::array<std::uint32_t, 16> ports;
    const ssize_t got = ::read(file_, ports.data(), sizeof ports);
    // Written back, a port may be heard of again.
    if (got > 0) (void)!::write(file_, ports.data(), static_cast<std::size_t>(got));
}

}  // namespace hostile
