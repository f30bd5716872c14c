// xenstore in memory, for tests and for frontends without a hypervisor: nodes, permissions,
// transactions and watches as xenstored has them, seen by several domains at once. What a test
// needs besides: conflicts and deaths on demand, and how often a node was read.
//
// Known limits: a transaction conflicts with every change by somebody else, also where xenstored
// would see that they have nothing to do with each other; no quotas.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "xen/store/store.hh"

namespace xen::store {

// Thread-safe; must outlive its connections.
class MemoryStore {
  public:
    MemoryStore();

    // A connection as `domain` makes it; paths that do not begin with '/' are below
    // /local/domain/DOMAIN.
    Connect connect(DomainId domain = domain_0);

    // As the toolstack makes them: the domain's home, with the parts that it may write.
    void introduce(DomainId domain);
    // Home and "@releaseDomain". What is elsewhere stays.
    void release(DomainId domain);

    // The next `count` commits fail.
    void conflict_next(unsigned count);
    // Connections are dead from now on, and new ones refused, until it is alive again.
    void set_alive(bool alive);
    // So far, by all connections.
    unsigned reads(const std::string& path) const;

  private:
    friend class MemoryConnection;
    struct Item {
        std::string value;
        Permissions permissions;
    };
    using Tree = std::map<std::string, Item>;  // by path
    struct Waiting {                           // of one connection
        int descriptor = -1;                   // eventfd
        std::vector<Event> watches;
        std::vector<Event> events;
    };

    void fire(const std::string& path);                        // holds the lock
    void fire_removed(const std::vector<std::string>& paths);  // holds the lock

    mutable std::mutex mutex_;
    Tree tree_;
    std::map<std::string, unsigned> reads_;  // by path
    std::uint64_t changes_ = 0;
    unsigned conflicts_ = 0;
    unsigned lives_ = 1;  // grows with every death, so that old connections stay dead
    bool alive_ = true;
    std::set<Waiting*> connections_;
};

}  // namespace xen::store
