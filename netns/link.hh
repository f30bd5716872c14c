// The private link between a replica and the appliance: a veth whose outer end stays where the
// proxy runs, while `eth0` is in the replica's namespace. Every replica has the same MAC and the
// services' own addresses; its whole world is one gateway, the appliance.
//
// Interfaces are made and asked for with iproute2's `ip`, each call an argument vector. An
// interface is ours only if it carries our tag as its alias; no other is ever removed.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>
#include <tl/expected.hpp>

#include "wire/address.hh"

namespace netns {

inline constexpr const char* inner_interface = "eth0";
inline constexpr const char* replica_mac = "02:51:00:00:00:02";  // proxy/plan.hh names both MACs
inline constexpr const char* gateway_v4 = "169.254.1.1";
inline constexpr const char* gateway_v6 = "fe80::1";
inline constexpr unsigned link_mtu = 1500;

// The alias of all interfaces of the appliance of this name.
std::string link_tag(const std::string& appliance);

// Makes the pair, tags and raises the outer end. A left-over of that name with our tag is replaced;
// one without it is an error.
tl::expected<void, std::string> make_link(const std::string& outer, const std::string& tag,
                                          pid_t inside);

// False: there is none of that name, or it is not ours.
tl::expected<bool, std::string> remove_link(const std::string& outer, const std::string& tag);

// The interfaces of this network namespace that carry the tag.
tl::expected<std::vector<std::string>, std::string> links_tagged(const std::string& tag);

// To be called inside, once: lo, eth0 with its MAC, addresses and routes, whole checksums. Returns
// when duplicate address detection is through, which the appliance must leave unanswered.
tl::expected<void, std::string> set_up_inner_link(const std::vector<wire::IpAddress>& addresses);

}  // namespace netns
