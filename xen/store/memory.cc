#include "xen/store/memory.hh"

#include <algorithm>
#include <optional>
#include <utility>

#include <sys/eventfd.h>
#include <unistd.h>

namespace xen::store {
namespace {

tl::unexpected<Error> failed(Failure failure, const std::string& path) {
    return tl::unexpected(Error{failure, path + ": " + text(failure)});
}

std::string parent_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

bool is_at_or_below(const std::string& path, const std::string& above) {
    if (above == "/") return path.starts_with('/');
    return path == above ||
           (path.size() > above.size() && path.starts_with(above) && path[above.size()] == '/');
}

bool is_special(const std::string& path) {
    return path == "@introduceDomain" || path == "@releaseDomain";
}

bool is_sound(const std::string& path) {
    if (path == "/") return true;
    if (path.empty() || path.size() >= path_bytes_max || path.front() != '/' ||
        path.back() == '/' || path.find("//") != std::string::npos) {
        return false;
    }
    return std::all_of(path.begin(), path.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               std::string_view("-/_@").find(c) != std::string_view::npos;
    });
}

bool may(DomainId domain, const Permissions& permissions, bool writing) {
    if (domain == domain_0 || domain == permissions.owner) return true;
    Access access = permissions.others;
    for (const auto& entry : permissions.entries) {
        if (entry.domain == domain) access = entry.access;
    }
    return access == Access::read_write || access == (writing ? Access::write : Access::read);
}

std::string home_of(DomainId domain) { return "/local/domain/" + std::to_string(domain.value); }

}  // namespace

class MemoryConnection final : public Connection {
  public:
    MemoryConnection(MemoryStore& store, DomainId domain)
        : store_(store), domain_(domain), life_(store.lives_) {
        waiting_.descriptor = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        store_.connections_.insert(&waiting_);
    }
    ~MemoryConnection() override {
        const std::lock_guard lock(store_.mutex_);
        store_.connections_.erase(&waiting_);
        ::close(waiting_.descriptor);
    }

    Result<std::string> read(TransactionId transaction, const std::string& name) override {
        return with(transaction, name, [&](Tree& tree, const std::string& path) {
            ++store_.reads_[path];
            return read_in(tree, path);
        });
    }

    Result<std::vector<std::string>> list(TransactionId transaction,
                                          const std::string& name) override {
        using Names = std::vector<std::string>;
        return with(transaction, name, [&](Tree& tree, const std::string& path) -> Result<Names> {
            if (const auto value = read_in(tree, path); !value) {
                return tl::unexpected(value.error());
            }
            Names names;
            const std::string start = path == "/" ? path : path + "/";
            for (auto at = tree.upper_bound(start); at != tree.end(); ++at) {
                if (!at->first.starts_with(start)) break;
                const std::string rest = at->first.substr(start.size());
                if (rest.find('/') == std::string::npos) names.push_back(rest);
            }
            return names;
        });
    }

    Result<void> write(TransactionId transaction, const std::string& name,
                       const std::string& value) override {
        return with(transaction, name, [&](Tree& tree, const std::string& path) -> Result<void> {
            if (value.size() > value_bytes_max) return failed(Failure::too_large, path);
            if (const auto found = tree.find(path); found != tree.end()) {
                if (!may(domain_, found->second.permissions, true)) {
                    return failed(Failure::denied, path);
                }
            } else if (auto made = make_in(tree, path); !made) {
                return made;
            }
            tree[path].value = value;
            changed(transaction, {path}, false);
            return {};
        });
    }

    Result<void> remove(TransactionId transaction, const std::string& name) override {
        return with(transaction, name, [&](Tree& tree, const std::string& path) -> Result<void> {
            const auto found = tree.find(path);
            if (found == tree.end()) return failed(Failure::missing, path);
            if (path == "/") return failed(Failure::refused, path);
            const auto above = tree.find(parent_of(path));
            if (!may(domain_, found->second.permissions, true) &&
                (above == tree.end() || !may(domain_, above->second.permissions, true))) {
                return failed(Failure::denied, path);
            }
            std::vector<std::string> gone;
            std::erase_if(tree, [&](const auto& item) {
                if (!is_at_or_below(item.first, path)) return false;
                gone.push_back(item.first);
                return true;
            });
            changed(transaction, gone, true);
            return {};
        });
    }

