#include "xen/domain/cpio.hh"

#include <array>
#include <cstdio>

namespace xen::domain {
namespace {

// The same for all files, so that the same make the same bytes; not 0, which some services (nsd)
// take for a file that is not there. 2000-01-01.
constexpr std::uint32_t file_time = 946'684'800;

}  // namespace

void CpioWriter::pad() { bytes_.append((4 - bytes_.size() % 4) % 4, '\0'); }

void CpioWriter::entry(std::string_view name, std::uint32_t mode, std::string_view content) {
    const std::array<std::uint32_t, 13> fields{
        ++inode_,  mode,
        0,  // user
        0,  // group
        1,  // links
        file_time, static_cast<std::uint32_t>(content.size()),
        0,  // device, and what it would be of
        0,         0,
        0,         static_cast<std::uint32_t>(name.size() + 1),
        0};  // checksum
    bytes_ += "070701";
    for (const std::uint32_t field : fields) {
        std::array<char, 9> digits;
        std::snprintf(digits.data(), digits.size(), "%08x", field);
        bytes_.append(digits.data(), 8);
    }
    bytes_.append(name);
    bytes_ += '\0';
    pad();
    bytes_.append(content);
    pad();
}

void CpioWriter::add(std::string_view path, std::string_view content, For whom) {
    path.remove_prefix(path.find_first_not_of('/'));
    for (std::size_t slash = path.find('/'); slash != std::string_view::npos;
         slash = path.find('/', slash + 1)) {
        const std::string_view directory = path.substr(0, slash);
        if (directories_.contains(directory)) continue;
        directories_.emplace(directory);
        entry(directory, 0040755, {});
    }
    const std::uint32_t mode = whom == For::running     ? 0100755
                               : whom == For::root_only ? 0100400
                                                        : 0100644;
    entry(path, mode, content);
}

std::string CpioWriter::finish() {
    entry("TRAILER!!!", 0, {});
    // The last four bytes of what begins like gzip are its content's size to libxl's domain
    // builder, which tries to unpack it, and says so loudly when it cannot, unless that is over 1
    // GiB. These pad the last name, and nobody else looks at them.
    bytes_.replace(bytes_.size() - 3, 3, 3, '\xff');
    return std::move(bytes_);
}

}  // namespace xen::domain
