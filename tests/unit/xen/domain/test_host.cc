// What the host of domains does, on a hypervisor in memory: nothing is left of a start that failed,
// at whatever point; dead remains are found and removed; what is not ours stays.
#include <gtest/gtest.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/unit/recovery/temporary_directory.hh"
#include "tests/unit/xen/domain/fake_machine.hh"
#include "xen/domain/devices.hh"
#include "xen/domain/host.hh"

namespace xen::domain {
namespace {

using recovery::Place;
using recovery::ReplicaName;
using test::FakeMachine;
using voter::Incarnation;
using voter::ReplicaId;

struct HostTest : testing::Test {
    HostTest()
        : machine(std::make_shared<FakeMachine>(memory)),
          store(std::move(*store::Store::open(memory.connect()))),
          host(configured(), machine, memory.connect()) {
        machine->guest = [this](DomainId domain) { say(domain, "healthy"); };
    }

    const config::Config& configured() {
        config.name = "box";
        config.state_dir = directory.path();
        config::Group& group = config.groups.emplace_back();
        group.name = "dns";
        group.replicas.resize(3);
        for (config::Replica& replica : group.replicas) {
            config::XenImage image;
            image.kernel = "/images/vmlinux";
            image.ramdisk = "/images/dns.cpio.gz";
            replica.xen.emplace().images = {image, image};
            replica.xen->images[1].type = config::DomainType::pvh;
            replica.xen->cpus = {1};
            replica.xen->cap_percent = 50;
            replica.xen->health_timeout_ms = 300;
        }
        config::Service& service = config.services.emplace_back();
        service.group = "dns";
        service.addresses = {*wire::IpAddress::parse("192.0.2.53"),
                             *wire::IpAddress::parse("2001:db8::53")};
        return config;
    }

    void say(DomainId domain, const std::string& health) {
        auto guest = store::Store::open(memory.connect(domain));
        ASSERT_TRUE(guest->write("data/quorate/health", health));
    }

    // Nothing but the log and the lock.
    void expect_nothing_left() {
        EXPECT_EQ(machine->count(), 0u);
        for (const auto& file : std::filesystem::directory_iterator(config.state_dir / "domains")) {
            EXPECT_TRUE(file.path().extension() == ".log" || file.path().extension() == ".lock" ||
                        file.path().filename() == "lock")
                << file.path();
        }
        EXPECT_TRUE(devices_of(store, "box")->empty());
    }

    Record record_of(const ReplicaName& wanted) {
        return **read_record(Paths{config.state_dir / "domains"}.record(wanted));
    }