    Result<Permissions> permissions(TransactionId transaction, const std::string& name) override {
        return with(transaction, name,
                    [&](Tree& tree, const std::string& path) -> Result<Permissions> {
                        if (auto value = read_in(tree, path); !value) {
                            return tl::unexpected(value.error());
                        }
                        return tree[path].permissions;
                    });
    }

    Result<void> set_permissions(TransactionId transaction, const std::string& name,
                                 const Permissions& permissions) override {
        return with(transaction, name, [&](Tree& tree, const std::string& path) -> Result<void> {
            const auto found = tree.find(path);
            if (found == tree.end()) return failed(Failure::missing, path);
            if (domain_ != domain_0 && domain_ != found->second.permissions.owner) {
                return failed(Failure::denied, path);
            }
            found->second.permissions = permissions;
            changed(transaction, {path}, false);
            return {};
        });
    }

    Result<TransactionId> begin() override {
        const std::lock_guard lock(store_.mutex_);
        if (dead()) return failed(Failure::unreachable, "transaction");
        open_ = Open{++last_transaction_, store_.changes_, store_.tree_, {}};
        return open_->id;
    }

    Result<void> end(TransactionId transaction, bool commit) override {
        const std::lock_guard lock(store_.mutex_);
        if (dead()) return failed(Failure::unreachable, "transaction");
        if (!open_ || open_->id != transaction) return failed(Failure::refused, "transaction");
        const Open ended = std::move(*open_);
        open_.reset();
        if (!commit) return {};
        if (store_.conflicts_ > 0 || ended.started != store_.changes_) {
            if (store_.conflicts_ > 0) --store_.conflicts_;
            return failed(Failure::conflict, "transaction");
        }
        if (ended.changes.empty()) return {};
        store_.tree_ = ended.tree;
        ++store_.changes_;
        for (const auto& [paths, removed] : ended.changes) tell(paths, removed);
        return {};
    }

    Result<void> watch(const std::string& name, const std::string& token) override {
        const std::lock_guard lock(store_.mutex_);
        if (dead()) return failed(Failure::unreachable, name);
        const std::string path = whole(name);
        if (!is_special(path) && !is_sound(path)) return failed(Failure::refused, name);
        waiting_.watches.push_back({path, token});
        wake({path, token});
        return {};
    }

    Result<void> unwatch(const std::string& name, const std::string& token) override {
        const std::lock_guard lock(store_.mutex_);
        if (dead()) return failed(Failure::unreachable, name);
        if (std::erase(waiting_.watches, Event{whole(name), token}) == 0) {
            return failed(Failure::missing, name);
        }
        return {};
    }

    Result<std::optional<Event>> event() override {
        const std::lock_guard lock(store_.mutex_);
        if (dead()) return failed(Failure::unreachable, "watches");
        if (waiting_.events.empty()) {
            eventfd_t ignored;
            static_cast<void>(::eventfd_read(waiting_.descriptor, &ignored));
            return std::optional<Event>();
        }
        Event first = std::move(waiting_.events.front());
        waiting_.events.erase(waiting_.events.begin());
        return std::optional<Event>(std::move(first));
    }

    int descriptor() const override { return waiting_.descriptor; }

  private:
    using Tree = MemoryStore::Tree;
    struct Open {
        TransactionId id;
        std::uint64_t started;
        Tree tree;
        std::vector<std::pair<std::vector<std::string>, bool>> changes;
    };

    bool dead() const { return !store_.alive_ || life_ != store_.lives_; }

    std::string whole(const std::string& name) const {
        return name.starts_with('/') || is_special(name) ? name : home_of(domain_) + "/" + name;
    }

    template <class Call>
    auto with(TransactionId transaction, const std::string& name, Call&& call)
        -> decltype(call(std::declval<Tree&>(), name)) {
        const std::lock_guard lock(store_.mutex_);
        if (dead()) return failed(Failure::unreachable, name);
        const std::string path = whole(name);
        if (!is_sound(path)) return failed(Failure::refused, name);
        if (transaction == no_transaction) return call(store_.tree_, path);
        if (!open_ || open_->id != transaction) return failed(Failure::refused, name);
        return call(open_->tree, path);
    }

    Result<std::string> read_in(const Tree& tree, const std::string& path) const {
        const auto found = tree.find(path);
        if (found == tree.end()) return failed(Failure::missing, path);
        if (!may(domain_, found->second.permissions, false)) return failed(Failure::denied, path);
        return found->second.value;
    }

