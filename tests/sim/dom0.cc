#include "tests/sim/dom0.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <unistd.h>

#include "xen/netback/shadow.hh"

namespace sim {

namespace {

using xen::netback::DeviceShadow;
using xen::netback::Violation;

Dom0* current = nullptr;

// The frontend's rings, as long as somebody has them mapped.
class RingPage final : public xen::netback::MappedPage {
  public:
    RingPage(std::shared_ptr<Rings> rings, void* address, unsigned& count)
        : rings_(std::move(rings)), address_(address), count_(count) {
        ++count_;
    }
    ~RingPage() override { --count_; }
    RingPage(const RingPage&) = delete;
    RingPage& operator=(const RingPage&) = delete;
    void* address() const override { return address_; }

  private:
    std::shared_ptr<Rings> rings_;
    void* address_;
    unsigned& count_;
};

// Goes before its domain does.
class Channels final : public xen::netback::EventChannels {
  public:
    Channels(Domain& domain, unsigned& count) : domain_(domain), count_(count) { ++count_; }
    ~Channels() override { --count_; }
    Channels(const Channels&) = delete;
    Channels& operator=(const Channels&) = delete;
    void notify_tx() override { domain_.notify(true); }
    void notify_rx() override { domain_.notify(false); }
    bool take_events() override { return domain_.take_event(); }
    void listen() override {}
    int descriptor() const override { return -1; }

