#include "netns/link.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include <linux/ethtool.h>
#include <linux/if_addr.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "netns/process.hh"

namespace netns {
namespace {

constexpr milliseconds ip_deadline{5'000};
constexpr milliseconds detection_deadline{10'000};
constexpr int detection_pause_ms = 5;

tl::expected<std::string, std::string> ip(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "ip");
    auto finished = run(arguments, ip_deadline);
    if (!finished) return tl::unexpected(finished.error());
    if (finished->succeeded()) return std::move(finished->output);
    std::string text;
    for (const std::string& word : arguments) text += (text.empty() ? "" : " ") + word;
    return tl::unexpected(text + ": " + finished->output.substr(0, finished->output.find('\n')));
}

struct Link {
    std::string name;
    std::string alias;
};

tl::expected<std::vector<Link>, std::string> links() {
    const auto text = ip({"-json", "link", "show"});
    if (!text) return tl::unexpected(text.error());
    std::vector<Link> found;
    const auto json = nlohmann::json::parse(text->empty() ? "[]" : *text, nullptr, false);
    if (!json.is_array()) return tl::unexpected(std::string("ip -json link: is not JSON"));
    for (const auto& link : json) {
        if (!link.is_object()) continue;
        found.push_back({link.value("ifname", ""), link.value("ifalias", "")});
    }
    return found;
}

// Of this network namespace.
tl::expected<void, std::string> set_sysctl(const std::string& name, const std::string& value) {
    std::ofstream file("/proc/sys/net/" + name);
    file << value << std::flush;
    if (!file) return tl::unexpected(with_cause("cannot set net/" + name + " to " + value));
    return {};
}

// What `ethtool -K eth0 tx off` does. The kernel leaves checksums blank on a veth, and who reads
// the frames on the other side, as the proxy does, would see them so.
tl::expected<void, std::string> write_whole_checksums() {
    const Descriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ethtool_value off{ETHTOOL_STXCSUM, 0};
    ifreq request{};
    std::strncpy(request.ifr_name, inner_interface, IFNAMSIZ - 1);
    request.ifr_data = reinterpret_cast<char*>(&off);
    if (socket.get() < 0 || ::ioctl(socket.get(), SIOCETHTOOL, &request) != 0) {
        return tl::unexpected(with_cause("cannot switch off transmit checksumming of eth0"));
    }
    return {};
}

struct Detection {
    bool running = false;
    std::string duplicate;  // an address that somebody else has
    bool link_local = false;
};

Detection look_at_addresses() {
    Detection seen;
    std::ifstream file("/proc/net/if_inet6");  // ADDRESS INDEX PREFIX SCOPE FLAGS NAME
    std::string address, index, prefix, scope, flags, name;
    while (file >> address >> index >> prefix >> scope >> flags >> name) {
        if (name != inner_interface) continue;
        const unsigned long bits = std::stoul(flags, nullptr, 16);
        if ((bits & IFA_F_DADFAILED) != 0) seen.duplicate = address;
        if ((bits & IFA_F_TENTATIVE) != 0) seen.running = true;
        if (address.starts_with("fe80")) seen.link_local = true;
    }
    return seen;
}

tl::expected<void, std::string> wait_for_detection() {
    const auto end = std::chrono::steady_clock::now() + detection_deadline;
    for (;;) {
        const Detection seen = look_at_addresses();
        if (!seen.duplicate.empty()) {
            return tl::unexpected(
                "duplicate address detection: somebody on the link answered for " + seen.duplicate +
                ", which nobody may");
        }
        if (!seen.running && seen.link_local) return {};
        if (std::chrono::steady_clock::now() > end) {
            return tl::unexpected(std::string("duplicate address detection did not end"));
        }
        ::poll(nullptr, 0, detection_pause_ms);
    }
}

// Runs the steps until one fails.
class Steps {
  public:
    Steps& ip(std::vector<std::string> arguments) {
        if (ok_) {
            if (auto done = netns::ip(std::move(arguments)); !done) fail(done.error());
        }
        return *this;
    }
    Steps& sysctl(const std::string& name, const std::string& value) {
        if (ok_) then(set_sysctl(name, value));
        return *this;
    }
    Steps& then(tl::expected<void, std::string> done) {
        if (ok_ && !done) fail(done.error());
        return *this;
    }
    tl::expected<void, std::string> result() const {
        if (!ok_) return tl::unexpected(error_);
        return {};
    }
    bool ok() const { return ok_; }

  private:
    void fail(const std::string& error) {
        ok_ = false;
        error_ = error;
    }
    bool ok_ = true;
    std::string error_;
};

}  // namespace

std::string link_tag(const std::string& appliance) { return "quorate:" + appliance; }

tl::expected<void, std::string> make_link(const std::string& outer, const std::string& tag,
                                          pid_t inside) {
    if (auto removed = remove_link(outer, tag); !removed) return tl::unexpected(removed.error());
    if (::if_nametoindex(outer.c_str()) != 0) {
        return tl::unexpected("there is an interface " + outer +
                              " that is not ours (its alias is not " + tag +
                              "); rename or remove it");
    }
    Steps steps;
    steps
        .ip({"link", "add", "name", outer, "mtu", std::to_string(link_mtu), "type", "veth", "peer",
             "name", inner_interface, "address", replica_mac, "mtu", std::to_string(link_mtu),
             "netns", std::to_string(inside)})
        .ip({"link", "set", "dev", outer, "alias", tag})
        // The outer end has no voice of its own: what speaks there is the proxy.
        .ip({"link", "set", "dev", outer, "addrgenmode", "none"})
        .ip({"link", "set", "dev", outer, "up"});
    return steps.result();
}

tl::expected<bool, std::string> remove_link(const std::string& outer, const std::string& tag) {
    const auto all = links();
    if (!all) return tl::unexpected(all.error());
    for (const Link& link : *all) {
        if (link.name != outer || link.alias != tag) continue;
        const auto done = ip({"link", "delete", "dev", outer});
        // It may have gone by itself: an end disappears with the other one's namespace.
        if (!done && ::if_nametoindex(outer.c_str()) != 0) return tl::unexpected(done.error());
        return true;
    }
    return false;
}

tl::expected<std::vector<std::string>, std::string> links_tagged(const std::string& tag) {
    const auto all = links();
    if (!all) return tl::unexpected(all.error());
    std::vector<std::string> names;
    for (const Link& link : *all) {
        if (link.alias == tag) names.push_back(link.name);
    }
    return names;
}

tl::expected<void, std::string> set_up_inner_link(const std::vector<wire::IpAddress>& addresses) {
    const auto is_v4 = [](const wire::IpAddress& address) { return address.is_v4(); };
    const bool v4 = std::any_of(addresses.begin(), addresses.end(), is_v4);
    const bool v6 = !std::all_of(addresses.begin(), addresses.end(), is_v4);
    const std::string eth = inner_interface;
    Steps steps;
    steps
        .ip({"link", "set", "dev", "lo", "up"})
        // A service that runs as somebody may take its port; the namespace holds nothing else.
        .sysctl("ipv4/ip_unprivileged_port_start", "0")
        // A replica's errors are votes: the kernel must not send some of them only.
        .sysctl("ipv4/icmp_ratelimit", "0")
        .sysctl("ipv4/conf/" + eth + "/accept_redirects", "0")
        .sysctl("ipv6/icmp/ratelimit", "0")
        .sysctl("ipv6/conf/" + eth + "/disable_ipv6", v6 ? "0" : "1");
    if (v6) {
        // Detection stays on, without its random delay, and with a quarter of a second (RFC 4862's
        // RetransTimer, 1 s by default) to object: the only other party is on the same machine.
        const std::string conf = "ipv6/conf/" + eth + "/";
        steps.sysctl(conf + "accept_ra", "0")
            .sysctl(conf + "accept_redirects", "0")
            .sysctl(conf + "router_solicitations", "0")
            .sysctl(conf + "router_solicitation_delay", "0")
            .sysctl("ipv6/neigh/" + eth + "/retrans_time_ms", "250");
    }
    if (steps.ok()) steps.then(write_whole_checksums());
    steps.ip({"link", "set", "dev", eth, "up"});
    for (const wire::IpAddress& address : addresses) {
        steps.ip(
            {"address", "add", address.text() + (address.is_v4() ? "/32" : "/128"), "dev", eth});
    }
    if (v4) {
        steps.ip({"route", "add", std::string(gateway_v4) + "/32", "dev", eth, "scope", "link"})
            .ip({"route", "add", "default", "via", gateway_v4, "dev", eth});
    }
    if (v6) {
        steps.ip({"-6", "route", "add", "default", "via", gateway_v6, "dev", eth});
        if (steps.ok()) steps.then(wait_for_detection());
    }
    return steps.result();
}

}  // namespace netns