    // The node and those above it that are missing; like xenstored, as the nearest one there is
    // permits, and with its permissions.
    Result<void> make_in(Tree& tree, const std::string& path) const {
        std::vector<std::string> missing;
        std::string at = path;
        while (!tree.contains(at)) {
            missing.push_back(at);
            at = parent_of(at);
        }
        Permissions inherited = tree[at].permissions;
        if (!may(domain_, inherited, true)) return failed(Failure::denied, path);
        if (domain_ != domain_0) inherited.owner = domain_;
        for (const std::string& each : missing) tree[each] = {{}, inherited};
        return {};
    }

    void changed(TransactionId transaction, const std::vector<std::string>& paths, bool removed) {
        if (transaction != no_transaction) {
            open_->changes.emplace_back(paths, removed);
            return;
        }
        ++store_.changes_;
        tell(paths, removed);
    }

    void tell(const std::vector<std::string>& paths, bool removed) const {
        if (removed) {
            store_.fire_removed(paths);
        } else {
            store_.fire(paths.front());
        }
    }

    void wake(Event event) {
        waiting_.events.push_back(std::move(event));
        static_cast<void>(::eventfd_write(waiting_.descriptor, 1));
    }

    MemoryStore& store_;
    DomainId domain_;
    unsigned life_;
    MemoryStore::Waiting waiting_;
    TransactionId last_transaction_ = 0;
    std::optional<Open> open_;  // one at a time is all that Store needs
};

MemoryStore::MemoryStore() { tree_["/"] = {{}, {domain_0, Access::none, {}}}; }

Connect MemoryStore::connect(DomainId domain) {
    return [this, domain]() -> Result<std::unique_ptr<Connection>> {
        const std::lock_guard lock(mutex_);
        if (!alive_) return failed(Failure::unreachable, "connecting");
        return std::make_unique<MemoryConnection>(*this, domain);
    };
}

void MemoryStore::introduce(DomainId domain) {
    const std::string home = home_of(domain);
    const std::lock_guard lock(mutex_);
    const Permissions ours{domain_0, Access::none, {{domain, Access::read}}};
    const Permissions theirs{domain, Access::none, {}};
    for (const char* above : {"/local", "/local/domain"}) {
        tree_.try_emplace(above, Item{{}, {domain_0, Access::none, {}}});
    }
    tree_[home] = {{}, ours};
    tree_[home + "/device"] = {{}, ours};
    tree_[home + "/data"] = {{}, theirs};
    ++changes_;
    fire(home);
    fire("@introduceDomain");
}

void MemoryStore::release(DomainId domain) {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> gone;
    std::erase_if(tree_, [&](const auto& item) {
        if (!is_at_or_below(item.first, home_of(domain))) return false;
        gone.push_back(item.first);
        return true;
    });
    ++changes_;
    fire_removed(gone);
    fire("@releaseDomain");
}

void MemoryStore::conflict_next(unsigned count) {
    const std::lock_guard lock(mutex_);
    conflicts_ = count;
}

void MemoryStore::set_alive(bool alive) {
    const std::lock_guard lock(mutex_);
    if (alive_ && !alive) ++lives_;
    alive_ = alive;
}

unsigned MemoryStore::reads(const std::string& path) const {
    const std::lock_guard lock(mutex_);
    const auto found = reads_.find(path);
    return found == reads_.end() ? 0 : found->second;
}

void MemoryStore::fire(const std::string& path) {
    for (Waiting* waiting : connections_) {
        for (const Event& watch : waiting->watches) {
            if (path != watch.path && !is_at_or_below(path, watch.path)) continue;
            waiting->events.push_back({path, watch.token});
            static_cast<void>(::eventfd_write(waiting->descriptor, 1));
        }
    }
}

// xenstored tells of a removed tree by its top, and each watch inside it by its own path.
void MemoryStore::fire_removed(const std::vector<std::string>& paths) {
    if (paths.empty()) return;
    fire(paths.front());  // the map's order: what is above comes first
    for (Waiting* waiting : connections_) {
        for (const Event& watch : waiting->watches) {
            if (watch.path == paths.front()) continue;
            if (std::find(paths.begin(), paths.end(), watch.path) == paths.end()) continue;
            waiting->events.push_back(watch);
            static_cast<void>(::eventfd_write(waiting->descriptor, 1));
        }
    }
}

}  // namespace xen::store