  private:
    Domain& domain_;
    unsigned& count_;
};

std::string backend_of(xen::DomainId id) {
    return "/local/domain/0/backend/quorate/" + std::to_string(id.value) + "/0";
}

}  // namespace

// What outlives the process, of one domain.
struct Dom0::Instant {
    tests::Page tx;
    tests::Page rx;
    std::array<bool, 2> told;
    DeviceShadow shadow;
};

Dom0::Dom0(rte_mempool* packets, unsigned lanes, Domain::Random& random, Domain::Complain complain,
           Adoption adoption)
    : packets_(packets),
      random_(random),
      complain_(std::move(complain)),
      adoption_(adoption),
      directory_(std::filesystem::temp_directory_path() /
                 ("quorate-sim-" + std::to_string(::getpid()))),
      store_(*xen::store::Store::open(memory_.connect())),
      slots_(lanes),
      places_(lanes) {
    std::filesystem::create_directories(directory_);
    lanes_ = *proxy::NetbackLanes::make({&run_copies, this}, packets_);
    current = this;
}

Dom0::~Dom0() {
    current = nullptr;
    lanes_.reset();
    for (Place& place : places_) place.device.reset();
    if (mapped_ != 0 || bound_ != 0) complain_("pages or event channels are lost");
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
}

// ---- the hypervisor ----

Domain* Dom0::by_id(std::uint16_t id) {
    for (Place& place : places_) {
        if (place.domain && place.domain->id().value == id) return place.domain.get();
    }
    return nullptr;
}

int Dom0::run_copies(void* self, xen::netback::CopySegment* segments, std::uint32_t count) {
    auto* dom0 = static_cast<Dom0*>(self);
    if (std::exchange(dom0->failing_, false)) {
        for (Place& place : dom0->places_) {
            if (place.domain) place.domain->excuse();
        }
        return -ENOMEM;
    }
    for (std::uint32_t i = 0; i < count; ++i) dom0->copy(segments[i]);
    return 0;
}

void Dom0::copy(xen::netback::CopySegment& segment) {
    const bool in = (segment.flags & GNTCOPY_source_gref) != 0;
    const auto& foreign = in ? segment.source.foreign : segment.dest.foreign;
    Domain* domain = by_id(foreign.domid);
    std::byte* page = domain == nullptr ? nullptr : domain->granted(foreign.ref, !in);
    if (page == nullptr || foreign.offset + segment.len > xen::netback::page_bytes) {
        segment.status = GNTST_bad_gntref;
        return;
    }
    if (in) {
        std::memcpy(segment.dest.virt, page + foreign.offset, segment.len);
    } else {
        std::memcpy(page + foreign.offset, segment.source.virt, segment.len);
    }
    segment.status = GNTST_okay;
}

tl::expected<std::unique_ptr<xen::netback::MappedPage>, std::string> Dom0::map(xen::DomainId id,
                                                                               grant_ref_t grant) {
    Domain* domain = by_id(id.value);
    if (domain == nullptr) return tl::unexpected<std::string>("no such domain");
    bool is_tx = false;
    const auto& rings = domain->ring_of(grant, is_tx);
    if (!rings) return tl::unexpected<std::string>("no such grant");
    return std::make_unique<RingPage>(rings, is_tx ? rings->tx.page() : rings->rx.page(), mapped_);
}

tl::expected<std::unique_ptr<xen::netback::EventChannels>, std::string> Dom0::bind(xen::DomainId id,
                                                                                   std::uint32_t,
                                                                                   std::uint32_t) {
    Domain* domain = by_id(id.value);
    if (domain == nullptr) return tl::unexpected<std::string>("no such domain");
    return std::make_unique<Channels>(*domain, bound_);
}

// ---- the slow path ----

std::filesystem::path Dom0::shadow_of(unsigned lane) const {
    return directory_ / ("lane" + std::to_string(lane));
}

void Dom0::open_device(unsigned lane) {
    Place& place = places_[lane];
    xen::netback::DeviceSettings settings;
    settings.domain = place.domain->id();
    settings.backend = backend_of(settings.domain);
    settings.frontend = place.domain->frontend_directory();
    settings.shadow_file = shadow_of(lane);
    // Nobody else is there to look at the slots.
    place.device =
        std::move(*xen::netback::Device::open(settings, *this, {&slots_[lane], 1}, [this] {
            if (lanes_) lanes_->exchange();
        }));
    place.to_look_at = true;
}

void Dom0::tear_down(unsigned lane) {
    Place& place = places_[lane];
    if (!place.domain) return;
    place.device->forget();
    place.device.reset();
    lanes_->retire(lane);
    lanes_->exchange();
    if (place.domain->alive()) memory_.release(place.domain->id());
    static_cast<void>(store_.remove(backend_of(place.domain->id())));
    place.domain.reset();
}

void Dom0::build(unsigned lane, std::uint64_t now_us) {
    tear_down(lane);
    Place& place = places_[lane];
    const xen::DomainId id{++last_id_};
    memory_.introduce(id);
    place.domain = std::make_unique<Domain>(id, memory_, random_, complain_);
    const xen::store::Permissions of_dom0{
        xen::domain_0, xen::store::Access::none, {{id, xen::store::Access::read}}};
    const xen::store::Permissions of_guest{
        id, xen::store::Access::none, {{xen::domain_0, xen::store::Access::read}}};
    const std::string frontend = place.domain->frontend_directory();
    const std::vector<xen::store::Node> nodes{{backend_of(id) + "/state", "1", of_dom0},
                                              {frontend, "", of_guest},
                                              {frontend + "/backend", backend_of(id), of_guest},
                                              {frontend + "/state", "1", of_guest}};
    if (!store_.write(nodes)) complain_("xenstore refuses a device");
    lanes_->use(lane, &slots_[lane]);
    open_device(lane);
    for (unsigned i = 0; i < 8 && !place.domain->settled(); ++i) look(place, now_us);
    if (!place.domain->connected()) complain_("a domain does not connect");
}

void Dom0::look(Place& place, std::uint64_t now_us) {
    using namespace std::chrono;
    place.to_look_at = false;
    if (!place.device->look(store_, xen::netback::Clock::time_point(microseconds(now_us)))) {
        complain_("xenstore fails");
    }
    place.domain->shake_hands();
    if (!place.domain->settled() && place.domain->alive()) place.to_look_at = true;
}

void Dom0::look(std::uint64_t now_us) {
    for (Place& place : places_) {
        if (place.device && place.to_look_at) look(place, now_us);
    }
}

Violation Dom0::violation(unsigned lane) const {
    const proxy::LaneCounters& counters = lanes_->counters(lane);
    if (counters.broken.get() != 0) return static_cast<Violation>(counters.broken.get());
    if (counters.refused_grants.get() != 0) return Violation::grant_refused;
    return places_[lane].device ? places_[lane].device->violation() : Violation::none;
}

void Dom0::doze(proxy::Worker& worker) {
    if (worker.listen()) return;
    for (Place& place : places_) {
        if (place.domain) place.domain->expect_event();
    }
}

void Dom0::wake(proxy::Worker& worker) {
    bool any = false;
    for (Place& place : places_) {
        if (!place.domain) continue;
        place.domain->no_sleeper();
        any = any || place.domain->has_event();
    }
    if (any) worker.woke();
}

// ---- death, and a successor ----

void Dom0::kill_within_turn(unsigned pass, std::function<void()> at_death) {
    passes_left_ = pass;
    at_death_ = std::move(at_death);
}

void Dom0::passes(proxy::CrashPoint where) {
    if (where != proxy::CrashPoint::written || passes_left_ == 0 || --passes_left_ != 0) return;
    note_instant();
    at_death_();
}

bool Dom0::has_notified() const {
    return std::any_of(places_.begin(), places_.end(), [](const Place& place) {
        return place.domain && place.domain->told() != std::array<bool, 2>{};
    });
}

void Dom0::kill(bool told) {
    if (!told) {
        for (Place& place : places_) {
            if (place.domain) place.domain->set_told({});
        }
    }
    note_instant();
}

void Dom0::note_instant() {
    killed_ = true;
    for (unsigned lane = 0; lane < places_.size(); ++lane) {
        Place& place = places_[lane];
        if (!place.domain) continue;
        auto instant = std::make_unique<Instant>();
        instant->told = place.domain->told();
        const auto shadow = xen::netback::ShadowFile::open(shadow_of(lane));
        instant->shadow = shadow->device();
        if (Rings* rings = place.domain->rings()) {
            std::memcpy(instant->tx.data(), rings->tx.page(), instant->tx.size());
            std::memcpy(instant->rx.data(), rings->rx.page(), instant->rx.size());
        }
        place.instant = std::move(instant);
    }
}

void Dom0::end_process() {
    lanes_.reset();
    for (unsigned lane = 0; lane < places_.size(); ++lane) {
        Place& place = places_[lane];
        place.device.reset();
        if (!place.instant) continue;
        const auto file = xen::netback::ShadowFile::open(shadow_of(lane));
        DeviceShadow& shadow = file->device();
        shadow = place.instant->shadow;
        place.domain->set_told(place.instant->told);
        if (Rings* rings = place.domain->rings()) {
            std::memcpy(rings->tx.page(), place.instant->tx.data(), place.instant->tx.size());
            std::memcpy(rings->rx.page(), place.instant->rx.data(), place.instant->rx.size());
            if (adoption_ == Adoption::from_rings) {
                shadow.rings[0].tx.kept = rings->tx.shared().rsp_prod;
                shadow.rings[0].rx.kept = rings->rx.shared().rsp_prod;
            }
        }
        // What it told the backend went to the dead.
        static_cast<void>(place.domain->take_event());
        place.domain->no_sleeper();
        place.domain->forget_guilt();  // the evidence, too
        place.instant.reset();
    }
    if (mapped_ != 0 || bound_ != 0) complain_("pages or event channels are lost");
}

void Dom0::start_process(std::uint64_t now_us) {
    killed_ = false;
    lanes_ = *proxy::NetbackLanes::make({&run_copies, this}, packets_);
    for (unsigned lane = 0; lane < places_.size(); ++lane) {
        if (!places_[lane].domain) continue;
        lanes_->use(lane, &slots_[lane]);
        open_device(lane);
        look(places_[lane], now_us);
    }
}

void Dom0::check_balance() {
    for (Place& place : places_) {
        if (place.domain) place.domain->check_balance();
    }
}

}  // namespace sim

namespace proxy {

void crash_point(CrashPoint where) {
    if (sim::current != nullptr) sim::current->passes(where);
}

}  // namespace proxy
