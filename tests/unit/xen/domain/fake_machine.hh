// A hypervisor of plain values, with a store in memory: what the host does can be looked at, and
// each call made to fail.
#pragma once

#include <algorithm>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "xen/domain/machine.hh"
#include "xen/store/memory.hh"

namespace xen::domain::test {

class FakeMachine final : public Machine {
  public:
    explicit FakeMachine(store::MemoryStore& store) : store_(store) {
        domains_.push_back({domain_0, {}, State::running, false, false, 0, 0, 1});
    }

    // What the guest does once it runs.
    std::function<void(DomainId)> guest;
    std::string fails;  // this call
    MachineFacts machine{1'000'000, 2, 1};
    dev_t disk = 0x0703;  // 7:3
    std::vector<Plan> plans;
    std::vector<KeeperOrder> orders;
    std::vector<Limits> limits;

    Result<MachineFacts> facts() override {
        if (fails == "facts") return failed();
        return machine;
    }
    Result<std::vector<DomainFacts>> domains() override {
        if (fails == "domains") return failed();
        return domains_;
    }
    Result<Disk> attach(const std::filesystem::path&, const std::string&) override {
        if (fails == "attach") return failed();
        return Disk{disk, {}};
    }
    Result<DomainId> build(const Plan& plan) override {
        plans.push_back(plan);
        if (fails == "build") return failed();
        const DomainId id = add(plan.uuid, plan.appliance);
        if (fails == "build late") return failed();
        return id;
    }
    Result<void> destroy(DomainId domain, const Uuid& uuid) override {
        if (fails == "destroy") return failed();
        const auto gone = std::erase_if(domains_, [&](const DomainFacts& each) {
            return each.id == domain && each.uuid == uuid;
        });
        if (gone != 0) store_.release(domain);
        return {};
    }
    Result<void> limit(DomainId, const Limits& given) override {
        if (fails == "limit") return failed();
        limits.push_back(given);
        return {};
    }
    Result<void> pause(DomainId domain) override {
        find(domain)->paused = true;
        return {};
    }
    Result<void> unpause(DomainId domain) override {
        if (fails == "unpause") return failed();
        find(domain)->paused = false;
        if (guest) guest(domain);
        return {};
    }
    Result<void> dump(DomainId, const Uuid&, const std::filesystem::path&, std::uint64_t) override {
        return {};
    }
    Result<void> keep(const KeeperOrder& order) override {
        if (fails == "keep") return failed();
        orders.push_back(order);
        return {};
    }

    DomainFacts* find(DomainId domain) {
        const auto found = std::find_if(domains_.begin(), domains_.end(),
                                        [&](const DomainFacts& each) { return each.id == domain; });
        return found == domains_.end() ? nullptr : &*found;
    }
    std::size_t count() const { return domains_.size() - 1; }  // without Dom0

    DomainId add(const Uuid& uuid, const std::string& appliance) {
        const DomainId id{next_++};
        domains_.push_back({id, uuid, State::running, true, false, 100'000, 0, 1});
        store_.introduce(id);
        if (!appliance.empty()) {
            auto store = store::Store::open(store_.connect());
            static_cast<void>(store->write(
                "/local/domain/" + std::to_string(id.value) + "/quorate/appliance", appliance));
        }
        return id;
    }

  private:
    tl::unexpected<std::string> failed() const { return tl::unexpected("no " + fails); }

    store::MemoryStore& store_;
    std::vector<DomainFacts> domains_;
    std::uint16_t next_ = 1;
};

}  // namespace xen::domain::test
