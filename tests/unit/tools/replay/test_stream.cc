// Captures to records: every pass, in order, and no longer than anybody reads.
#include <array>
#include <cstring>
#include <memory>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/runtime/replay_record.hh"
#include "tests/unit/tools/replay/fixture.hh"
#include "tools/replay/stream.hh"

namespace {

using namespace packets;

struct Record {
    proxy::ReplayRecord header;
    std::string frame;
};

class ReplayStream : public replay_test::Captured {
  protected:
    void SetUp() override { ASSERT_EQ(::pipe(ends_.data()), 0); }
    void TearDown() override {
        stream_.reset();
        stop_reading();
    }
    void stop_reading() {
        if (ends_[0] >= 0) ::close(ends_[0]);
        ends_[0] = -1;
    }
    void start(const std::filesystem::path& capture, std::uint64_t passes) {
        replay::StreamSettings settings;
        settings.capture = capture;
        settings.passes = passes;
        stream_ = std::make_unique<replay::Stream>(config_, settings, ends_[1]);
    }
    // Up to `bytes` or the end.
    std::string read(std::size_t bytes) {
        std::string out;
        std::array<char, 4096> piece;
        while (out.size() < bytes) {
            const ssize_t got =
                ::read(ends_[0], piece.data(), std::min(piece.size(), bytes - out.size()));
            if (got <= 0) break;
            out.append(piece.data(), static_cast<std::size_t>(got));
        }
        return out;
    }
    std::vector<Record> read_records() {
        const std::string bytes = read(SIZE_MAX);
        std::vector<Record> out;
        for (std::size_t at = 0; at < bytes.size();) {
            Record record;
            if (bytes.size() - at < sizeof record.header) return out;
            std::memcpy(&record.header, bytes.data() + at, sizeof record.header);
            at += sizeof record.header;
            record.frame = bytes.substr(at, record.header.length);
            at += record.frame.size();
            out.push_back(record);
        }
        return out;
    }

    std::array<int, 2> ends_{-1, -1};
    std::unique_ptr<replay::Stream> stream_;
};

Octets request(unsigned number) {
    return udp_frame("10.53.0.2", "10.53.0.53", text("request"), 1'000 + number);
}

TEST_F(ReplayStream, WritesEachPassInOrder) {
    const Octets other = udp_frame("10.53.0.2", "10.53.0.53", text("x"), 1, 123);
    start(write(replay_test::pcap_of({request(0), other, request(1), request(2)}, 100)), 2);
    const auto records = read_records();
    stream_->finish();
    ASSERT_EQ(records.size(), 6u);
    const std::array<std::uint64_t, 6> due{0, 200'000, 300'000, 450'000, 650'000, 750'000};
    for (std::size_t i = 0; i < records.size(); ++i) {
        EXPECT_EQ(records[i].header.due_ns, due[i]) << i;
        wire::Frame frame;
        ASSERT_EQ(wire::parse_frame(std::as_bytes(std::span(records[i].frame)), frame),
                  wire::DropReason::none);
        EXPECT_EQ(frame.source_port, 1'000 + i % 3);
    }
    EXPECT_EQ(stream_->tally().taken_total(), 3u) << "of one pass";
    EXPECT_EQ(stream_->tally().of(replay::Skip::other_port), 1u);
    EXPECT_EQ(stream_->passes_begun(), 2u);
    EXPECT_EQ(stream_->complaint(), "");
}

TEST_F(ReplayStream, EndsWhenNobodyReads) {
    start(write(replay_test::pcap_of({request(0), request(1)})), 0);
    EXPECT_EQ(read(100'000).size(), 100'000u) << "for ever";
    stop_reading();
    stream_->finish();
    EXPECT_GT(stream_->passes_begun(), 100u);
}

TEST_F(ReplayStream, EndsForEverWithoutRequests) {
    start(write(replay_test::pcap_of({filled(60)})), 0);
    EXPECT_EQ(read_records().size(), 0u);
    stream_->finish();
    EXPECT_EQ(stream_->passes_begun(), 1u);
}

TEST_F(ReplayStream, CanBeAbandonedWhileItWaits) {
    // For its reader:
    start(write(replay_test::pcap_of({request(0), request(1)})), 0);
    EXPECT_EQ(read(1'000).size(), 1'000u);
    stream_->abandon();
    // For its capture:
    stop_reading();
    ASSERT_EQ(::pipe(ends_.data()), 0);
    const auto fifo = directory_ / "fifo";
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    const int writer = ::open(fifo.c_str(), O_RDWR);
    const std::string begun = replay_test::pcap_of({request(0)}).substr(0, 60);
    ASSERT_EQ(::write(writer, begun.data(), begun.size()), static_cast<ssize_t>(begun.size()));
    start(fifo, 1);
    stream_->abandon();
    ::close(writer);
    EXPECT_EQ(read_records().size(), 0u);
}

TEST_F(ReplayStream, SaysWhereACaptureBreaksOff) {
    const std::string whole = replay_test::pcap_of({request(0), request(1)});
    start(write(whole.substr(0, whole.size() - 3)), 1);
    EXPECT_EQ(read_records().size(), 1u);
    stream_->finish();
    EXPECT_NE(stream_->complaint().find("record 2"), std::string::npos) << stream_->complaint();
}

}  // namespace
