// A simulated domain with one network interface: pages and grants of its own, and a netfront that
// speaks the real ring layout. An honest one does what Linux's does, looks at its rings only when
// it is notified, and checks every answer: in order, once, for what it asked. A hostile one writes
// where a guest can write.
//
// Limit: one queue.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/appliance/frames.hh"
#include "tests/unit/xen/netback/frontend.hh"
#include "xen/domain_id.hh"
#include "xen/store/memory.hh"

namespace sim {

using appliance_test::Octets;

// What both ends share of one connection. Lives until both have let go of it.
struct Rings {
    tests::FrontRing<xen::netback::TxRing> tx;
    tests::FrontRing<xen::netback::RxRing> rx;
};

enum class Attack : unsigned {
    request_index,
    receive_index,
    response_index,
    frame_cut,
    too_many_slots,
    bad_extra,
    past_the_page,
    sizes_disagree,
    too_short,
    revoked_frame,
    revoked_pages,
    noise,
};
constexpr unsigned attacks_count = 12;

class Domain {
  public:
    using Random = std::mt19937_64;
    using Complain = std::function<void(const std::string&)>;

    // All outlive it. What kind of frontend it is comes from `random`.
    Domain(xen::DomainId id, xen::store::MemoryStore& memory, Random& random, Complain complain);
    ~Domain();
    Domain(const Domain&) = delete;
    Domain& operator=(const Domain&) = delete;

    xen::DomainId id() const { return id_; }
    std::string frontend_directory() const;

    // ---- what the hypervisor knows of it ----

    std::byte* granted(grant_ref_t grant, bool writable);  // nullptr: not there, or not for that
    const std::shared_ptr<Rings>& ring_of(grant_ref_t grant, bool& is_tx) const;
    Rings* rings() { return rings_.get(); }
    void notify(bool of_tx) { (of_tx ? told_tx_ : told_rx_) = true; }
    // Event channels as they are; for who brings back an instant.
    std::array<bool, 2> told() const { return {told_tx_, told_rx_}; }
    void set_told(std::array<bool, 2> told) { told_tx_ = told[0], told_rx_ = told[1]; }
    bool has_event() const { return event_; }
    bool take_event() { return std::exchange(event_, false); }  // what it has told the backend

    // ---- the frontend ----

    // One step of the handshake; settled(): there is none to do.
    void shake_hands();
    bool settled() const { return settled_; }
    void reconnect(bool politely);
    unsigned reconnects() const { return reconnects_; }
    bool connected() const { return alive_ && rings_ != nullptr && settled_; }

    // False: not connected, no room, or it has broken this ring itself.
    bool send(const Octets& frame);
    std::vector<Octets> receive();
    void stall(bool stalled) { stalled_ = stalled; }
    // All copies of a turn failed: what is answered in it may be answered as lost, and a grant that
    // was refused is not seen to be.
    void excuse() {
        excused_turns_ = 2;
        guilty_.reset();
    }
    // Who sleeps waits to be told of the next request.
    void expect_event() { expected_event_ = true; }
    void no_sleeper() { expected_event_ = false; }
    // At rest: all that was asked is answered, but for pages posted, and no grant is lost. (Not of
    // one that stalls: it does not look.)
    void check_balance();

    // ---- a hostile one ----

    void attack(Attack attack);
    void flood() { event_ = true; }
    void die();
    bool alive() const { return alive_; }
    bool hostile() const { return hostile_; }
    // Turns since it did what has to be found out; nullopt: nothing.
    std::optional<unsigned> turns_guilty() const { return guilty_; }
    void count_turn() {
        if (guilty_) *guilty_ += 1;
        if (excused_turns_ != 0 && !stalled_) excused_turns_ -= 1;
    }
    void forget_guilt() { guilty_.reset(); }  // where the evidence may have gone with the process

  private:
    struct PageOf {
        std::unique_ptr<tests::Page> bytes = std::make_unique<tests::Page>();
        bool granted = false;
        bool writable = false;
    };
    struct Asked {
        grant_ref_t grant = 0;  // 0: extra information
        unsigned id = 0;
    };

    unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }
    bool chance(unsigned percent) { return below(100) < percent; }
    void complain(const std::string& what);
    void write(const std::string& key, const std::string& value);
    void write_keys();
    void make_rings();
    void end_all_grants();

    grant_ref_t lend(bool writable);
    void take_back(grant_ref_t grant);
    std::byte* bytes(grant_ref_t grant) { return pages_[grant - 1].bytes->data(); }
    void post_pages();
    void collect_sent();
    void put_tx(netif_tx_request request);
    void put_frame(std::vector<netif_tx_request> requests);
    void tell(xen::netback::Index before);
    template <class Ring>
    unsigned answered(tests::FrontRing<Ring>& ring, std::size_t asked);
    void attack_tx(Attack attack);

    const xen::DomainId id_;
    xen::store::MemoryStore& memory_;
    xen::store::Store store_;
    Random& random_;
    Complain complain_;

    // Manners.
    const bool blank_;        // leaves checksums to us
    const bool split_;        // frames over several pages
    const bool split_event_;  // two event channels
    const bool scatter_;
    const bool multicast_;
    const unsigned headroom_;
    const unsigned posted_max_;

    char state_ = '1';
    bool settled_ = false;
    bool again_ = false;  // connects again when it is closed
    bool alive_ = true;
    bool stalled_ = false;
    bool hostile_ = false;
    bool ring_broken_ = false;
    bool expected_event_ = false;
    bool told_tx_ = false;
    bool told_rx_ = false;
    bool event_ = false;
    std::optional<unsigned> guilty_;

    std::shared_ptr<Rings> rings_;
    grant_ref_t ring_grants_ = 100'000;  // of the tx ring; the rx ring's is the next
    std::vector<PageOf> pages_;
    std::vector<grant_ref_t> free_;
    std::deque<Asked> sent_;
    std::deque<Asked> posted_;
    Octets arriving_;
    unsigned next_id_ = 0;
    unsigned reconnects_ = 0;
    unsigned excused_turns_ = 0;
};

}  // namespace sim
