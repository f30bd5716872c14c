#include <map>

#include <gtest/gtest.h>

#include "xen/netback/keys.hh"

namespace xen::netback {
namespace {

using Keys = std::map<std::string, std::string>;

const Keys usual{{"tx-ring-ref", "8"},       {"rx-ring-ref", "9"},
                 {"event-channel-tx", "3"},  {"event-channel-rx", "4"},
                 {"request-rx-copy", "1"},   {"feature-rx-notify", "1"},
                 {"feature-sg", "1"},        {"feature-gso-tcpv4", "1"},
                 {"feature-gso-tcpv6", "1"}, {"feature-ipv6-csum-offload", "1"}};

tl::expected<FrontendKeys, std::string> read(const Keys& keys, unsigned queues = 2) {
    return read_frontend_keys(
        [&](const std::string& key) -> std::optional<std::string> {
            const auto found = keys.find(key);
            if (found == keys.end()) return std::nullopt;
            return found->second;
        },
        queues);
}

Keys with(Keys keys, const std::string& key, const std::string& value) {
    keys[key] = value;
    return keys;
}

Keys without(Keys keys, const std::string& key) {
    keys.erase(key);
    return keys;
}

TEST(FrontendKeys, WhatLinuxWrites) {
    const auto keys = read(usual);
    ASSERT_TRUE(keys) << keys.error();
    ASSERT_EQ(keys->queues.size(), 1u);
    EXPECT_EQ(keys->queues[0], (QueueKeys{8, 9, 3, 4}));
    EXPECT_TRUE(keys->features.scatter_gather);
    EXPECT_TRUE(keys->features.segmentation_v4);
    EXPECT_EQ(keys->features.headroom, 0);
    EXPECT_FALSE(keys->multicast_control);
}

TEST(FrontendKeys, OneEventChannelForBoth) {
    const auto keys = read(with(without(without(usual, "event-channel-tx"), "event-channel-rx"),
                                "event-channel", "7"));
    ASSERT_TRUE(keys) << keys.error();
    EXPECT_EQ(keys->queues[0], (QueueKeys{8, 9, 7, 7}));
}

TEST(FrontendKeys, TwoQueuesHaveDirectories) {
    Keys keys = usual;
    for (const char* key : {"tx-ring-ref", "rx-ring-ref", "event-channel-tx", "event-channel-rx"}) {
        keys["queue-0/" + std::string(key)] = keys[key];
        keys["queue-1/" + std::string(key)] = "1" + keys[key];
        keys.erase(key);
    }
    keys["multi-queue-num-queues"] = "2";
    const auto found = read(keys);
    ASSERT_TRUE(found) << found.error();
    ASSERT_EQ(found->queues.size(), 2u);
    EXPECT_EQ(found->queues[1], (QueueKeys{18, 19, 13, 14}));
    keys.erase("queue-1/rx-ring-ref");
    EXPECT_EQ(read(keys).error(), "queue-1/rx-ring-ref is missing");
}

TEST(FrontendKeys, WhatMakesNoSense) {
    EXPECT_FALSE(read({}));
    EXPECT_FALSE(read(without(usual, "request-rx-copy")));
    EXPECT_FALSE(read(with(usual, "request-rx-copy", "0")));
    EXPECT_FALSE(read(without(usual, "feature-rx-notify")));
    EXPECT_FALSE(read(without(usual, "tx-ring-ref")));
    EXPECT_FALSE(read(without(usual, "event-channel-rx")));
    for (const char* number : {"", "-1", "4294967296", "0x8", "8 ", " 8", "eight", "8\n"}) {
        EXPECT_FALSE(read(with(usual, "tx-ring-ref", number))) << number;
    }
    for (const char* count : {"0", "3", "4294967295", "99999999999"}) {
        EXPECT_FALSE(read(with(usual, "multi-queue-num-queues", count))) << count;
    }
    EXPECT_FALSE(read(with(usual, "xdp-headroom", "2049")));
    EXPECT_FALSE(read(with(usual, "feature-sg", "2")));
}

TEST(FrontendKeys, AGuestsBytesDoNotReachTheTerminal) {
    const auto keys = read(with(usual, "feature-sg", "\x1b[2J" + std::string(4000, 'x')));
    ASSERT_FALSE(keys);
    EXPECT_LT(keys.error().size(), 120u);
    EXPECT_EQ(keys.error().find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace xen::netback
