#include <csignal>

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "recovery/process.hh"

namespace recovery {
namespace {

// A child that waits for its end.
class Child {
  public:
    Child() : pid_(::fork()) {
        if (pid_ != 0) return;
        ::prctl(PR_SET_NAME, ") S 1 (");  // a name made to mislead
        for (;;) ::pause();
    }
    ~Child() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    pid_t pid() const { return pid_; }

  private:
    pid_t pid_;
};

TEST(Process, IsItselfAndNobodyElse) {
    const auto self = identify(::getpid());
    ASSERT_TRUE(self);
    EXPECT_TRUE(is_alive(*self));
    ProcessIdentity other = *self;
    other.start += 1;
    EXPECT_FALSE(is_alive(other)) << "a later process of the same number";
    EXPECT_FALSE(send_signal(other, SIGKILL));
    EXPECT_TRUE(wait_for_end(other, milliseconds(0)));
    other = *self;
    other.boot = "another";
    EXPECT_FALSE(is_alive(other));
    EXPECT_FALSE(is_alive({}));
    EXPECT_FALSE(identify(0));
    EXPECT_FALSE(identify(-1));
}

TEST(Process, NameCannotMislead) {
    const Child child;
    const auto identity = identify(child.pid());
    ASSERT_TRUE(identity);
    EXPECT_TRUE(is_alive(*identity));
}

TEST(Process, DeadAndNotYetReapedIsGone) {
    const Child child;
    const auto identity = identify(child.pid());
    ASSERT_TRUE(identity);
    EXPECT_FALSE(wait_for_end(*identity, milliseconds(1)));
    EXPECT_TRUE(send_signal(*identity, SIGKILL));
    EXPECT_TRUE(wait_for_end(*identity, milliseconds(5'000)));
    EXPECT_FALSE(is_alive(*identity));
    EXPECT_FALSE(send_signal(*identity, SIGKILL));
}

TEST(Run, GivesOutputAndStatus) {
    const auto good = run({"sh", "-c", "echo out; echo err >&2"}, milliseconds(5'000));
    ASSERT_TRUE(good) << good.error();
    EXPECT_TRUE(good->succeeded());
    EXPECT_EQ(good->output, "out\nerr\n");
    const auto bad = run({"sh", "-c", "exit 7"}, milliseconds(5'000));
    ASSERT_TRUE(bad);
    EXPECT_FALSE(bad->succeeded());
    EXPECT_EQ(describe_end(bad->wait_status), "exited with status 7");
    const auto killed = run({"sh", "-c", "kill -9 $$"}, milliseconds(5'000));
    ASSERT_TRUE(killed);
    EXPECT_EQ(describe_end(killed->wait_status), "was killed by signal 9 (Killed)");
}

TEST(Run, SignalsAreAsByDefault) {
    sigset_t blocked;
    sigset_t before;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGTERM);
    ::sigprocmask(SIG_BLOCK, &blocked, &before);
    const auto done = run({"sh", "-c", "kill -15 $$; echo survived"}, milliseconds(5'000));
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    ASSERT_TRUE(done);
    EXPECT_EQ(done->output, "");
}

TEST(Run, EndsAtTheDeadline) {
    const auto before = std::chrono::steady_clock::now();
    const auto late = run({"tail", "-f", "/dev/null"}, milliseconds(50));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error(), "tail did not end within 50 ms");
    EXPECT_LT(std::chrono::steady_clock::now() - before, milliseconds(5'000));
}

TEST(Run, ReadsItsInputAsAnotherProgram) {
    const std::string input(200'000, 'x');
    const auto done = run({"counting", "-c"}, milliseconds(5'000), {"wc", input});
    ASSERT_TRUE(done) << done.error();
    EXPECT_EQ(done->output, "200000\n");
}

TEST(Run, TheDeadlineIsForAllThatItStarted) {
    // The second would hold the output open, and go on.
    const auto before = std::chrono::steady_clock::now();
    EXPECT_FALSE(run({"sh", "-c", "tail -f /dev/null & wait"}, milliseconds(50)));
    EXPECT_LT(std::chrono::steady_clock::now() - before, milliseconds(5'000));
}

TEST(Run, OutputIsBounded) {
    const auto much = run({"sh", "-c", "seq 100000"}, milliseconds(10'000));
    ASSERT_TRUE(much) << much.error();
    EXPECT_TRUE(much->succeeded());
    EXPECT_EQ(much->output.size(), 64u << 10);
}

TEST(Run, SaysWhatIsMissing) {
    const auto none = run({"no-such-program"}, milliseconds(1'000));
    ASSERT_FALSE(none);
    EXPECT_NE(none.error().find("cannot run no-such-program: No such file"), std::string::npos);
}

}  // namespace
}  // namespace recovery
