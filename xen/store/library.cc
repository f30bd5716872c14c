#include "xen/store/library.hh"

#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

extern "C" {
#include <xenstore.h>
}

namespace xen::store {
namespace {

// writer and reader: any thread that opens, or ends late
std::atomic<unsigned> abandoned{0};

struct Freed {
    void operator()(void* memory) const { std::free(memory); }
};
template <class T>
using Owned = std::unique_ptr<T, Freed>;

Error unreachable(const std::string& why) {
    return {Failure::unreachable, "xenstored cannot be reached: " + why};
}

Error error_of(int cause, const std::string& what) {
    Failure failure = Failure::refused;
    switch (cause) {
        case ENOENT:
            failure = Failure::missing;
            break;
        case EACCES:
        case EPERM:
            failure = Failure::denied;
            break;
        case EAGAIN:
            failure = Failure::conflict;
            break;
        case E2BIG:
            failure = Failure::too_large;
            break;
        case EPIPE:
        case EBADF:
        case EIO:
        case ECONNRESET:
        case ENOTCONN:
        case ECONNREFUSED:
            return unreachable(what + ": " + std::strerror(cause));
        default:
            break;
    }
    return {failure, what + ": " + std::strerror(cause)};
}

// The thread that may be kept waiting, and what it shares with its owner.
class Caller {
  public:
    explicit Caller(milliseconds deadline) : deadline_(deadline), shared_(make()) {
        sigset_t all;
        sigset_t before;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for the program's own threads
        thread_ = std::thread([shared = shared_] { serve(*shared); });
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;

    ~Caller() {
        static_cast<void>(run<int>([](xs_handle*& handle) {
            if (handle != nullptr) ::xs_close(handle);
            handle = nullptr;
            return 0;
        }));
        bool late = false;
        {
            const std::lock_guard lock(shared_->mutex);
            late = shared_->late;
            shared_->ending = true;
        }
        shared_->changed.notify_all();
        if (late) {
            thread_.detach();
        } else {
            thread_.join();
        }
    }

    // The result of `call` on the thread. nullopt: it was late, now or before.
    template <class Value>
    std::optional<Value> run(std::function<Value(xs_handle*&)> call) {
        auto result = std::make_shared<std::optional<Value>>();
        std::unique_lock lock(shared_->mutex);
        if (shared_->late) return std::nullopt;
        shared_->busy = true;
        shared_->job = [result, call = std::move(call)](xs_handle*& handle) {
            *result = call(handle);
        };
        shared_->changed.notify_all();
        if (!shared_->changed.wait_for(lock, deadline_, [&] { return !shared_->busy; })) {
            shared_->late = true;
            abandoned.fetch_add(1, std::memory_order_relaxed);
            return std::nullopt;
        }
        return std::move(*result);
    }

  private:
    struct Shared {
        std::mutex mutex;
        std::condition_variable changed;
        std::function<void(xs_handle*&)> job;
        bool busy = false;    // a job is to be done or being done
        bool late = false;    // its owner has turned away
        bool ending = false;  // no more will come
        xs_handle* handle = nullptr;
    };
    static std::shared_ptr<Shared> make() { return std::make_shared<Shared>(); }

    static void serve(Shared& shared) {
        std::unique_lock lock(shared.mutex);
        for (;;) {
            shared.changed.wait(lock, [&] { return shared.busy || shared.ending; });
            if (!shared.busy) return;
            const auto job = std::move(shared.job);
            lock.unlock();
            job(shared.handle);
            lock.lock();
            shared.busy = false;
            if (shared.late) break;
            shared.changed.notify_all();
        }
        lock.unlock();
        if (shared.handle != nullptr) ::xs_close(shared.handle);
        abandoned.fetch_sub(1, std::memory_order_relaxed);
    }

    milliseconds deadline_;
    std::shared_ptr<Shared> shared_;
    std::thread thread_;
};

xs_permissions permission(DomainId domain, Access access) {
    const bool read = access == Access::read || access == Access::read_write;
    const bool write = access == Access::write || access == Access::read_write;
    return {domain.value, (read ? XS_PERM_READ : 0u) | (write ? XS_PERM_WRITE : 0u)};
}

Access access_of(const xs_permissions& permission) {
    const bool read = (permission.perms & XS_PERM_READ) != 0;
    const bool write = (permission.perms & XS_PERM_WRITE) != 0;
    return read ? (write ? Access::read_write : Access::read)
                : (write ? Access::write : Access::none);
}

// Every request: the library's call on the thread, then its errno there.
class LibraryConnection final : public Connection {
  public:
    explicit LibraryConnection(milliseconds deadline) : caller_(deadline) {}

    Result<void> open() {
        return ask<void>("connecting", [](xs_handle*& handle) -> bool {
            handle = ::xs_open(0);
            return handle != nullptr;
        });
    }

    Result<std::string> read(TransactionId transaction, const std::string& path) override {
        return ask<std::string>(path, [transaction, path](xs_handle*& handle, std::string& value) {
            unsigned length = 0;
            const Owned<void> bytes(::xs_read(handle, transaction, path.c_str(), &length));
            if (!bytes) return false;
            value.assign(static_cast<const char*>(bytes.get()), length);
            return true;
        });
    }

    Result<std::vector<std::string>> list(TransactionId transaction,
                                          const std::string& path) override {
        using Names = std::vector<std::string>;
        return ask<Names>(path, [transaction, path](xs_handle*& handle, Names& names) {
            unsigned count = 0;
            const Owned<char*> all(::xs_directory(handle, transaction, path.c_str(), &count));
            if (!all) return false;
            names.assign(all.get(), all.get() + count);
            return true;
        });
    }

