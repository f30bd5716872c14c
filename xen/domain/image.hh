// Kernels and ramdisks, verified: read once into memory, hashed as they are read, sealed, and given
// to the builder as that memory, so that what was checked is what is booted. Disks are too large
// for that: disk.hh.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "recovery/process.hh"

namespace xen::domain {

constexpr std::size_t image_bytes_max = 1u << 30;

// Memory that nobody can change any more. Its path is good in this process, while it lives.
class SealedFile {
  public:
    explicit SealedFile(recovery::Descriptor descriptor) : descriptor_(std::move(descriptor)) {}
    std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_.get()); }

  private:
    recovery::Descriptor descriptor_;
};

// The file with what is appended, at the next multiple of 4 bytes. An error if it cannot be read,
// or if its own SHA-256 (lower-case hexadecimal) is another.
tl::expected<SealedFile, std::string> load_verified(const std::filesystem::path& file,
                                                    const std::string& sha256,
                                                    std::string_view appended = {});

// All of `source`, from where it stands, in pieces, each before it is known to be right. `file` is
// its name for errors; `sha256` as above.
using Keep = std::function<bool(std::string_view part)>;  // false: it could not, errno says why
tl::expected<void, std::string> read_verified(const recovery::Descriptor& source,
                                              const std::filesystem::path& file,
                                              const std::string& sha256, std::uint64_t bytes_max,
                                              const Keep& keep);

}  // namespace xen::domain
