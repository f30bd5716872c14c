// Records from a pipe: whole, in pieces, at the end, and what no writer of ours would send.
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "proxy/runtime/replay_input.hh"

namespace {

using State = proxy::ReplayInput::State;

// An input, and the end of the pipe that its records come from.
struct Pipe {
    Pipe() {
        std::array<int, 2> ends{};
        if (::pipe(ends.data()) != 0) std::abort();
        input_ = std::make_unique<proxy::ReplayInput>(ends[0]);
        writer_ = ends[1];
    }
    ~Pipe() { end_writing(); }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;

    void end_writing() {
        if (writer_ >= 0) ::close(writer_);
        writer_ = -1;
    }
    void write(const std::string& bytes) {
        ASSERT_EQ(::write(writer_, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    }
    static std::string record(std::uint64_t due_ns, std::uint32_t length,
                              const std::string& frame) {
        const proxy::ReplayRecord header{due_ns, length, 0};
        std::string bytes(sizeof header, '\0');
        std::memcpy(bytes.data(), &header, sizeof header);
        return bytes + frame;
    }
    std::string frame() const {
        const auto bytes = input_->frame();
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }

    std::unique_ptr<proxy::ReplayInput> input_;
    int writer_ = -1;
};

class ReplayInput : public testing::Test, protected Pipe {};

TEST_F(ReplayInput, GivesRecordsInOrderAndThenTheEnd) {
    EXPECT_EQ(input_->look(), State::nothing_yet);
    write(record(0, 3, "abc") + record(17, 2, "de"));
    ASSERT_EQ(input_->look(), State::record);
    ASSERT_EQ(input_->look(), State::record) << "looking again takes nothing";
    EXPECT_EQ(frame(), "abc");
    input_->pop();
    ASSERT_EQ(input_->look(), State::record);
    EXPECT_EQ(input_->record().due_ns, 17u);
    EXPECT_EQ(frame(), "de");
    input_->pop();
    EXPECT_EQ(input_->look(), State::nothing_yet);
    end_writing();
    EXPECT_EQ(input_->look(), State::end);
}

TEST_F(ReplayInput, PutsPiecesTogether) {
    const std::string whole = record(5, 4, "wxyz");
    for (std::size_t i = 0; i + 1 < whole.size(); ++i) {
        write(whole.substr(i, 1));
        ASSERT_EQ(input_->look(), State::nothing_yet) << i;
    }
    write(whole.substr(whole.size() - 1));
    ASSERT_EQ(input_->look(), State::record);
    EXPECT_EQ(frame(), "wxyz");
}

TEST_F(ReplayInput, CarriesMoreThanItsBufferHolds) {
    const std::string bytes(1500, 'x');
    unsigned got = 0;
    for (unsigned i = 0; i < 1000; ++i) {
        write(record(i, 1500, bytes));
        ASSERT_EQ(input_->look(), State::record);
        ASSERT_EQ(input_->record().due_ns, got++);
        ASSERT_EQ(frame(), bytes);
        input_->pop();
    }
}

TEST_F(ReplayInput, RefusesLengthsThatNoFrameHas) {
    for (const std::uint32_t length :
         {0u, static_cast<unsigned>(proxy::replay_frame_len_max) + 1, ~0u}) {
        Pipe other;
        other.write(record(0, length, "abc"));
        EXPECT_EQ(other.input_->look(), State::broken) << length;
    }
}

TEST_F(ReplayInput, AnEndInTheMiddleIsNoEnd) {
    write(record(0, 3, "ab"));
    end_writing();
    EXPECT_EQ(input_->look(), State::broken);
}

TEST_F(ReplayInput, WhoClosesHasNoMore) {
    write(record(0, 3, "abc"));
    ASSERT_EQ(input_->look(), State::record);
    input_->close();
    EXPECT_EQ(input_->look(), State::end);
}

}  // namespace
