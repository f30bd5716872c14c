// Xen and Dom0 around a simulated appliance: a xenstore in memory, a hypervisor that checks grants,
// netback's lanes, and its slow path (the real Device), which takes its steps when the simulation
// says so. The appliance's process can be killed, at its own instants too, and has a successor.
//
// Limit: one worker.
#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proxy/crash_point.hh"
#include "proxy/pipeline.hh"
#include "tests/sim/domain.hh"
#include "xen/netback/device.hh"

namespace sim {

class Dom0 final : public xen::netback::Hypervisor {
  public:
    // A successor that reads again what is in the rings, instead of what its predecessor noted.
    enum class Adoption { from_shadow, from_rings };

    Dom0(rte_mempool* packets, unsigned lanes, Domain::Random& random, Domain::Complain complain,
         Adoption adoption);
    ~Dom0() override;

    proxy::NetbackLanes* lanes() { return lanes_.get(); }
    const proxy::LaneCounters& counters(unsigned lane) const { return lanes_->counters(lane); }
    Domain* domain(unsigned lane) { return places_[lane].domain.get(); }
    // A fresh domain in the place of whoever was there, connected.
    void build(unsigned lane, std::uint64_t now_us);
    // The slow path's look at all devices where something is going on, and the frontends' steps.
    void look(std::uint64_t now_us);
    void take_notice(unsigned lane) { places_[lane].to_look_at = true; }
    // What the domain in that place has been seen to do wrong.
    xen::netback::Violation violation(unsigned lane) const;
    // Around what the worker does in a turn: it may sleep then, and who sends something wakes it.
    void doze(proxy::Worker& worker);
    void wake(proxy::Worker& worker);
    void fail_next_copy() { failing_ = true; }

    // The process is about to be killed at the `pass`-th pass of CrashPoint::written: what its
    // successor will find is noted there, `at_death` is called, and the turn goes on for nothing.
    void kill_within_turn(unsigned pass, std::function<void()> at_death);
    bool killed() const { return killed_; }
    void disarm() {
        passes_left_ = 0;
        failing_ = false;
    }
    void passes(proxy::CrashPoint where);
    // Or right now: between two turns. `told`: the last notifications have left.
    bool has_notified() const;  // there are some
    void kill(bool told);
    // After the process's own end.
    void end_process();
    void start_process(std::uint64_t now_us);

    // At rest.
    void check_balance();

    tl::expected<std::unique_ptr<xen::netback::MappedPage>, std::string> map(
        xen::DomainId domain, grant_ref_t grant) override;
    tl::expected<std::unique_ptr<xen::netback::EventChannels>, std::string> bind(
        xen::DomainId domain, std::uint32_t tx, std::uint32_t rx) override;

  private:
    struct Instant;
    struct Place {
        std::unique_ptr<Domain> domain;
        std::unique_ptr<xen::netback::Device> device;
        bool to_look_at = false;
        std::unique_ptr<Instant> instant;
    };

    static int run_copies(void* self, xen::netback::CopySegment* segments, std::uint32_t count);
    void copy(xen::netback::CopySegment& segment);
    Domain* by_id(std::uint16_t id);
    std::filesystem::path shadow_of(unsigned lane) const;
    void open_device(unsigned lane);
    void look(Place& place, std::uint64_t now_us);
    void tear_down(unsigned lane);
    void note_instant();

    rte_mempool* packets_;
    Domain::Random& random_;
    Domain::Complain complain_;
    const Adoption adoption_;
    std::filesystem::path directory_;
    xen::store::MemoryStore memory_;
    xen::store::Store store_;
    std::vector<xen::netback::QueueSlot> slots_;
    std::unique_ptr<proxy::NetbackLanes> lanes_;
    std::vector<Place> places_;
    std::uint16_t last_id_ = 0;
    unsigned mapped_ = 0;
    unsigned bound_ = 0;
    bool failing_ = false;
    bool killed_ = false;
    unsigned passes_left_ = 0;
    std::function<void()> at_death_;
};

}  // namespace sim
