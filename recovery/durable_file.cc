#include "recovery/durable_file.hh"

#include <array>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace recovery {
namespace {

// Closes what it holds; `release` for where the result of close() matters.
class Descriptor {
  public:
    explicit Descriptor(int value) : value_(value) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (value_ >= 0) ::close(value_);
    }
    int get() const { return value_; }
    int release() { return std::exchange(value_, -1); }

  private:
    int value_;
};

std::string cause(const char* what, const std::filesystem::path& file) {
    const int error = errno;
    return std::string(what) + " " + file.string() + ": " + std::strerror(error);
}

int open_retry(const std::filesystem::path& file, int flags, mode_t mode = 0) {
    int descriptor;
    do {
        descriptor = ::open(file.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode);
    } while (descriptor < 0 && errno == EINTR);
    return descriptor;
}

bool write_all(int descriptor, std::string_view content) {
    while (!content.empty()) {
        const ssize_t written = ::write(descriptor, content.data(), content.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return false;
        content.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
}

}  // namespace

tl::expected<std::optional<std::string>, std::string> read_file(const std::filesystem::path& file,
                                                                std::size_t bytes_max) {
    // O_NONBLOCK: a FIFO in its place must be refused, not waited for.
    const Descriptor in(open_retry(file, O_RDONLY | O_NONBLOCK));
    if (in.get() < 0) {
        if (errno == ENOENT) return std::nullopt;
        return tl::unexpected(cause("cannot open", file));
    }
    struct stat status {};
    if (::fstat(in.get(), &status) != 0) return tl::unexpected(cause("cannot read", file));
    if (!S_ISREG(status.st_mode)) return tl::unexpected(file.string() + " is not a regular file");
    std::string content;
    std::array<char, 16'384> part;
    for (;;) {
        const ssize_t got = ::read(in.get(), part.data(), part.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tl::unexpected(cause("cannot read", file));
        if (got == 0) return content;
        content.append(part.data(), static_cast<std::size_t>(got));
        if (content.size() > bytes_max) {
            return tl::unexpected(file.string() + " has more than " + std::to_string(bytes_max) +
                                  " bytes, it was not written by Quorate");
        }
    }
}

std::filesystem::path temporary_of(std::filesystem::path file) { return file += ".tmp"; }

tl::expected<void, std::string> write_durably(const std::filesystem::path& file,
                                              std::string_view content, mode_t mode) {
    const std::filesystem::path temporary = temporary_of(file);
    const auto failed = [&](const char* what) {
        std::string text = cause(what, temporary);
        ::unlink(temporary.c_str());
        return tl::unexpected(std::move(text));
    };
    Descriptor out(open_retry(temporary, O_WRONLY | O_CREAT | O_TRUNC, mode));
    if (out.get() < 0) return tl::unexpected(cause("cannot create", temporary));
    if (::fchmod(out.get(), mode) != 0) return failed("cannot set the permissions of");
    if (!write_all(out.get(), content)) return failed("cannot write");
    if (::fsync(out.get()) != 0) return failed("cannot write to disk");
    if (::close(out.release()) != 0) return failed("cannot write");
    if (::rename(temporary.c_str(), file.c_str()) != 0) return failed("cannot rename");

    const std::filesystem::path parent = file.has_parent_path() ? file.parent_path() : ".";
    const Descriptor directory(open_retry(parent, O_RDONLY | O_DIRECTORY));
    if (directory.get() < 0 || ::fsync(directory.get()) != 0) {
        return tl::unexpected(cause("cannot write to disk the directory", parent));
    }
    return {};
}

tl::expected<FileLock, std::string> FileLock::take(const std::filesystem::path& file,
                                                   std::chrono::milliseconds wait_max) {
    Descriptor lock(open_retry(file, O_RDWR | O_CREAT, 0600));
    if (lock.get() < 0) return tl::unexpected(cause("cannot open the lock", file));
    const auto until = std::chrono::steady_clock::now() + wait_max;
    while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return tl::unexpected(cause("cannot lock", file));
        if (std::chrono::steady_clock::now() >= until) {
            return tl::unexpected("somebody has held the lock " + file.string() +
                                  " for more than " + std::to_string(wait_max.count()) +
                                  " ms; see who with: fuser -v " + file.string());
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return FileLock(lock.release());
}

FileLock::FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

FileLock::~FileLock() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace recovery
