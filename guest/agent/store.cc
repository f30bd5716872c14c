#include "guest/agent/store.hh"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

namespace agent {
namespace {

constexpr int events_skipped_max = 256;  // watch events and late replies before the one we wait for

void put_32(std::string& to, std::uint32_t value) {
    for (int i = 0; i < 4; ++i) to.push_back(static_cast<char>(value >> (8 * i) & 0xFF));
}

std::uint32_t get_32(std::string_view from, std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 4; i-- > 0;) value = value << 8 | static_cast<std::uint8_t>(from[at + i]);
    return value;
}

}  // namespace

std::string encode(Kind kind, std::uint32_t request, std::string_view body) {
    std::string bytes;
    if (body.size() > body_bytes_max) return bytes;
    bytes.reserve(header_bytes + body.size());
    put_32(bytes, static_cast<std::uint32_t>(kind));
    put_32(bytes, request);
    put_32(bytes, 0);  // no transaction
    put_32(bytes, static_cast<std::uint32_t>(body.size()));
    bytes += body;
    return bytes;
}

std::string write_body(std::string_view path, std::string_view value) {
    std::string body(path);
    body.push_back('\0');
    body += value;  // a value has no end mark: its length is the message's
    return body;
}

std::string path_body(std::string_view path) { return write_body(path, {}); }

std::optional<Header> decode_header(std::string_view bytes) {
    if (bytes.size() < header_bytes) return std::nullopt;
    const Header header{static_cast<Kind>(get_32(bytes, 0)), get_32(bytes, 4), get_32(bytes, 12)};
    if (header.body_bytes > body_bytes_max) return std::nullopt;
    return header;
}

Store::~Store() {
    if (file_ >= 0) ::close(file_);
}

std::string Store::open(const char* device) {
    file_ = ::open(device, O_RDWR | O_CLOEXEC);
    if (file_ >= 0) return {};
    return std::string("cannot open ") + device + ": " + std::strerror(errno);
}

bool Store::send(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::write(file_, bytes.data(), bytes.size());
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

std::optional<std::string> Store::receive(std::size_t bytes) {
    std::string got(bytes, '\0');
    for (std::size_t have = 0; have < bytes;) {
        const ssize_t part = ::read(file_, got.data() + have, bytes - have);
        if (part < 0 && errno == EINTR) continue;
        if (part <= 0) return std::nullopt;
        have += static_cast<std::size_t>(part);
    }
    return got;
}

Reply Store::ask(Kind kind, std::string_view body) {
    const std::uint32_t request = ++last_request_;
    const std::string message = encode(kind, request, body);
    if (message.empty()) return {false, "longer than the store takes"};
    if (!send(message)) return {false, std::string("cannot send: ") + std::strerror(errno)};
    for (int i = 0; i < events_skipped_max; ++i) {
        const auto head = receive(header_bytes);
        const auto header = head ? decode_header(*head) : std::nullopt;
        if (!header) return {false, "the store's reply has no header"};
        auto text = receive(header->body_bytes);
        if (!text) return {false, "the store's reply is cut short"};
        if (header->kind == Kind::watch_event) changed_ = true;
        if (header->kind == Kind::watch_event || header->request != request) continue;
        if (header->kind == Kind::read) return {true, std::move(*text)};
        while (!text->empty() && text->back() == '\0') text->pop_back();
        return {header->kind != Kind::error, std::move(*text)};
    }
    return {false, "the store did not answer"};
}

Reply Store::write(std::string_view path, std::string_view value) {
    return ask(Kind::write, write_body(path, value));
}

Reply Store::read(std::string_view path) { return ask(Kind::read, path_body(path)); }

Reply Store::remove(std::string_view path) { return ask(Kind::remove, path_body(path)); }

Reply Store::watch(std::string_view path) {
    return ask(Kind::watch, path_body(path) + path_body("watch"));
}

bool Store::wait() {
    while (!changed_) {
        const auto head = receive(header_bytes);
        const auto header = head ? decode_header(*head) : std::nullopt;
        if (!header || !receive(header->body_bytes)) return false;
        changed_ = header->kind == Kind::watch_event;
    }
    changed_ = false;
    return true;
}

}  // namespace agent
