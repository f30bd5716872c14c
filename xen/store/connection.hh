// What a client says to xenstore, and the seam below Store: one connection, by libxenstore
// (library.hh) or to a tree in memory (memory.hh). A class with virtual functions and not a
// concept: nothing here is near a packet, and its users need not be templates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "xen/domain_id.hh"

namespace xen::store {

enum class Failure : std::uint8_t {
    missing,      // there is no such node
    denied,       // its permissions do not allow it
    conflict,     // somebody else changed what the transaction looked at
    too_large,    // more than was asked for, or than fits
    unreachable,  // no xenstored, or it does not answer in time
    refused,      // anything else: bad path, quota, ...
};
const char* text(Failure failure);

struct Error {
    Failure failure = Failure::refused;
    std::string what;  // with path and cause, for people
};

template <class Value>
using Result = tl::expected<Value, Error>;

enum class Access : std::uint8_t { none, read, write, read_write };

// The owner may always do everything, and so may domain 0.
struct Permissions {
    DomainId owner;
    Access others = Access::none;
    struct Entry {
        DomainId domain;
        Access access = Access::none;
        friend bool operator==(const Entry&, const Entry&) = default;
    };
    std::vector<Entry> entries;
    friend bool operator==(const Permissions&, const Permissions&) = default;
};

// Something at or below a watched path may have changed (or has just been watched).
struct Event {
    std::string path;
    std::string token;  // of the watch
    friend auto operator<=>(const Event&, const Event&) = default;
};

using TransactionId = std::uint32_t;
constexpr TransactionId no_transaction = 0;

// Limits of the protocol (xen/io/xs_wire.h).
constexpr std::size_t value_bytes_max = 4'096;
constexpr std::size_t path_bytes_max = 3'072;

// Used by one thread at a time. No call blocks for ever. After `unreachable` it is of no more use.
class Connection {
  public:
    Connection() = default;
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    virtual ~Connection() = default;

    virtual Result<std::string> read(TransactionId transaction, const std::string& path) = 0;
    virtual Result<std::vector<std::string>> list(TransactionId transaction,
                                                  const std::string& path) = 0;
    virtual Result<void> write(TransactionId transaction, const std::string& path,
                               const std::string& value) = 0;
    virtual Result<void> remove(TransactionId transaction, const std::string& path) = 0;
    virtual Result<Permissions> permissions(TransactionId transaction, const std::string& path) = 0;
    virtual Result<void> set_permissions(TransactionId transaction, const std::string& path,
                                         const Permissions& permissions) = 0;
    virtual Result<TransactionId> begin() = 0;
    // `conflict`: nothing was changed, begin again.
    virtual Result<void> end(TransactionId transaction, bool commit) = 0;

    virtual Result<void> watch(const std::string& path, const std::string& token) = 0;
    virtual Result<void> unwatch(const std::string& path, const std::string& token) = 0;
    // One that is there now; does not wait.
    virtual Result<std::optional<Event>> event() = 0;
    // Readable when there may be events, once something is watched.
    virtual int descriptor() const = 0;
};

}  // namespace xen::store
