// The service that is simulated: what is asked, what is right to answer, and what honest replicas
// of several makes say.
#pragma once

#include <cstdint>

#include "tests/appliance/frames.hh"

namespace sim {

using appliance_test::Octets;

// FNV-1a, salted.
std::uint64_t hash(const Octets& octets, std::uint64_t salt);

class SimulatedService {
  public:
    explicit SimulatedService(bool is_dns) : is_dns_(is_dns) {}

    // `name` and `padding` below what a client draws. `framing`: honest replicas answer such a one
    // differently.
    Octets question(std::uint32_t number, bool framing, unsigned name, unsigned padding) const;
    bool is_framing(const Octets& asked) const;
    // `salt` 0: the right answer; every lie that is told together has one salt. `dialect`: what
    // makes may differ in.
    Octets answer(const Octets& asked, std::uint64_t salt, unsigned dialect) const;
    bool is_right(const Octets& asked, const Octets& said) const;

  private:
    bool is_dns_;
};

}  // namespace sim
