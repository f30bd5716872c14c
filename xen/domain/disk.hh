// A replica's disk: an image file, verified, as a block device that can only be read (a loop device
// of this kernel), for the kernel's xen-blkback to serve.
//
// Known limit: the file is not copied. Who can write to it later, which in Dom0 is root only, can
// change what a running replica reads; keep images on a file system that is mounted read-only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <sys/types.h>
#include <tl/expected.hpp>

#include "recovery/process.hh"

namespace xen::domain {

constexpr std::uint64_t disk_bytes_max = std::uint64_t{64} << 30;

// It is attached while this lives or a backend has it open, and goes with the last of them,
// whoever is killed.
struct Disk {
    dev_t number = 0;
    recovery::Descriptor holder;
};

// An error if the file cannot be read, has another SHA-256, or changes meanwhile. Takes as long as
// reading all of it.
tl::expected<Disk, std::string> attach_disk(const std::filesystem::path& file,
                                            const std::string& sha256);

}  // namespace xen::domain
