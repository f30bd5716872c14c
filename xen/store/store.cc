#include "xen/store/store.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "xen/store/library.hh"

namespace xen::store {

const char* text(Failure failure) {
    switch (failure) {
        case Failure::missing:
            return "there is no such node";
        case Failure::denied:
            return "it is not allowed";
        case Failure::conflict:
            return "it changes too often";
        case Failure::too_large:
            return "it is too large";
        case Failure::unreachable:
            return "xenstored cannot be reached";
        case Failure::refused:
            break;
    }
    return "it was refused";
}

Result<std::string> Transaction::read(const std::string& path, std::size_t bytes_max) {
    auto value = connection_.read(id_, path);
    if (!value) return value;
    if (value->size() > bytes_max) {
        return tl::unexpected(
            Error{Failure::too_large, path + " has " + std::to_string(value->size()) +
                                          " bytes, more than " + std::to_string(bytes_max)});
    }
    if (value->find('\0') != std::string::npos) {
        return tl::unexpected(Error{Failure::refused, path + " has a 0 byte in it"});
    }
    return value;
}

Result<std::optional<std::string>> Transaction::read_if_there(const std::string& path,
                                                              std::size_t bytes_max) {
    auto value = read(path, bytes_max);
    if (value) return std::optional<std::string>(std::move(*value));
    if (value.error().failure == Failure::missing) return std::optional<std::string>();
    return tl::unexpected(value.error());
}

Result<std::vector<std::string>> Transaction::list(const std::string& path, std::size_t count_max) {
    auto names = connection_.list(id_, path);
    if (names && names->size() > count_max) {
        return tl::unexpected(
            Error{Failure::too_large,
                  path + " has more than " + std::to_string(count_max) + " nodes below it"});
    }
    return names;
}

Result<void> Transaction::write(const std::string& path, const std::string& value) {
    return connection_.write(id_, path, value);
}

Result<void> Transaction::write(const Node& node) {
    auto done = write(node.path, node.value);
    if (done && node.permissions) done = set_permissions(node.path, *node.permissions);
    return done;
}

Result<void> Transaction::remove(const std::string& path) {
    auto done = connection_.remove(id_, path);
    if (!done && done.error().failure == Failure::missing) return {};
    return done;
}

Result<Permissions> Transaction::permissions(const std::string& path) {
    return connection_.permissions(id_, path);
}

Result<void> Transaction::set_permissions(const std::string& path, const Permissions& permissions) {
    return connection_.set_permissions(id_, path, permissions);
}

Result<Store> Store::open() { return open(by_library()); }

Result<Store> Store::open(Connect connect) {
    Store store(std::move(connect));
    if (store.descriptor_ < 0) {
        return tl::unexpected(
            Error{Failure::refused, std::string("epoll: ") + std::strerror(errno)});
    }
    if (auto done = store.connect(); !done) return tl::unexpected(done.error());
    return store;
}

Store::Store(Connect connect)
    : connect_(std::move(connect)), descriptor_(::epoll_create1(EPOLL_CLOEXEC)) {}

Store::Store(Store&& other) noexcept
    : connect_(std::move(other.connect_)),
      connection_(std::move(other.connection_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      tried_(other.tried_),
      heard_(other.heard_),
      watches_(std::move(other.watches_)),
      waiting_(std::move(other.waiting_)),
      waiting_set_(std::move(other.waiting_set_)) {}

Store& Store::operator=(Store&& other) noexcept {
    std::swap(connect_, other.connect_);
    std::swap(connection_, other.connection_);
    std::swap(descriptor_, other.descriptor_);
    std::swap(tried_, other.tried_);
    std::swap(heard_, other.heard_);
    std::swap(watches_, other.watches_);
    std::swap(waiting_, other.waiting_);
    std::swap(waiting_set_, other.waiting_set_);
    return *this;
}

Store::~Store() {
    connection_.reset();
    if (descriptor_ >= 0) ::close(descriptor_);
}

int Store::fd() const { return descriptor_; }

Result<void> Store::connect() {
    if (connection_) return {};
    const auto now = Clock::now();
    if (tried_ != Clock::time_point() && now - tried_ < reconnect_pause) {
        return tl::unexpected(Error{Failure::unreachable, "xenstored could not be reached"});
    }
    tried_ = now;
    auto made = connect_();
    if (!made) return tl::unexpected(made.error());
    for (const Watch& watch : watches_) {
        auto done = (*made)->watch(watch.path, watch.token);
        if (!done) return done;
    }
    connection_ = std::move(*made);
    heard_ = Clock::now();
    epoll_event interest{};
    interest.events = EPOLLIN;
    const int descriptor = connection_->descriptor();
    if (descriptor >= 0) ::epoll_ctl(descriptor_, EPOLL_CTL_ADD, descriptor, &interest);
    return {};
}

void Store::give_up() {
    // Before it is closed: a number in an epoll set may otherwise live on in a duplicate.
    ::epoll_ctl(descriptor_, EPOLL_CTL_DEL, connection_->descriptor(), nullptr);
    connection_.reset();
}

// All calls go this way: connects where need be, and drops a connection that failed.
template <class Call>
auto Store::with_connection(Call&& call) -> decltype(call(std::declval<Connection&>())) {
    if (auto done = connect(); !done) return tl::unexpected(done.error());
    auto result = call(*connection_);
    if (result || result.error().failure != Failure::unreachable) {
        heard_ = Clock::now();
    } else {
        give_up();
    }
    return result;
}

Result<std::string> Store::read(const std::string& path, std::size_t bytes_max) {
    return with_connection([&](Connection& connection) {
        return Transaction(connection, no_transaction).read(path, bytes_max);
    });
}

Result<std::optional<std::string>> Store::read_if_there(const std::string& path,
                                                        std::size_t bytes_max) {
    return with_connection([&](Connection& connection) {
        return Transaction(connection, no_transaction).read_if_there(path, bytes_max);
    });
}

Result<std::vector<std::string>> Store::list(const std::string& path, std::size_t count_max) {
    return with_connection([&](Connection& connection) {
        return Transaction(connection, no_transaction).list(path, count_max);
    });
}

Result<void> Store::write(const std::string& path, const std::string& value) {
    return with_connection([&](Connection& connection) {
        return Transaction(connection, no_transaction).write(path, value);
    });
}

Result<void> Store::write(std::span<const Node> nodes) {
    return transaction([&](Transaction& transaction) -> Result<void> {
        for (const Node& node : nodes) {
            if (auto done = transaction.write(node); !done) return done;
        }
        return {};
    });
}

Result<void> Store::remove(const std::string& path) {
    return with_connection([&](Connection& connection) {
        return Transaction(connection, no_transaction).remove(path);
    });
}

Result<Permissions> Store::permissions(const std::string& path) {
    return with_connection(
        [&](Connection& connection) { return connection.permissions(no_transaction, path); });
}

Result<void> Store::set_permissions(const std::string& path, const Permissions& permissions) {
    return with_connection([&](Connection& connection) {
        return connection.set_permissions(no_transaction, path, permissions);
    });
}

Result<void> Store::transaction(const std::function<Result<void>(Transaction&)>& body) {
    return with_connection([&](Connection& connection) -> Result<void> {
        Result<void> done;
        for (unsigned attempt = 0; attempt < transaction_attempts_max; ++attempt) {
            const auto id = connection.begin();
            if (!id) return tl::unexpected(id.error());
            Transaction transaction(connection, *id);
            done = body(transaction);
            if (done) {
                done = connection.end(*id, true);
            } else if (done.error().failure != Failure::unreachable) {
                // Its own failure tells no more than the body's.
                static_cast<void>(connection.end(*id, false));
            }
            if (done || done.error().failure != Failure::conflict) return done;
        }
        return done;
    });
}

Result<void> Store::watch(const std::string& path, const std::string& token) {
    const Watch watch{path, token};
    if (std::find(watches_.begin(), watches_.end(), watch) != watches_.end()) return {};
    auto done =
        with_connection([&](Connection& connection) { return connection.watch(path, token); });
    if (done) watches_.push_back(watch);
    return done;
}

Result<void> Store::unwatch(const std::string& path, const std::string& token) {
    std::erase(watches_, Watch{path, token});
    auto done =
        with_connection([&](Connection& connection) { return connection.unwatch(path, token); });
    // Late ones would name a watch that its owner has forgotten.
    const auto of_it = [&](const Event& event) {
        return event.token == token &&
               std::none_of(watches_.begin(), watches_.end(),
                            [&](const Watch& watch) { return watch.token == token; });
    };
    std::erase_if(waiting_, of_it);
    std::erase_if(waiting_set_, of_it);
    return done;
}

void Store::remember(Event event) {
    if (!waiting_set_.insert(event).second) return;
    waiting_.push_back(std::move(event));
    if (waiting_.size() <= events_waiting_max || waiting_.size() <= watches_.size()) return;
    // Somebody makes more than anyone can read: look at everything, as after a new connection.
    waiting_.clear();
    waiting_set_.clear();
    for (const Watch& watch : watches_) {
        waiting_.push_back({watch.path, watch.token});
        waiting_set_.insert(waiting_.back());
    }
}

Result<void> Store::collect_events() {
    if (auto done = connect(); !done) return done;
    // Bounded, so that one who makes them as fast as they are read stops nobody.
    for (std::size_t count = 0; count < 4 * events_waiting_max; ++count) {
        auto event = connection_->event();
        if (!event) {
            if (event.error().failure == Failure::unreachable) give_up();
            return tl::unexpected(event.error());
        }
        if (!*event) return {};
        heard_ = Clock::now();
        remember(std::move(**event));
    }
    return {};
}

Result<std::optional<Event>> Store::next_event(milliseconds timeout) {
    const auto end = Clock::now() + timeout;
    for (;;) {
        if (connection_ && Clock::now() - heard_ >= silence_max) {
            // An answer, whatever it says, is a sign of life.
            static_cast<void>(read("/"));
        }
        const auto collected = collect_events();
        if (!waiting_.empty()) {
            Event event = std::move(waiting_.front());
            waiting_.pop_front();
            waiting_set_.erase(event);
            return std::optional<Event>(std::move(event));
        }
        const auto left = std::chrono::ceil<milliseconds>(end - Clock::now());
        if (left.count() <= 0) {
            if (!collected) return tl::unexpected(collected.error());
            return std::optional<Event>();
        }
        // Without a connection nothing wakes us but the time to try again.
        pollfd ready{descriptor_, POLLIN, 0};
        const auto pause = std::min(left, collected ? silence_max : reconnect_pause);
        ::poll(&ready, collected ? 1 : 0, static_cast<int>(pause.count()));
    }
}

}  // namespace xen::store
