#include "netns/files.hh"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

namespace netns {
namespace {

namespace fs = std::filesystem;

using Done = tl::expected<void, std::string>;

Done failed(const std::string& what, const fs::path& path, const std::string& cause) {
    return tl::unexpected(what + " " + path.string() + ": " + cause);
}

Done write_text(const fs::path& path, const std::string& text) {
    errno = 0;
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(text.data(), static_cast<std::streamsize>(text.size()));
    file.close();
    if (!file) return failed("cannot write", path, std::strerror(errno));
    if (::chmod(path.c_str(), 0600) != 0) return failed("cannot write", path, std::strerror(errno));
    return {};
}

Done copy_to(const fs::path& from, const fs::path& to) {
    std::error_code error;
    fs::copy_file(from, to, fs::copy_options::overwrite_existing, error);
    if (error) return failed("cannot copy", from, error.message());
    struct stat status {};
    const bool executable = ::stat(from.c_str(), &status) == 0 && (status.st_mode & 0111) != 0;
    if (::chmod(to.c_str(), executable ? 0700 : 0600) != 0) {
        return failed("cannot write", to, std::strerror(errno));
    }
    return {};
}

Done give_to(const std::string& user, const fs::path& directory) {
    const passwd* entry = ::getpwnam(user.c_str());
    if (entry == nullptr) return tl::unexpected("there is no user " + user);
    std::error_code error;
    std::vector<fs::path> all{directory};
    for (const auto& file : fs::recursive_directory_iterator(directory, error)) {
        all.push_back(file.path());
    }
    for (const fs::path& path : all) {
        if (::lchown(path.c_str(), entry->pw_uid, entry->pw_gid) == 0) continue;
        return failed("cannot give user " + user + " the file", path, std::strerror(errno));
    }
    return {};
}

}  // namespace

std::string with_directory(std::string text, const fs::path& directory) {
    static constexpr std::string_view placeholder = "{dir}";
    for (std::size_t at = 0; (at = text.find(placeholder, at)) != std::string::npos;) {
        text.replace(at, placeholder.size(), directory.native());
        at += directory.native().size();
    }
    return text;
}

Done write_files(const config::NetnsReplica& replica, const fs::path& directory) {
    if (::mkdir(directory.c_str(), 0700) != 0) {
        return failed("cannot make the directory", directory, std::strerror(errno));
    }
    const auto place = [&](const std::string& name) -> tl::expected<fs::path, std::string> {
        const fs::path path = directory / name;
        std::error_code error;
        fs::create_directories(path.parent_path(), error);
        if (error) {
            return tl::unexpected("cannot make " + path.parent_path().string() + ": " +
                                  error.message());
        }
        return path;
    };
    for (const auto& [name, text] : replica.files) {
        const auto path = place(name);
        if (!path) return tl::unexpected(path.error());
        if (auto done = write_text(*path, with_directory(text, directory)); !done) return done;
    }
    for (const auto& [name, source] : replica.copies) {
        const auto path = place(name);
        if (!path) return tl::unexpected(path.error());
        if (auto done = copy_to(source, *path); !done) return done;
    }
    if (!replica.user.empty()) return give_to(replica.user, directory);
    return {};
}

}  // namespace netns
