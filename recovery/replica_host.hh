// What recovery (and, by hand, the operator) asks of a machine that runs replicas. Two kinds
// implement it: netns/ (process trees in network namespaces) and xen/ (domains). Calls block, with
// a deadline; none of them is on the data path.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "recovery/roster.hh"
#include "voter/types.hh"

namespace recovery {

struct HostError {
    std::string what;  // with its cause, for people
};

// Names a boot of a replica for its host.
struct ReplicaName {
    std::string group;
    voter::ReplicaId slot;
    voter::Incarnation incarnation;
    Place place = Place::a;
};

struct ReplicaFacts {
    ReplicaName name;
    bool running = false;
    std::int64_t pid = 0;  // netns: the supervisor; xen: the domain id
    std::string port;      // how the proxy reaches it, as a config port
    std::string detail;    // for people: healthy since, exit status, ...
};

template <class T>
concept ReplicaHost = requires(T host, const ReplicaName& name) {
    // Builds and starts; returns when it answers its health check, or with the reason why not (then
    // nothing of it is left).
    { host.start(name) } -> std::same_as<tl::expected<ReplicaFacts, HostError>>;
    // Ends it and everything that belonged to it. Stopping what is not there is no error.
    { host.stop(name) } -> std::same_as<tl::expected<void, HostError>>;
    { host.pause(name) } -> std::same_as<tl::expected<void, HostError>>;
    { host.resume(name) } -> std::same_as<tl::expected<void, HostError>>;
    // All that are ours, dead remains included.
    { host.inspect() } -> std::same_as<tl::expected<std::vector<ReplicaFacts>, HostError>>;
    // Removes remains of ours whose supervisor is gone; returns how many.
    { host.clean() } -> std::same_as<tl::expected<unsigned, HostError>>;
};

}  // namespace recovery
