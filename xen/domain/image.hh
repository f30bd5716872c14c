// Kernels and ramdisks, verified: read once into memory, hashed as they are read, sealed, and given
// to the builder as that memory, so that what was checked is what is booted.
#pragma once

#include <cstddef>
#include <filesystem>
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

}  // namespace xen::domain