    Result<void> write(TransactionId transaction, const std::string& path,
                       const std::string& value) override {
        return ask<void>(path, [transaction, path, value](xs_handle*& handle) -> bool {
            return ::xs_write(handle, transaction, path.c_str(), value.data(),
                              static_cast<unsigned>(value.size()));
        });
    }

    Result<void> remove(TransactionId transaction, const std::string& path) override {
        return ask<void>(path, [transaction, path](xs_handle*& handle) -> bool {
            return ::xs_rm(handle, transaction, path.c_str());
        });
    }

    Result<Permissions> permissions(TransactionId transaction, const std::string& path) override {
        return ask<Permissions>(path, [transaction, path](xs_handle*& handle, Permissions& found) {
            unsigned count = 0;
            const Owned<xs_permissions> all(
                ::xs_get_permissions(handle, transaction, path.c_str(), &count));
            if (!all || count == 0) return false;
            const auto domain = [](const xs_permissions& entry) {
                return DomainId{static_cast<std::uint16_t>(entry.id)};
            };
            found = {domain(all.get()[0]), access_of(all.get()[0]), {}};
            for (unsigned i = 1; i < count; ++i) {
                found.entries.push_back({domain(all.get()[i]), access_of(all.get()[i])});
            }
            return true;
        });
    }

    Result<void> set_permissions(TransactionId transaction, const std::string& path,
                                 const Permissions& permissions) override {
        std::vector<xs_permissions> all{permission(permissions.owner, permissions.others)};
        for (const auto& entry : permissions.entries) {
            all.push_back(permission(entry.domain, entry.access));
        }
        return ask<void>(path, [transaction, path, all](xs_handle*& handle) mutable -> bool {
            return ::xs_set_permissions(handle, transaction, path.c_str(), all.data(),
                                        static_cast<unsigned>(all.size()));
        });
    }

    Result<TransactionId> begin() override {
        return ask<TransactionId>("transaction", [](xs_handle*& handle, TransactionId& id) {
            id = ::xs_transaction_start(handle);
            return id != XBT_NULL;
        });
    }

    Result<void> end(TransactionId transaction, bool commit) override {
        return ask<void>("transaction", [transaction, commit](xs_handle*& handle) -> bool {
            return ::xs_transaction_end(handle, transaction, !commit);
        });
    }

    Result<void> watch(const std::string& path, const std::string& token) override {
        auto done = ask<void>(path, [path, token](xs_handle*& handle) -> bool {
            return ::xs_watch(handle, path.c_str(), token.c_str());
        });
        if (done) watching_ = true;
        return done;
    }

    Result<void> unwatch(const std::string& path, const std::string& token) override {
        return ask<void>(path, [path, token](xs_handle*& handle) -> bool {
            return ::xs_unwatch(handle, path.c_str(), token.c_str());
        });
    }

    Result<std::optional<Event>> event() override {
        using Found = std::optional<Event>;
        if (!watching_) return Found();
        return ask<Found>("watches", [](xs_handle*& handle, Found& found) {
            const Owned<char*> event(::xs_check_watch(handle));
            if (!event) return errno == EAGAIN;
            found = Event{event.get()[XS_WATCH_PATH], event.get()[XS_WATCH_TOKEN]};
            return true;
        });
    }

    int descriptor() const override { return descriptor_; }

    Result<void> find_descriptor() {
        auto found = ask<int>("descriptor", [](xs_handle*& handle, int& descriptor) {
            descriptor = ::xs_fileno(handle);
            return descriptor >= 0;
        });
        if (!found) return tl::unexpected(found.error());
        descriptor_ = *found;
        return {};
    }

  private:
    template <class Value>
    struct Answer {
        bool done = false;
        int cause = 0;
        Value value{};
    };
    struct Nothing {};

    template <class Value, class Call>
    Result<Value> ask(const std::string& what, Call call) {
        using Kept = std::conditional_t<std::is_void_v<Value>, Nothing, Value>;
        auto answer = caller_.run<Answer<Kept>>([call](xs_handle*& handle) mutable {
            Answer<Kept> made;
            errno = 0;
            if constexpr (std::is_void_v<Value>) {
                made.done = call(handle);
            } else {
                made.done = call(handle, made.value);
            }
            made.cause = errno;
            return made;
        });
        if (!answer) return tl::unexpected(unreachable(what + ": it does not answer in time"));
        if (!answer->done) return tl::unexpected(error_of(answer->cause, what));
        if constexpr (std::is_void_v<Value>) {
            return {};
        } else {
            return std::move(answer->value);
        }
    }

    Caller caller_;
    int descriptor_ = -1;
    bool watching_ = false;
};

Result<std::unique_ptr<Connection>> connect(milliseconds deadline) {
    if (abandoned.load(std::memory_order_relaxed) >= abandoned_max) {
        return tl::unexpected(unreachable("earlier calls still hang"));
    }
    auto made = std::make_unique<LibraryConnection>(deadline);
    if (auto done = made->open(); !done) {
        return tl::unexpected(unreachable(done.error().what + "; is this Dom0, and does it run?"));
    }
    if (auto done = made->find_descriptor(); !done) return tl::unexpected(done.error());
    return made;
}

}  // namespace

Connect by_library(milliseconds deadline) {
    return [deadline] { return connect(deadline); };
}

}  // namespace xen::store
