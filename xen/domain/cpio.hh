// A cpio archive (the kernel's "newc", Documentation/driver-api/early-userspace/buffer-format.rst)
// of a replica's own files, to be appended to a ramdisk that is the same for all.
//
// Known limit: the directories of a file are in the archive, as root's and 0755, also where the
// ramdisk has them already: do not put files into /tmp.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

namespace xen::domain {

class CpioWriter {
  public:
    // `path` is absolute in the guest. A path given again replaces the file there.
    enum class For { reading, running, root_only };
    void add(std::string_view path, std::string_view content, For whom = For::reading);
    // The whole archive, a multiple of 4 bytes; nothing can be added after that.
    std::string finish();

  private:
    void entry(std::string_view name, std::uint32_t mode, std::string_view content);
    void pad();

    std::string bytes_;
    std::uint32_t inode_ = 0;
    std::set<std::string, std::less<>> directories_;
};

}  // namespace xen::domain