    ::test::TemporaryDirectory directory;
    store::MemoryStore memory;
    config::Config config;
    std::shared_ptr<FakeMachine> machine;
    store::Store store;
    Host host;
    ReplicaName name{"dns", ReplicaId{1}, Incarnation{4}, Place::b};
};

TEST_F(HostTest, StartsPausesAndStops) {
    const auto facts = host.start(name);
    ASSERT_TRUE(facts) << facts.error().what;
    EXPECT_TRUE(facts->running);
    EXPECT_EQ(facts->pid, 1);
    EXPECT_EQ(facts->port, "netback:quorate-box-dns-1-b-4");
    EXPECT_NE(facts->detail.find("healthy since"), std::string::npos) << facts->detail;

    const Plan& plan = machine->plans.at(0);
    EXPECT_EQ(plan.domain_name, "quorate-box-dns-1-b-4");
    EXPECT_EQ(plan.type, config::DomainType::pv) << "4 of 2 variants";
    EXPECT_EQ(machine->limits.at(0).cap_percent, 50u);
    EXPECT_EQ(machine->orders.at(0).domain, DomainId{1});

    const auto again = host.start({"dns", ReplicaId{1}, Incarnation{5}, Place::b});
    ASSERT_FALSE(again);
    EXPECT_NE(again.error().what.find("incarnation 4 is there already"), std::string::npos)
        << again.error().what;

    ASSERT_TRUE(host.pause(name));
    ASSERT_TRUE(host.pause(name));
    EXPECT_TRUE(host.inspect()->at(0).detail.starts_with("paused; healthy"));
    EXPECT_TRUE(host.inspect()->at(0).running);
    ASSERT_TRUE(host.resume(name));
    EXPECT_FALSE(machine->find(DomainId{1})->paused);

    ASSERT_TRUE(host.stop({"dns", ReplicaId{1}, Incarnation{3}, Place::b})) << "not there";
    EXPECT_EQ(machine->count(), 1u);
    ASSERT_TRUE(host.stop(name));
    ASSERT_TRUE(host.stop(name)) << "stopping what is not there";
    expect_nothing_left();
}

TEST_F(HostTest, BootsTakeTurnsWithTheVariants) {
    name.incarnation = Incarnation{5};
    ASSERT_TRUE(host.start(name));
    EXPECT_EQ(machine->plans.at(0).type, config::DomainType::pvh);
}

TEST_F(HostTest, TheDeviceIsThereBeforeTheDomainRuns) {
    machine->guest = [this](DomainId domain) {
        auto guest = store::Store::open(memory.connect(domain));
        const auto backend = guest->read("device/vif/0/backend");
        ASSERT_TRUE(backend) << backend.error().what;
        EXPECT_EQ(*backend, "/local/domain/0/backend/quorate/1/0");
        EXPECT_EQ(*guest->read(*backend + "/uuid"), machine->plans.at(0).uuid.text());
        EXPECT_EQ(*guest->read(*backend + "/state"), "1");
        EXPECT_EQ(*guest->read(*backend + "/incarnation"), "4");
        EXPECT_FALSE(guest->write(*backend + "/uuid", "x"));
        EXPECT_TRUE(guest->write("device/vif/0/state", "3"));
        say(domain, "healthy");
    };
    EXPECT_TRUE(host.start(name));
}

TEST_F(HostTest, ADiskHasNodesOfItsOwnWhileItsDomainIsThere) {
    const std::string backend = "/local/domain/0/backend/vbd/1";
    machine->guest = [&](DomainId domain) {
        auto guest = store::Store::open(memory.connect(domain));
        EXPECT_EQ(*guest->read("device/vbd/51712/backend"), backend + "/51712");
        EXPECT_EQ(*guest->read("device/vbd/51712/virtual-device"), "51712");
        EXPECT_EQ(*guest->read(backend + "/51712/frontend"), "/local/domain/1/device/vbd/51712");
        EXPECT_EQ(*guest->read(backend + "/51712/physical-device"), "7:b");
        EXPECT_EQ(*guest->read(backend + "/51712/mode"), "r");
        EXPECT_FALSE(guest->write(backend + "/51712/mode", "w"));
        say(domain, "healthy");
    };
    machine->disk = makedev(7, 11);
    config.groups[0].replicas[1].xen->images[0].disk = "/images/dns.squashfs";
    ASSERT_TRUE(host.start(name));
    EXPECT_TRUE(store.list(backend));
    ASSERT_TRUE(host.stop(name));
    EXPECT_FALSE(store.list(backend)) << "libxl would not have removed it";
    expect_nothing_left();

    machine->fails = "attach";
    EXPECT_FALSE(host.start(name));
    EXPECT_EQ(machine->plans.size(), 1u) << "nothing is built for a disk that is not right";
    expect_nothing_left();
}

TEST_F(HostTest, ADiskOfAnotherStays) {
    ASSERT_TRUE(host.start(name));
    const std::string theirs = "/local/domain/0/backend/vbd/1/51712/uuid";
    ASSERT_TRUE(store.write(theirs, Uuid::random().text()));
    ASSERT_TRUE(host.stop(name));
    EXPECT_TRUE(store.read(theirs)) << "attached by somebody else";
}

TEST_F(HostTest, AStartThatFailsLeavesNothing) {
    for (const char* call : {"build", "build late", "limit", "keep", "unpause", "facts"}) {
        machine->fails = call;
        const auto facts = host.start(name);
        ASSERT_FALSE(facts) << call;
        EXPECT_NE(facts.error().what.find(call), std::string::npos) << facts.error().what;
        machine->fails.clear();
        expect_nothing_left();
    }
    EXPECT_TRUE(host.start(name));
}

TEST_F(HostTest, AGuestThatIsNotHealthyIsRemoved) {
    machine->guest = [this](DomainId domain) { say(domain, "failed: no \x1b[31mzone"); };
    auto facts = host.start(name);
    ASSERT_FALSE(facts);
    EXPECT_NE(facts.error().what.find("it says failed: no ?[31mzone"), std::string::npos)
        << facts.error().what;
    expect_nothing_left();

    machine->guest = [this](DomainId domain) { say(domain, std::string(4'000, 'x')); };
    facts = host.start(name);
    ASSERT_FALSE(facts);
    EXPECT_NE(facts.error().what.find("not healthy after 300 ms"), std::string::npos);
    expect_nothing_left();

    machine->guest = [this](DomainId domain) { machine->find(domain)->state = State::crashed; };
    facts = host.start(name);
    ASSERT_FALSE(facts);
    EXPECT_NE(facts.error().what.find("it crashed before it was healthy"), std::string::npos);
    expect_nothing_left();
}

TEST_F(HostTest, WhatDoesNotFitIsNotBuilt) {
    machine->machine.free_kb = need_kb(128, 1) - 1;
    const auto facts = host.start(name);
    ASSERT_FALSE(facts);
    EXPECT_NE(facts.error().what.find("of memory"), std::string::npos) << facts.error().what;
    EXPECT_TRUE(machine->plans.empty());
    machine->machine = {1'000'000, 1, 0};
    EXPECT_NE(host.start(name).error().what.find("CPU 1"), std::string::npos);
    expect_nothing_left();
}

TEST_F(HostTest, DeathsAreSeenAndCleaned) {
    ASSERT_TRUE(host.start(name));
    EXPECT_EQ(*host.clean(), 0u) << "it lives";
    machine->find(DomainId{1})->state = State::crashed;
    EXPECT_FALSE(host.inspect()->at(0).running);
    EXPECT_TRUE(host.inspect()->at(0).detail.starts_with("crashed"));
    EXPECT_FALSE(host.pause(name));
    EXPECT_EQ(*host.clean(), 1u);
    expect_nothing_left();

    // By somebody else, and the proxy still has some of its memory mapped; then it lets go.
    ASSERT_TRUE(host.start(name));
    machine->find(DomainId{2})->state = State::dying;
    EXPECT_FALSE(host.inspect()->at(0).running);
    EXPECT_TRUE(host.inspect()->at(0).detail.starts_with("its domain is gone"));
    ASSERT_TRUE(machine->destroy(DomainId{2}, machine->plans.at(1).uuid));
    EXPECT_TRUE(host.inspect()->at(0).detail.starts_with("its domain is gone"));
    EXPECT_EQ(*host.clean(), 1u);
    expect_nothing_left();
}

TEST_F(HostTest, ADomainRestoredBySomebodyElseIsADeath) {
    ASSERT_TRUE(host.start(name));
    const Uuid uuid = machine->plans.at(0).uuid;
    ASSERT_TRUE(machine->destroy(DomainId{1}, uuid));
    machine->add(uuid, "box");
    EXPECT_FALSE(host.inspect()->at(0).running);
    EXPECT_NE(host.inspect()->at(0).detail.find("replaced by domain 2"), std::string::npos);
    EXPECT_EQ(*host.clean(), 1u);
    expect_nothing_left();
}

TEST_F(HostTest, CleansAfterOneWhoWasKilledWhileStarting) {
    ASSERT_TRUE(host.start(name));
    const auto file = Paths{config.state_dir / "domains"}.record(name);
    for (const Phase phase : {Phase::building, Phase::starting}) {
        Record record = record_of(name);
        record.phase = phase;
        record.owner.pid = ::getpid();
        record.owner.start += 1;  // another process that had our number
        ASSERT_TRUE(write_record(file, record));
        EXPECT_FALSE(host.inspect()->at(0).running);
        EXPECT_NE(host.inspect()->at(0).detail.find("was killed"), std::string::npos);
        EXPECT_EQ(*host.clean(), 1u);
        expect_nothing_left();
        ASSERT_TRUE(host.start(name));
    }
}

TEST_F(HostTest, ForeignDomainsAndDevicesStay) {
    const DomainId foreign = machine->add(Uuid::random(), "");
    const DomainId other_box = machine->add(Uuid::random(), "box2");
    ASSERT_TRUE(write_devices(store, other_box, {"box2", Uuid::random(), Incarnation{1}}));
    const Uuid lost = Uuid::random();
    const DomainId stray = machine->add(lost, "box");
    ASSERT_TRUE(write_devices(store, stray, {"box", lost, Incarnation{1}}));
    EXPECT_EQ(*host.clean(), 2u) << "the stray domain and its device";
    EXPECT_NE(machine->find(foreign), nullptr);
    EXPECT_NE(machine->find(other_box), nullptr);
    EXPECT_EQ(machine->find(stray), nullptr);
    EXPECT_EQ(devices_of(store, "box2")->size(), 1u);
    EXPECT_TRUE(devices_of(store, "box")->empty());
}

TEST_F(HostTest, ADeadXenstoredIsAnErrorAndNotAnEnd) {
    memory.set_alive(false);
    auto facts = host.start(name);
    ASSERT_FALSE(facts);
    EXPECT_NE(facts.error().what.find("cannot be reached"), std::string::npos)
        << facts.error().what;
    EXPECT_TRUE(machine->plans.empty());
    EXPECT_TRUE(host.inspect()) << "Xen itself is there";
    memory.set_alive(true);
    EXPECT_TRUE(host.start(name));
}

TEST_F(HostTest, OfAnotherKindItKnowsNothing) {
    config.groups[0].replicas[1].xen.reset();
    EXPECT_NE(host.start(name).error().what.find("no [group.replica.xen]"), std::string::npos);
    EXPECT_TRUE(host.inspect()->empty());
}

}  // namespace
}  // namespace xen::domain
