// Hundreds of worlds, each from one seed. QUORATE_SIM_SEED runs a single one; QUORATE_SIM_SEEDS
// says how many.
#include <cstdlib>

#include "tests/appliance/environment.hh"
#include "tests/sim/world.hh"

namespace {

using sim::Canary;
using sim::Replicas;
using sim::run_world;

std::uint64_t number(const char* name, std::uint64_t otherwise) {
    const char* value = std::getenv(name);
    return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

void expect_well(std::uint64_t seed, const sim::Result& result) {
    EXPECT_TRUE(result.complaints.empty())
        << "seed " << seed << ": " << result.complaints.size()
        << " complaints, first: " << (result.complaints.empty() ? "" : result.complaints.front());
}

TEST(Sim, FaultsThenHealing) {
    std::uint64_t requests = 0;
    std::uint64_t replies = 0;
    std::uint64_t suspects = 0;
    if (const std::uint64_t seed = number("QUORATE_SIM_SEED", 0)) {
        return expect_well(seed, run_world(seed));
    }
    const std::uint64_t seeds = number("QUORATE_SIM_SEEDS", 300);
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        const auto result = run_world(seed);
        expect_well(seed, result);
        if (::testing::Test::HasFailure()) break;
        requests += result.requests;
        replies += result.replies;
        suspects += result.suspects;
    }
    // A world in which nothing is ever answered would be safe too.
    EXPECT_GT(replies, requests / 2);
    // Nor do the checks on accusation mean a thing where nobody is ever accused.
    EXPECT_GT(suspects, 0u);
    std::printf("%llu requests, %llu replies, %llu suspects\n",
                static_cast<unsigned long long>(requests), static_cast<unsigned long long>(replies),
                static_cast<unsigned long long>(suspects));
}

TEST(Sim, DomainsFaultsThenHealing) {
    if (const std::uint64_t seed = number("QUORATE_SIM_SEED", 0)) {
        return expect_well(seed, run_world(seed, Replicas::domains));
    }
    sim::Result sum;
    const std::uint64_t seeds = number("QUORATE_SIM_SEEDS", 150);
    for (std::uint64_t seed = 1; seed <= seeds && !::testing::Test::HasFailure(); ++seed) {
        const auto result = run_world(seed, Replicas::domains);
        expect_well(seed, result);
        sum.requests += result.requests;
        sum.replies += result.replies;
        sum.violations += result.violations;
        sum.kills += result.kills;
        sum.kills_within += result.kills_within;
    }
    EXPECT_GT(sum.replies, sum.requests / 2);
    EXPECT_GT(sum.violations, seeds / 4);
    EXPECT_GT(sum.kills_within, seeds / 4);
    EXPECT_GT(sum.kills, sum.kills_within);
    std::printf("%lu requests, %lu replies, %lu violations, %lu kills, %lu of them within\n",
                sum.requests, sum.replies, sum.violations, sum.kills, sum.kills_within);
}

TEST(Sim, TheSameSeedTwiceIsTheSameWorld) {
    for (const std::uint64_t seed : {3u, 14u, 15u, 92u}) {
        EXPECT_EQ(run_world(seed).trace, run_world(seed).trace) << seed;
    }
    EXPECT_NE(run_world(3).trace, run_world(4).trace);
    for (const std::uint64_t seed : {3u, 14u, 15u, 92u}) {
        EXPECT_EQ(run_world(seed, Replicas::domains).trace,
                  run_world(seed, Replicas::domains).trace)
            << seed;
    }
}

// Appliances that are wrong on purpose. A checker that does not catch them checks nothing.
TEST(Sim, WrongPoliciesAreCaught) {
    for (const Canary canary : {Canary::quorum_of_one, Canary::no_vote, Canary::roster_ignored}) {
        bool caught = false;
        for (std::uint64_t seed = 1; seed <= 100 && !caught; ++seed) {
            for (const std::string& complaint :
                 run_world(seed, Replicas::on_ports, canary).complaints) {
                caught = caught || complaint.find("without a quorum") != std::string::npos;
            }
        }
        EXPECT_TRUE(caught) << "canary " << static_cast<int>(canary);
    }
    bool caught = false;
    for (std::uint64_t seed = 1; seed <= 100 && !caught; ++seed) {
        caught = !run_world(seed, Replicas::domains, Canary::shadow_ignored).complaints.empty();
    }
    EXPECT_TRUE(caught) << "rings adopted without a shadow";
}

}  // namespace
