#include "xen/domain/image.hh"

#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <unistd.h>

namespace xen::domain {
namespace {

using recovery::Descriptor;
using recovery::with_cause;

class Sha256 {
  public:
    Sha256() : context_(::EVP_MD_CTX_new(), ::EVP_MD_CTX_free) {
        good_ = context_ && ::EVP_DigestInit_ex(context_.get(), ::EVP_sha256(), nullptr) == 1;
    }
    void add(const void* bytes, std::size_t count) {
        good_ = good_ && ::EVP_DigestUpdate(context_.get(), bytes, count) == 1;
    }
    // Lower-case hexadecimal; empty: the library failed.
    std::string text() {
        std::array<unsigned char, 32> digest{};
        if (!good_ || ::EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) != 1) return {};
        std::string out;
        for (const unsigned char byte : digest) {
            std::array<char, 3> digits;
            std::snprintf(digits.data(), digits.size(), "%02x", byte);
            out.append(digits.data(), 2);
        }
        return out;
    }

  private:
    std::unique_ptr<EVP_MD_CTX, decltype(&::EVP_MD_CTX_free)> context_;
    bool good_ = false;
};

bool write_whole(int descriptor, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
}

}  // namespace

tl::expected<void, std::string> read_verified(const Descriptor& source,
                                              const std::filesystem::path& file,
                                              const std::string& sha256, std::uint64_t bytes_max,
                                              const Keep& keep) {
    Sha256 hash;
    std::vector<char> part(1u << 20);
    std::uint64_t bytes = 0;
    for (;;) {
        const ssize_t got = ::read(source.get(), part.data(), part.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tl::unexpected(with_cause("cannot read " + file.string()));
        if (got == 0) break;
        const auto count = static_cast<std::size_t>(got);
        bytes += count;
        if (bytes > bytes_max) {
            return tl::unexpected(file.string() + " is larger than " +
                                  std::to_string(bytes_max >> 20) + " MiB");
        }
        hash.add(part.data(), count);
        if (!keep({part.data(), count})) {
            return tl::unexpected(with_cause("cannot keep " + file.string() + " in memory"));
        }
    }
    if (const std::string found = hash.text(); found != sha256) {
        return tl::unexpected(file.string() + " has the SHA-256 " + found +
                              ", and the configuration says " + sha256 +
                              "; it is not started: find out who changed it");
    }
    return {};
}

tl::expected<SealedFile, std::string> load_verified(const std::filesystem::path& file,
                                                    const std::string& sha256,
                                                    std::string_view appended) {
    const Descriptor source(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (source.get() < 0) return tl::unexpected(with_cause("cannot open " + file.string()));
    Descriptor memory(::memfd_create("image", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (memory.get() < 0) return tl::unexpected(with_cause("cannot make a file in memory"));
    std::size_t bytes = 0;
    const auto keep = [&](std::string_view part) {
        bytes += part.size();
        return write_whole(memory.get(), part);
    };
    if (auto done = read_verified(source, file, sha256, image_bytes_max, keep); !done) {
        return tl::unexpected(done.error());
    }
    const std::string padding(appended.empty() ? 0 : (4 - bytes % 4) % 4, '\0');
    if (!write_whole(memory.get(), padding) || !write_whole(memory.get(), appended) ||
        ::fcntl(memory.get(), F_ADD_SEALS,
                F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
        return tl::unexpected(with_cause("cannot keep " + file.string() + " in memory"));
    }
    return SealedFile(std::move(memory));
}

}  // namespace xen::domain
