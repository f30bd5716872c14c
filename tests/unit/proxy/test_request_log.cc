// The log as a file: what is put in comes out after any end of the process, and what somebody else
// wrote into it is refused with words.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "proxy/repeat_index.hh"
#include "proxy/request_log.hh"

namespace {

using proxy::RequestLog;

class RequestLogTest : public ::testing::Test {
  protected:
    void SetUp() override {
        char name[] = "/tmp/qlog-XXXXXX";
        directory_ = mkdtemp(name);
        settings_.file = directory_ / "log-counter";
        settings_.bytes = RequestLog::bytes_min;
        settings_.replicas = 3;
        settings_.fingerprint = 17;
        settings_.boot_id = "boot";
        settings_.digest_seed = 99;
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    std::unique_ptr<RequestLog> open() {
        auto log = RequestLog::open(settings_);
        EXPECT_TRUE(log) << log.error();
        return log ? std::move(*log) : nullptr;
    }
    std::string error() {
        const auto log = RequestLog::open(settings_);
        return log ? std::string() : log.error();
    }
    void poke(std::uint64_t offset, std::uint64_t value, unsigned bytes = 8) const {
        std::fstream file(settings_.file, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(offset));
        file.write(reinterpret_cast<const char*>(&value), bytes);
    }

    std::filesystem::path directory_;
    RequestLog::Settings settings_;
};

std::vector<std::byte> frame(std::uint64_t seed, std::size_t size) {
    std::mt19937_64 random(seed);
    std::vector<std::byte> bytes(size);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    return bytes;
}

RequestLog::Request request(std::uint64_t number, const std::vector<std::byte>& bytes) {
    RequestLog::Request made;
    made.key.client = wire::IpAddress::v4(0x0a000001);
    made.key.request = number;
    made.ticks = 1000 + number;
    made.frame = bytes;
    made.l3_offset = 14;
    made.payload_offset = 42;
    made.payload_length = static_cast<std::uint16_t>(bytes.size() - 42);
    return made;
}

bool holds(const RequestLog& log, std::uint64_t order, const std::vector<std::byte>& bytes) {
    const proxy::LogEntry* entry = log.entry(order);
    return entry != nullptr && entry->order == order && entry->key.request == order &&
           entry->ticks == 1000 + order && std::ranges::equal(entry->frame(), bytes) &&
           entry->payload().size() == bytes.size() - 42;
}

std::string text(wire::Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
wire::Bytes bytes_of(const std::string& words) { return std::as_bytes(std::span(words)); }

TEST_F(RequestLogTest, IsAsItWasAfterReopening) {
    {
        auto log = open();
        EXPECT_TRUE(log->empty());
        EXPECT_EQ(log->entry(1), nullptr);
        for (std::uint64_t order = 1; order <= 5; ++order) {
            const auto bytes = frame(order, 60 + order);
            EXPECT_EQ(log->append(request(order, bytes)), order);
        }
        log->agree(2, {7, 8});
        log->keep_reply(2, bytes_of("answer"));
        log->keep_reply(3, bytes_of(std::string(RequestLog::reply_len_max + 1, 'x')));
        log->seat({1}, {42});
        log->marks({1}).intent = 5;
        log->marks({1}).delivered = 4;
        log->halt(true);
    }
    settings_.digest_seed = 1;  // only for new ones
    const auto log = open();
    EXPECT_EQ(log->first_order(), 1u);
    EXPECT_EQ(log->next_order(), 6u);
    for (std::uint64_t order = 1; order <= 5; ++order) {
        EXPECT_TRUE(holds(*log, order, frame(order, 60 + order))) << order;
        EXPECT_EQ(log->entry(order)->agreed, order == 2 ? 1 : 0);
    }
    EXPECT_EQ(log->entry(2)->digest, (voter::Digest{7, 8}));
    EXPECT_EQ(text(log->reply(2)), "answer");
    EXPECT_TRUE(log->reply(3).empty());
    EXPECT_TRUE(log->reply(1).empty());
    EXPECT_EQ(log->marks({1}).incarnation, 42u);
    EXPECT_EQ(log->marks({1}).intent, 5u);
    EXPECT_TRUE(log->halted());
    EXPECT_EQ(log->digest_key().seed, 99u);
    log->append(request(6, frame(6, 100)));
    EXPECT_TRUE(holds(*log, 5, frame(5, 65)));
    EXPECT_TRUE(holds(*log, 6, frame(6, 100)));
    log->seat({1}, {43});
    EXPECT_EQ(log->marks({1}).intent, 0u);
}

// Several times round, with sizes from the shortest to the longest, reopened now and then: what is
// said to be there is there, and nothing that had to go went too early.
TEST_F(RequestLogTest, OverwritesTheOldestWhenFull) {
    std::mt19937_64 random(1);
    auto log = open();
    std::map<std::uint64_t, std::size_t> sizes;
    std::uint64_t in_bytes = 0;
    for (std::uint64_t order = 1; order <= 6000; ++order) {
        const std::size_t size =
            random() % 64 == 0 ? 42 + random() % (proxy::jumbo_len_max - 42) : 50 + random() % 300;
        sizes[order] = size;
        in_bytes += size;
        ASSERT_EQ(log->append(request(order, frame(order, size))), order);
        if (random() % 200 == 0) {
            log.reset();
            log = open();
            ASSERT_NE(log, nullptr);
        }
        ASSERT_EQ(log->next_order(), order + 1);
        const std::uint64_t first = log->first_order();
        ASSERT_TRUE(holds(*log, order, frame(order, size))) << order;
        ASSERT_TRUE(holds(*log, first, frame(first, sizes[first]))) << first << " of " << order;
        ASSERT_EQ(log->entry(first - 1), nullptr);
        if (order % 500 == 0) {
            for (std::uint64_t i = first; i <= order; ++i) {
                ASSERT_TRUE(holds(*log, i, frame(i, sizes[i]))) << i;
            }
        }
    }
    EXPECT_GT(in_bytes, 5 * settings_.bytes);
    EXPECT_GT(log->next_order() - log->first_order(), 200u);
}

TEST_F(RequestLogTest, KeepsNoMoreEntriesThanItsIndexHas) {
    auto log = open();
    const auto bytes = frame(1, 42);
    for (std::uint64_t i = 0; i < 3 * log->entries_max(); ++i) log->append(request(i, bytes));
    EXPECT_LE(log->next_order() - log->first_order(), log->entries_max());
    log.reset();
    EXPECT_EQ(error(), "");
}

TEST_F(RequestLogTest, TellsWhatIsWrong) {
    const auto has = [](const std::string& text, const char* part) {
        return text.find(part) != std::string::npos;
    };
    {
        const auto log = open();
        for (std::uint64_t order = 1; order <= 3; ++order) {
            log->append(request(order, frame(order, 100)));
        }
        EXPECT_TRUE(has(error(), "another process uses")) << error();
    }
    const std::filesystem::path good = directory_ / "good";
    std::filesystem::copy_file(settings_.file, good);
    const auto restored = [&] {
        std::filesystem::copy_file(good, settings_.file,
                                   std::filesystem::copy_options::overwrite_existing);
    };
    EXPECT_EQ(error(), "");

    settings_.boot_id = "later";
    EXPECT_TRUE(has(error(), "before the last start of this machine")) << error();
    EXPECT_TRUE(has(error(), "remove the file")) << error();
    settings_.boot_id = "boot";
    settings_.fingerprint = 18;
    EXPECT_TRUE(has(error(), "another configuration")) << error();
    settings_.fingerprint = 17;
    settings_.bytes *= 2;
    EXPECT_TRUE(has(error(), "log_bytes is")) << error();
    settings_.bytes = 1000;
    EXPECT_TRUE(has(error(), "at least")) << error();
    settings_.bytes = RequestLog::bytes_min;

    poke(0, 0);
    EXPECT_TRUE(has(error(), "is not a request log")) << error();
    restored();
    poke(8, 77, 4);
    EXPECT_TRUE(has(error(), "another version")) << error();
    restored();
    std::filesystem::remove(settings_.file);
    std::filesystem::create_directory(settings_.file);
    EXPECT_TRUE(has(error(), "cannot open the request log")) << error();
    std::filesystem::remove(settings_.file);
    std::filesystem::create_symlink("good", settings_.file);
    EXPECT_TRUE(has(error(), "cannot open the request log")) << error();
    std::filesystem::remove(settings_.file);
    // A log that was being made is made again.
    std::ofstream(settings_.file.string() + ".new") << "half";
    EXPECT_EQ(error(), "");
    EXPECT_FALSE(std::filesystem::exists(settings_.file.string() + ".new"));
}

// Whatever bytes are in the file: an error in words or a log that can be read and written. Under
// ASan a read beyond the mapping would end the test.
TEST_F(RequestLogTest, SurvivesAnyDamage) {
    std::vector<char> good;
    {
        const auto log = open();
        for (std::uint64_t order = 1; order <= 50; ++order) {
            log->append(request(order, frame(order, 60 + order)));
            log->keep_reply(order, bytes_of("answer"));
        }
        good.resize(settings_.bytes);
        std::ifstream(settings_.file, std::ios::binary)
            .read(good.data(), static_cast<std::streamsize>(settings_.bytes));
    }
    std::mt19937_64 random(7);
    unsigned refused = 0;
    for (int round = 0; round < 300; ++round) {
        std::vector<char> bad = good;
        for (int i = 0; i < 3; ++i) {
            // Header, index, ring: where something is.
            const std::uint64_t offset = (random() % 3 == 0 ? 0
                                          : random() % 2    ? 4096
                                                            : 86016) +
                                         random() % 600 / 8 * 8;
            const std::uint64_t value = random() % 2 ? random() : random() % 5000;
            std::memcpy(bad.data() + offset, &value, 1 + random() % 8);
        }
        std::ofstream(settings_.file, std::ios::binary)
            .write(bad.data(), static_cast<std::streamsize>(settings_.bytes));
        const auto log = RequestLog::open(settings_);
        if (!log) {
            ++refused;
            EXPECT_NE(log.error().find("remove the file"), std::string::npos) << log.error();
            continue;
        }
        std::size_t sum = 0;
        for (std::uint64_t order = (*log)->first_order(); order < (*log)->next_order(); ++order) {
            for (const std::byte byte : (*log)->entry(order)->payload()) {
                sum += std::to_integer<std::size_t>(byte);
            }
            sum += (*log)->reply(order).size();
        }
        EXPECT_GT(sum, 0u);
        for (std::uint64_t i = 0; i < 2000; ++i) {
            (*log)->append(request(i, frame(i % 7, 42 + i % 900)));
        }
    }
    EXPECT_GT(refused, 60u);
    EXPECT_LT(refused, 300u);
}

TEST(RepeatIndex, FindsTheLastOnes) {
    proxy::RepeatIndex index;
    std::mt19937_64 random(3);
    std::vector<std::uint32_t> hashes{0};
    const auto any = [](std::uint64_t) { return true; };
    EXPECT_EQ(index.find(5, any), 0u);
    const std::uint64_t last = 3 * proxy::repeats_max;
    for (std::uint64_t order = 1; order <= last; ++order) {
        // Now and then a neighbour of another one.
        hashes.push_back(order % 5 == 0 ? hashes[order - 1] + 1
                                        : static_cast<std::uint32_t>(random()));
        index.insert(hashes[order], order);
    }
    unsigned found = 0;
    for (std::uint64_t order = 1; order <= last; ++order) {
        const bool there =
            index.find(hashes[order], [&](std::uint64_t one) { return one == order; }) == order;
        if (order + proxy::repeats_max <= last) {
            ASSERT_FALSE(there) << order;
        } else {
            found += there;
        }
    }
    EXPECT_EQ(found, proxy::repeats_max);
    // Many of one hash: no more than the bound, and no loss of others.
    for (std::uint64_t order = last + 1; order <= last + 1000; ++order) index.insert(77, order);
    EXPECT_EQ(index.find(77, any), last + 1);
    EXPECT_EQ(index.find(77, [](std::uint64_t) { return false; }), 0u);
    EXPECT_EQ(index.find(hashes[last - 1], [&](std::uint64_t one) { return one == last - 1; }),
              last - 1);
}

}  // namespace
