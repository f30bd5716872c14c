// The replicas of a world as Xen domains behind netback: what befalls their rings, deaths of the
// appliance's process and its successors, and whether what netback says of each frontend is true.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "tests/appliance/appliance.hh"
#include "tests/sim/checker.hh"
#include "tests/sim/dom0.hh"
#include "tests/sim/world.hh"

namespace sim {

class DomainReplicas {
  public:
    // The world around them, which outlives them.
    struct Around {
        Domain::Random& random;
        Checker& checker;
        Result& result;
        std::function<void()> clients_hear;  // what has left the appliance
        std::function<void()> judge_events;  // what it has said
        // Who is in that place has broken netback's protocol.
        std::function<void(unsigned slot, unsigned place)> violates;
    };
    DomainReplicas(unsigned replicas, Dom0::Adoption adoption, Around around);

    proxy::NetbackLanes* lanes() { return dom0_.lanes(); }
    // Before all that follows; outlives it.
    void serve(appliance_test::Appliance& appliance) { appliance_ = &appliance; }
    // A fresh domain in a place.
    void build(unsigned slot, unsigned place);
    bool send(unsigned slot, unsigned place, const Octets& frame);
    std::vector<Octets> receive(unsigned slot, unsigned place);

    // Something happens to the rings of a replica, or it does something to them.
    void ring_fault(unsigned slot, bool faulty);
    // After the next turn that says something to a domain, or within the next that gets so far.
    void kill();
    bool is_down() const { return up_again_at_ != 0; }
    // No more of either, but for what has begun.
    void heal();
    // A turn of the appliance, `us` later than the last, if it runs.
    void turn(std::uint64_t us);
    // At rest.
    void check_balance() { dom0_.check_balance(); }

  private:
    unsigned below(unsigned n) { return static_cast<unsigned>(around_.random() % n); }
    bool chance(unsigned percent) { return below(100) < percent; }
    void dies();
    void judge();
    void found_out(unsigned slot, unsigned place, Domain& domain);

    const unsigned replicas_;
    Around around_;
    Dom0 dom0_;
    appliance_test::Appliance* appliance_ = nullptr;
    bool kill_after_turn_ = false;
    std::uint64_t up_again_at_ = 0;  // 0: it runs
};

}  // namespace sim
