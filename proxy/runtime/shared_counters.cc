#include "proxy/runtime/shared_counters.hh"

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace proxy {

namespace {

constexpr std::uint64_t magic = 0x51756f7261746543;  // "QuorateC"

struct alignas(64) Header {
    std::uint64_t magic;
    std::uint64_t fingerprint;
    std::uint64_t workers;
    std::uint64_t block_bytes;
    friend bool operator==(const Header&, const Header&) = default;
};

}  // namespace

tl::expected<SharedCounters, std::string> SharedCounters::open(const std::filesystem::path& file,
                                                               unsigned workers,
                                                               std::uint64_t fingerprint) {
    const auto failed = [&](const char* what) {
        return tl::unexpected(std::string("cannot ") + what + " " + file.string() + ": " +
                              std::strerror(errno));
    };
    const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0) return failed("open");
    const Header wanted{magic, fingerprint, workers, sizeof(WorkerCounters)};
    const std::size_t size = sizeof(Header) + workers * sizeof(WorkerCounters);
    struct stat status {};
    Header found{};
    const bool same =
        ::fstat(descriptor, &status) == 0 && static_cast<std::size_t>(status.st_size) == size &&
        ::pread(descriptor, &found, sizeof found, 0) == sizeof found && found == wanted;
    if (!same && (::ftruncate(descriptor, 0) != 0 ||
                  ::ftruncate(descriptor, static_cast<off_t>(size)) != 0)) {
        ::close(descriptor);
        return failed("set the size of");
    }
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    ::close(descriptor);
    if (memory == MAP_FAILED) return failed("map");
    SharedCounters counters;
    counters.memory_ = memory;
    counters.size_ = size;
    counters.adopted_ = same;
    auto* blocks =
        reinterpret_cast<WorkerCounters*>(static_cast<std::byte*>(memory) + sizeof(Header));
    if (!same) {
        for (unsigned i = 0; i < workers; ++i) new (blocks + i) WorkerCounters{};
        std::memcpy(memory, &wanted, sizeof wanted);
    }
    counters.workers_ = {blocks, workers};
    if (same) {
        // What the dead process held went with it: it counts as dropped, so that the balance holds.
        for (WorkerCounters& block : counters.workers_) block.settle_after_crash();
    }
    return counters;
}

SharedCounters::~SharedCounters() {
    if (memory_ != nullptr) ::munmap(memory_, size_);
}

SharedCounters::SharedCounters(SharedCounters&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)),
      size_(other.size_),
      adopted_(other.adopted_),
      workers_(other.workers_) {}

}  // namespace proxy
