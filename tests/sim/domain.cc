#include "tests/sim/domain.hh"

#include <algorithm>
#include <utility>

#include "xen/netback/device.hh"

namespace sim {

namespace {

using xen::netback::Index;

constexpr unsigned ring_len = xen::netback::ring_entries<xen::netback::TxRing>;
constexpr unsigned page_bytes = xen::netback::page_bytes;

std::string home_of(xen::DomainId id) { return "/local/domain/" + std::to_string(id.value); }

// Where the sum of a plain UDP frame is; 0: it is none, or has no sum.
std::size_t udp_sum_at(const Octets& frame) {
    const auto octet = [&](std::size_t at) { return std::to_integer<unsigned>(frame[at]); };
    if (frame.size() < 62) return 0;
    if (octet(12) == 0x08 && octet(14) == 0x45 && octet(23) == 17 && (octet(20) & 0x3f) == 0) {
        return 14 + 20 + 6;
    }
    return octet(12) == 0x86 && octet(20) == 17 ? 14 + 40 + 6 : 0;
}

}  // namespace

Domain::Domain(xen::DomainId id, xen::store::MemoryStore& memory, Random& random, Complain complain)
    : id_(id),
      memory_(memory),
      store_(*xen::store::Store::open(memory.connect(id))),
      random_(random),
      complain_(std::move(complain)),
      blank_(chance(50)),
      split_(chance(50)),
      split_event_(chance(50)),
      scatter_(chance(70)),
      multicast_(chance(30)),
      headroom_(chance(30) ? 256 : 0),
      posted_max_(chance(20) ? ring_len : 16 + below(100)) {}

Domain::~Domain() = default;

std::string Domain::frontend_directory() const { return home_of(id_) + "/device/vif/0"; }

void Domain::complain(const std::string& what) {
    if (!hostile_ && alive_) complain_("domain " + std::to_string(id_.value) + ": " + what);
}

// ---- the hypervisor's view ----

std::byte* Domain::granted(grant_ref_t grant, bool writable) {
    if (!alive_ || grant == 0 || grant > pages_.size()) return nullptr;
    PageOf& page = pages_[grant - 1];
    return page.granted && page.writable == writable ? page.bytes->data() : nullptr;
}

const std::shared_ptr<Rings>& Domain::ring_of(grant_ref_t grant, bool& is_tx) const {
    static const std::shared_ptr<Rings> none;
    is_tx = grant == ring_grants_;
    return alive_ && (is_tx || grant == ring_grants_ + 1) ? rings_ : none;
}

// ---- grants ----

grant_ref_t Domain::lend(bool writable) {
    if (free_.empty()) {
        pages_.emplace_back();
        free_.push_back(static_cast<grant_ref_t>(pages_.size()));
    }
    const grant_ref_t grant = free_.back();
    free_.pop_back();
    pages_[grant - 1].granted = true;
    pages_[grant - 1].writable = writable;
    return grant;
}

void Domain::take_back(grant_ref_t grant) {
    if (grant == 0) return;
    pages_[grant - 1].granted = false;
    free_.push_back(grant);
}

void Domain::end_all_grants() {
    for (const auto* asked : {&sent_, &posted_}) {
        for (const Asked& one : *asked) take_back(one.grant);
    }
    sent_.clear();
    posted_.clear();
}

// ---- handshake ----

void Domain::write(const std::string& key, const std::string& value) {
    if (!store_.write(frontend_directory() + "/" + key, value)) complain("xenstore refuses " + key);
}

void Domain::write_keys() {
    std::vector<std::pair<std::string, std::string>> keys{
        {"tx-ring-ref", std::to_string(ring_grants_)},
        {"rx-ring-ref", std::to_string(ring_grants_ + 1)},
        {"request-rx-copy", "1"},
        {"feature-rx-notify", "1"},
        {"feature-sg", scatter_ ? "1" : "0"},
        {"xdp-headroom", std::to_string(headroom_)},
        {"request-multicast-control", multicast_ ? "1" : "0"}};
    if (split_event_) {
        keys.emplace_back("event-channel-tx", "1");
        keys.emplace_back("event-channel-rx", "2");
    } else {
        keys.emplace_back("event-channel", "1");
    }
    for (const auto& [key, value] : keys) write(key, value);
}

void Domain::make_rings() {
    end_all_grants();
    rings_ = std::make_shared<Rings>();
    ring_grants_ += 2;
    arriving_.clear();
    told_tx_ = told_rx_ = false;
    ring_broken_ = false;
    post_pages();
}

void Domain::shake_hands() {
    if (settled_ || !alive_) return;
    const auto backend = store_.read(frontend_directory() + "/backend");
    const auto theirs = store_.read(backend.value_or("/none") + "/state");
    if (!theirs) return;
    if (state_ == '1' && *theirs == "2") {
        make_rings();
        write_keys();
        state_ = '4';
    } else if (state_ == '4') {
        settled_ = *theirs == "4" || *theirs == "6";
        return;
    } else if (state_ == '5' && *theirs == "6") {
        state_ = '6';
    } else if (state_ == '6' && *theirs == "6" && again_) {
        state_ = '1';
        again_ = false;
    } else {
        return;
    }
    write("state", std::string(1, state_));
}

void Domain::reconnect(bool politely) {
    if (!connected()) return;
    settled_ = false;
    again_ = true;
    reconnects_ += 1;
    hostile_ = hostile_ || reconnects_ + 1 >= xen::netback::reconnects_at_once_max;
    state_ = politely ? '5' : '6';
    write("state", std::string(1, state_));
}

// ---- frames ----

// How many responses can be looked at, of so many requests that were asked.
template <class Ring>
unsigned Domain::answered(tests::FrontRing<Ring>& ring, std::size_t asked) {
    const Index consumed = ring.prepared() - static_cast<Index>(asked);
    const Index count = ring.shared().rsp_prod - consumed;
    if (count <= asked) return count;
    complain("more responses than requests");
    return 0;
}

void Domain::collect_sent() {
    if (ring_broken_) return;
    told_tx_ = false;
    while (answered(rings_->tx, sent_.size()) != 0) {
        for (const netif_tx_response& response : rings_->tx.responses()) {
            const Asked asked = sent_.front();
            sent_.pop_front();
            if (asked.grant == 0) {
                if (response.status != NETIF_RSP_NULL) complain("extra information is answered");
                continue;
            }
            if (response.id != asked.id) complain("a request to send is answered out of order");
            if (response.status != NETIF_RSP_OKAY && excused_turns_ == 0)
                complain("a frame of it is lost");
            take_back(asked.grant);
        }
    }
}

void Domain::put_tx(netif_tx_request request) {
    request.id = static_cast<std::uint16_t>(next_id_++);
    rings_->tx.put(request);
    sent_.push_back({request.gref, request.id});
}

// Publishes, as ring.h's RING_PUSH_REQUESTS_AND_CHECK_NOTIFY does.
void Domain::tell(Index before) {
    rings_->tx.publish();
    const Index now = rings_->tx.prepared();
    const bool wanted = now - rings_->tx.shared().req_event < now - before;
    event_ = event_ || wanted;
    if (expected_event_ && !wanted) complain("who sleeps does not want to hear of a frame");
    expected_event_ = false;
}

bool Domain::send(const Octets& frame) {
    if (!connected() || ring_broken_ || stalled_ || frame.empty()) return false;
    if (told_tx_) collect_sent();
    const unsigned pieces =
        split_ ? 1 + below(std::min<unsigned>(3, static_cast<unsigned>(frame.size() / 20 + 1))) : 1;
    if (sent_.size() + pieces + 2 > ring_len) return false;
    const Index before = rings_->tx.prepared();
    if (multicast_ && chance(5)) {  // asks for an address
        put_tx(tests::tx_request(lend(false), 0, 14, NETTXF_extra_info));
        rings_->tx.put_extra(tests::multicast_extra(XEN_NETIF_EXTRA_TYPE_MCAST_ADD,
                                                    static_cast<std::uint8_t>(below(8))));
        sent_.push_back({});
    }
    Octets octets = frame;
    unsigned flags = 0;
    if (const std::size_t sum = udp_sum_at(frame); blank_ && sum != 0 && chance(80)) {
        octets[sum] = std::byte{0xde};
        octets[sum + 1] = std::byte{0xad};
        flags = NETTXF_csum_blank | NETTXF_data_validated;
    }
    std::size_t at = 0;
    for (unsigned i = 0; i < pieces; ++i) {
        const std::size_t part = (octets.size() - at) / (pieces - i);
        const bool last = i + 1 == pieces;
        const unsigned offset = below(page_bytes - static_cast<unsigned>(part) + 1);
        const grant_ref_t grant = lend(false);
        std::copy_n(octets.begin() + static_cast<std::ptrdiff_t>(at), part, bytes(grant) + offset);
        put_tx(tests::tx_request(grant, offset,
                                 static_cast<unsigned>(i == 0 ? octets.size() : part),
                                 (i == 0 ? flags : 0) | (last ? 0u : NETTXF_more_data)));
        at += part;
    }
    tell(before);
    return true;
}

void Domain::post_pages() {
    while (posted_.size() < posted_max_) {
        const grant_ref_t grant = lend(true);
        const unsigned id = next_id_++ & 0xffff;
        rings_->rx.put(tests::rx_request(grant, id));
        posted_.push_back({grant, id});
    }
    rings_->rx.publish();
}

std::vector<Octets> Domain::receive() {
    std::vector<Octets> frames;
    if (!connected() || stalled_) return frames;
    if (told_tx_) collect_sent();
    if (!told_rx_) return frames;
    told_rx_ = false;
    while (answered(rings_->rx, posted_.size()) != 0) {
        for (const netif_rx_response& response : rings_->rx.responses()) {
            const Asked asked = posted_.front();
            posted_.pop_front();
            const auto length = static_cast<unsigned>(std::max<int>(response.status, 0));
            const bool sound = response.id == asked.id && length != 0 &&
                               response.offset + length <= page_bytes &&
                               response.offset == (arriving_.empty() ? headroom_ : 0);
            if (sound) {
                const std::byte* from = bytes(asked.grant) + response.offset;
                arriving_.insert(arriving_.end(), from, from + length);
            } else if (excused_turns_ == 0) {
                complain("a page it posted is answered wrongly");
            }
            take_back(asked.grant);
            if ((response.flags & NETRXF_more_data) != 0) continue;
            frames.push_back(std::exchange(arriving_, {}));
        }
    }
    post_pages();
    std::erase_if(frames, [](const Octets& frame) { return frame.empty(); });
    return frames;
}

void Domain::check_balance() {
    if (!connected() || hostile_ || stalled_) return;
    collect_sent();
    if (!sent_.empty()) complain("requests to send are never answered");
    if (answered(rings_->rx, posted_.size()) != 0) complain("it was not told of a frame");
    const auto lent = static_cast<std::size_t>(std::count_if(
        pages_.begin(), pages_.end(), [](const PageOf& page) { return page.granted; }));
    if (lent != posted_.size()) complain("grants are lost");
    if (lent + free_.size() != pages_.size()) complain("pages are lost");
}

// ---- hostile ----

void Domain::die() {
    alive_ = false;
    guilty_.reset();
    memory_.release(id_);
}

void Domain::attack(Attack attack) {
    if (!connected() || ring_broken_) return;
    hostile_ = true;
    switch (attack) {
        case Attack::receive_index:  // seen when there is something for it
            rings_->rx.shared().req_prod += 300 + below(5'000);
            stalled_ = true;
            return;
        case Attack::response_index:  // seen by a successor only
            (chance(50) ? rings_->tx.shared().rsp_prod : rings_->rx.shared().rsp_prod) =
                below(9'999);
            return;
        case Attack::revoked_pages:  // each costs a frame
            for (const Asked& asked : posted_) pages_[asked.grant - 1].granted = chance(50);
            return;
        case Attack::noise: {  // whatever becomes of it
            void* page = chance(50) ? rings_->tx.page() : rings_->rx.page();
            for (unsigned i = 0; i < page_bytes; ++i) {
                if (chance(50)) static_cast<std::byte*>(page)[i] = std::byte(below(256));
            }
            ring_broken_ = stalled_ = true;
            return;
        }
        default:
            collect_sent();
            if (sent_.size() + 24 > ring_len) return;
            attack_tx(attack);
            rings_->tx.publish();
            ring_broken_ = true;
            guilty_ = 0;
    }
}

void Domain::attack_tx(Attack attack) {
    const auto put = [&](unsigned offset, unsigned size, unsigned flags) {
        put_tx(tests::tx_request(lend(false), offset, size, flags));
    };
    switch (attack) {
        case Attack::frame_cut:
            return put(0, 200, NETTXF_more_data);
        case Attack::too_many_slots:
            for (unsigned i = 0; i < 19; ++i)
                put(0, i == 0 ? 1900 : 100, i < 18 ? NETTXF_more_data : 0);
            return;
        case Attack::bad_extra: {
            put(0, 100, NETTXF_extra_info);
            auto extra = tests::segmentation_extra(1000);
            extra.type = static_cast<std::uint8_t>(chance(50) ? 0 : XEN_NETIF_EXTRA_TYPE_MAX);
            rings_->tx.put_extra(extra);
            return sent_.push_back({});
        }
        case Attack::past_the_page:
            return put(page_bytes - below(60), 60, 0);
        case Attack::sizes_disagree:
            put(0, 100, NETTXF_more_data);
            return put(0, 100 + below(100), 0);
        case Attack::too_short:
            return put(0, below(14), 0);
        case Attack::revoked_frame: {
            const grant_ref_t grant = lend(false);
            pages_[grant - 1].granted = false;
            return put_tx(tests::tx_request(grant, 0, 100));
        }
        default:
            for (unsigned i = 0; i < 300; ++i) rings_->tx.put(tests::tx_request(1, 0, 60));
    }
}

}  // namespace sim
