#include "recovery/log.hh"

#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace recovery {
namespace {

constexpr std::size_t recent_bytes_max = 2'048;

}  // namespace

Log::Log(std::filesystem::path file) : file_(std::move(file)) { open(); }

void Log::open() {
    descriptor_ = Descriptor(
        ::open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
    struct stat status {};
    bytes_ = descriptor_.get() >= 0 && ::fstat(descriptor_.get(), &status) == 0
                 ? static_cast<std::size_t>(status.st_size)
                 : 0;
}

void Log::write(std::string_view bytes) {
    recent_.append(bytes.substr(bytes.size() - std::min(bytes.size(), recent_bytes_max)));
    if (recent_.size() > recent_bytes_max) recent_.erase(0, recent_.size() - recent_bytes_max);
    while (!bytes.empty()) {
        if (bytes_ >= file_bytes_max) {
            std::filesystem::path before = file_;
            before += ".1";
            std::error_code ignored;
            std::filesystem::rename(file_, before, ignored);
            open();
            if (bytes_ >= file_bytes_max) return;  // it could not be put aside
        }
        const std::string_view part = bytes.substr(0, file_bytes_max - bytes_);
        const ssize_t written = ::write(descriptor_.get(), part.data(), part.size());
        if (written <= 0) return;
        bytes_ += static_cast<std::size_t>(written);
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
}

void Log::note(const std::string& text) {
    std::array<char, 32> stamp{};
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::localtime_r(&now, &parts);
    std::strftime(stamp.data(), stamp.size(), "%Y-%m-%d %H:%M:%S", &parts);
    const std::string recent = std::move(recent_);
    write(std::string("quorate ") + stamp.data() + ": " + text + "\n");
    recent_ = recent;  // our own words are not the service's
}

std::string Log::last_lines(unsigned count) const {
    std::string text = recent_;
    while (!text.empty() && text.back() == '\n') text.pop_back();
    std::size_t at = text.size();
    while (count > 0 && at != std::string::npos && at != 0) {
        at = text.rfind('\n', at - 1);
        --count;
    }
    return at == std::string::npos || at == 0 ? text : text.substr(at + 1);
}

}  // namespace recovery
