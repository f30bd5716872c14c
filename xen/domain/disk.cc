#include "xen/domain/disk.hh"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "xen/domain/image.hh"

namespace xen::domain {
namespace {

using recovery::Descriptor;
using recovery::with_cause;

constexpr unsigned attempts_max = 16;  // others take loop devices, too
constexpr off_t sector_bytes = 512;

tl::expected<struct stat, std::string> facts_of(const Descriptor& source,
                                                const std::filesystem::path& file) {
    struct stat facts {};
    if (::fstat(source.get(), &facts) != 0) {
        return tl::unexpected(with_cause("cannot look at " + file.string()));
    }
    return facts;
}

bool same_time(const timespec& left, const timespec& right) {
    return left.tv_sec == right.tv_sec && left.tv_nsec == right.tv_nsec;
}

// Goes when nobody has it open any more.
tl::expected<Disk, std::string> loop_over(const Descriptor& source,
                                          const std::filesystem::path& file) {
    const Descriptor control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    if (control.get() < 0) {
        return tl::unexpected(with_cause("cannot open /dev/loop-control") +
                              ": modprobe loop, and be root");
    }
    loop_config wanted{};
    wanted.fd = static_cast<std::uint32_t>(source.get());
    wanted.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
    const std::string name = file.native().substr(0, LO_NAME_SIZE - 1);
    std::copy(name.begin(), name.end(), std::begin(wanted.info.lo_file_name));
    for (unsigned attempt = 0; attempt < attempts_max; ++attempt) {
        const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
        if (number < 0) return tl::unexpected(with_cause("there is no free loop device"));
        Disk disk;
        disk.holder = Descriptor(
            ::open(("/dev/loop" + std::to_string(number)).c_str(), O_RDONLY | O_CLOEXEC));
        struct stat device {};
        if (disk.holder.get() >= 0 && ::fstat(disk.holder.get(), &device) == 0 &&
            ::ioctl(disk.holder.get(), LOOP_CONFIGURE, &wanted) == 0) {
            disk.number = device.st_rdev;
            return disk;
        }
        if (errno != EBUSY) break;
    }
    return tl::unexpected(with_cause("cannot make a block device of " + file.string()));
}

}  // namespace

tl::expected<Disk, std::string> attach_disk(const std::filesystem::path& file,
                                            const std::string& sha256) {
    const Descriptor source(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (source.get() < 0) return tl::unexpected(with_cause("cannot open " + file.string()));
    const auto before = facts_of(source, file);
    if (!before) return tl::unexpected(before.error());
    if (before->st_size == 0 || before->st_size % sector_bytes != 0) {
        return tl::unexpected(file.string() + " has " + std::to_string(before->st_size) +
                              " bytes, which is no disk: not a multiple of 512");
    }
    const auto right =
        read_verified(source, file, sha256, disk_bytes_max, [](std::string_view) { return true; });
    if (!right) return tl::unexpected(right.error());
    auto disk = loop_over(source, file);
    if (!disk) return disk;
    const auto after = facts_of(source, file);
    if (!after) return tl::unexpected(after.error());
    if (after->st_size != before->st_size || !same_time(after->st_mtim, before->st_mtim) ||
        !same_time(after->st_ctim, before->st_ctim)) {
        return tl::unexpected(file.string() + " was changed while it was read");
    }
    return disk;
}

}  // namespace xen::domain
