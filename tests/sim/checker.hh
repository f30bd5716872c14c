// Watches a simulated appliance from outside and knows nothing of how it decides: what the admitted
// incarnations have sent, and what has left. Reads packets with code of its own.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/config.hh"
#include "tests/appliance/frames.hh"
#include "voter/types.hh"

namespace sim {

using appliance_test::Octets;

// A UDP datagram, or an ICMP error about one (then the client is the one it was about).
struct Datagram {
    Octets destination_mac;
    int vlan = -1;
    std::string from;  // address and port, as octets
    std::string to;
    Octets payload;
    int icmp = -1;     // type * 256 + code
    bool ours = true;  // TTL 64, DSCP and flow label 0, sums right, no padding
};
std::optional<Datagram> read_datagram(const Octets& frame);
std::string flow_of(const appliance_test::Endpoint& end);

// What of a DNS message is voted, and what is not.
struct DnsParts {
    std::string voted;
    bool authority_unvoted = false;  // there is one beside an answer
    std::vector<std::string> additional;
    std::string opt_data;
};
std::optional<DnsParts> read_dns(const Octets& message);

class Checker {
  public:
    struct Rules {
        unsigned quorum = 2;
        bool dns = false;
        config::QuorumLost quorum_lost = config::QuorumLost::silence;
    };
    explicit Checker(const Rules& rules) : rules_(rules) {}

    void roster(unsigned slot, std::uint32_t incarnation) {
        roster_[slot] = incarnation;
    }  // 0: out
    // A copy of a request is in; `client` will have the reply.
    void request(const appliance_test::Endpoint& client, int vlan, const Octets& payload);
    // A replica's packet is in.
    void reply(unsigned slot, std::uint32_t incarnation, const Octets& frame);
    // A packet has left for the clients. Returns the payload of a reply that is one.
    struct Left {
        std::string flow;
        std::uint32_t id = 0;
        Octets payload;
        bool error = false;
    };
    std::optional<Left> left(const Octets& frame);

    // What is wrong, first to last; empty: nothing.
    const std::vector<std::string>& complaints() const { return complaints_; }
    void complain(std::string what) { complaints_.push_back(std::move(what)); }

  private:
    struct Sent {
        unsigned slot = 0;
        std::uint32_t incarnation = 0;
        Octets payload;
        int icmp = -1;
    };
    struct Asked {
        Octets client_mac;
        int vlan = -1;
        unsigned copies = 0;
        unsigned replies = 0;
        std::vector<Sent> sent;
    };
    using Key = std::pair<std::string, std::uint32_t>;

    std::uint32_t id_of(const Octets& payload) const;
    template <class Agrees>
    unsigned admitted_who(const Asked& asked, Agrees&& agrees) const;
    bool backed(const Asked& asked, const Datagram& out) const;
    bool own_error(const Datagram& out) const;

    Rules rules_;
    std::array<std::uint32_t, voter::replicas_max> roster_{};
    std::map<Key, Asked> asked_;
    std::vector<std::string> complaints_;
};

}  // namespace sim
