// Small files that must survive a kill or a power cut at any instant: read whole, written whole
// (temporary file, fsync, rename, fsync of the directory), and a lock beside them for those who
// change them. Readers need no lock: they see the old or the new content.
//
// Limit: a lock is advisory and per machine; a network file system may not honour it.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include <sys/types.h>
#include <tl/expected.hpp>

namespace recovery {

// The content; nothing when there is no such file. A file above `bytes_max` or one that is not a
// regular file (a symbolic link neither) is an error. Errors name the file and the cause.
tl::expected<std::optional<std::string>, std::string> read_file(const std::filesystem::path& file,
                                                                std::size_t bytes_max);

// What write_durably() writes before it renames, and leaves behind when it is killed: FILE.tmp.
std::filesystem::path temporary_of(std::filesystem::path file);

// One writer at a time (hold a FileLock). After an error the old or the new content is there, never
// a mixture.
tl::expected<void, std::string> write_durably(const std::filesystem::path& file,
                                              std::string_view content, mode_t mode);

// Exclusive flock() on a file that is made if need be and never removed (a lock file that may be
// removed is no lock). Given back by the destructor, and by the kernel when the process dies.
class FileLock {
  public:
    static tl::expected<FileLock, std::string> take(const std::filesystem::path& file,
                                                    std::chrono::milliseconds wait_max);
    FileLock(FileLock&& other) noexcept;
    FileLock& operator=(FileLock&&) = delete;
    FileLock(const FileLock&) = delete;
    FileLock& operator=(const FileLock&) = delete;
    ~FileLock();

  private:
    explicit FileLock(int descriptor) : descriptor_(descriptor) {}
    int descriptor_ = -1;
};

}  // namespace recovery
