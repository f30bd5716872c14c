// The client of xenstore that all of ours use: small calls, values with a bound, transactions that
// are tried again a bounded number of times, watches delivered one by one, merged while nobody
// takes them.
//
// xenstored may die or hang: a call then fails with `unreachable` after the connection's deadline,
// and later calls connect anew (at most once a second), watches included, all of which fire then.
//
// Known limits: one thread at a time. A silent death of xenstored is noticed by the next call or,
// while events are awaited, within `silence_max`. Who watches what guests can write must go on
// taking events: libxenstore keeps all until they are taken.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "xen/store/connection.hh"

namespace xen::store {

using std::chrono::milliseconds;

using Connect = std::function<Result<std::unique_ptr<Connection>>()>;

constexpr unsigned transaction_attempts_max = 16;
constexpr std::size_t entries_max = 4'096;       // of a list
constexpr std::size_t events_waiting_max = 512;  // different ones; more become one of each watch
constexpr milliseconds silence_max{5'000};
constexpr milliseconds reconnect_pause{1'000};

struct Node {
    std::string path;
    std::string value;
    std::optional<Permissions> permissions;  // otherwise as the parent's
};

// What can be done in one, and by Store outside of any. Paths are absolute.
class Transaction {
  public:
    // More than `bytes_max`, or a 0 byte in it, is an error: nothing of ours has any.
    Result<std::string> read(const std::string& path, std::size_t bytes_max = value_bytes_max);
    // As read(), but nothing where there is no such node.
    Result<std::optional<std::string>> read_if_there(const std::string& path,
                                                     std::size_t bytes_max = value_bytes_max);
    // Names of the children.
    Result<std::vector<std::string>> list(const std::string& path,
                                          std::size_t count_max = entries_max);
    // Makes the node, and those above it, where there are none.
    Result<void> write(const std::string& path, const std::string& value);
    Result<void> write(const Node& node);
    // The node and all below it; no error where there is none.
    Result<void> remove(const std::string& path);
    Result<Permissions> permissions(const std::string& path);
    Result<void> set_permissions(const std::string& path, const Permissions& permissions);

  private:
    friend class Store;
    Transaction(Connection& connection, TransactionId id) : connection_(connection), id_(id) {}
    Connection& connection_;
    TransactionId id_;
};

class Store {
  public:
    // The machine's own xenstored (library.hh).
    static Result<Store> open();
    static Result<Store> open(Connect connect);
    Store(Store&&) noexcept;
    Store& operator=(Store&&) noexcept;
    ~Store();

    Result<std::string> read(const std::string& path, std::size_t bytes_max = value_bytes_max);
    Result<std::optional<std::string>> read_if_there(const std::string& path,
                                                     std::size_t bytes_max = value_bytes_max);
    Result<std::vector<std::string>> list(const std::string& path,
                                          std::size_t count_max = entries_max);
    Result<void> write(const std::string& path, const std::string& value);
    // All or none.
    Result<void> write(std::span<const Node> nodes);
    Result<void> remove(const std::string& path);
    Result<Permissions> permissions(const std::string& path);
    Result<void> set_permissions(const std::string& path, const Permissions& permissions);

    // All or nothing of what `body` does. It is run again, from the start, where somebody else
    // changed what it looked at (at most transaction_attempts_max times: `conflict`); an error it
    // returns undoes it and is returned.
    Result<void> transaction(const std::function<Result<void>(Transaction&)>& body);

    // An event comes at once, and then for each change at or below the path. Special paths:
    // "@introduceDomain", "@releaseDomain". Watching the same again is no error.
    Result<void> watch(const std::string& path, const std::string& token);
    Result<void> unwatch(const std::string& path, const std::string& token);
    // Waits at most `timeout` (0: not at all). Nothing: none came. Several alike are one. An error
    // is told at the end of the timeout, after trying to connect again.
    Result<std::optional<Event>> next_event(milliseconds timeout);
    // Readable when something has come; take events with next_event(0) until there are none. The
    // same as long as the store lives, across connections.
    int fd() const;
    // Does a connection stand, as far as is known?
    bool connected() const { return connection_ != nullptr; }

  private:
    using Clock = std::chrono::steady_clock;
    struct Watch {
        std::string path;
        std::string token;
        friend bool operator==(const Watch&, const Watch&) = default;
    };

    explicit Store(Connect connect);
    Result<void> connect();
    Result<void> collect_events();
    void remember(Event event);
    void give_up();
    template <class Call>
    auto with_connection(Call&& call) -> decltype(call(std::declval<Connection&>()));

    Connect connect_;
    std::unique_ptr<Connection> connection_;
    int descriptor_ = -1;  // epoll, around the connection's
    Clock::time_point tried_;
    Clock::time_point heard_;
    std::vector<Watch> watches_;
    std::deque<Event> waiting_;
    std::set<Event> waiting_set_;
};

}  // namespace xen::store
