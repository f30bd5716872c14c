// What a guest says to the hypervisor's store of keys (xenstore) and hears from it, through the
// device /dev/xen/xenbus: the wire protocol of Xen's public/io/xs_wire.h, without a library, so
// that a static program of a few hundred kilobytes can speak it.
//
// Known limits: one request at a time, and no transactions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace agent {

inline constexpr std::size_t header_bytes = 16;
inline constexpr std::size_t body_bytes_max = 4'096;  // XENSTORE_PAYLOAD_MAX

// Kinds of messages: enum xsd_sockmsg_type.
enum class Kind : std::uint32_t {
    list = 1,
    read = 2,
    watch = 4,
    write = 11,
    remove = 13,
    watch_event = 15,
    error = 16,
};

struct Header {
    Kind kind{};
    std::uint32_t request = 0;
    std::uint32_t body_bytes = 0;
};

// Header and body of a request outside any transaction; empty if the body is too long to be sent.
std::string encode(Kind kind, std::uint32_t request, std::string_view body);

// Bodies. A path that does not start with '/' is below the domain's own home.
std::string write_body(std::string_view path, std::string_view value);
std::string path_body(std::string_view path);

// nullopt: fewer than 16 bytes, or a body longer than the protocol allows.
std::optional<Header> decode_header(std::string_view bytes);

struct Reply {
    bool ok = false;
    std::string text;  // the value, or, if not ok, why: the store's word (ENOENT) or a sentence
};

class Store {
  public:
    Store() = default;
    explicit Store(int file) : file_(file) {}  // an open one; it is closed in the end
    ~Store();
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    // Empty, or why it failed.
    std::string open(const char* device = "/dev/xen/xenbus");

    Reply ask(Kind kind, std::string_view body);
    Reply write(std::string_view path, std::string_view value);
    Reply read(std::string_view path);
    Reply remove(std::string_view path);
    // From now on, and once at the start, a change at the path or below it is an event.
    Reply watch(std::string_view path);
    // Waits until something changed since the last call; false: the store has gone. What changed
    // is not said: look.
    bool wait();

  private:
    bool send(std::string_view bytes);
    std::optional<std::string> receive(std::size_t bytes);

    int file_ = -1;
    std::uint32_t last_request_ = 0;
    bool changed_ = false;  // an event came while we waited for a reply
};

}  // namespace agent
