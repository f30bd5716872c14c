#include <chrono>
#include <fstream>

#include <sys/stat.h>
#include <unistd.h>

#include "recovery/durable_file.hh"
#include "tests/unit/recovery/temporary_directory.hh"

namespace recovery {
namespace {

using std::chrono::milliseconds;

TEST(DurableFile, ReadsWhatWasWritten) {
    test::TemporaryDirectory directory;
    const auto file = directory / "f";
    ASSERT_TRUE(write_durably(file, "one", 0600));
    ASSERT_TRUE(write_durably(file, "two", 0640));
    const auto content = read_file(file, 3);
    ASSERT_TRUE(content) << content.error();
    EXPECT_EQ(**content, "two");
    struct stat status {};
    ASSERT_EQ(::stat(file.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777u, 0640u);
    EXPECT_FALSE(std::filesystem::exists(directory / "f.tmp"));
}

TEST(DurableFile, AbsentIsNoError) {
    test::TemporaryDirectory directory;
    const auto content = read_file(directory / "f", 100);
    ASSERT_TRUE(content);
    EXPECT_FALSE(content->has_value());
}

TEST(DurableFile, ReplacesTheRemainsOfAKilledWriter) {
    test::TemporaryDirectory directory;
    std::ofstream(directory / "f.tmp") << "half of something longer than what follows";
    ASSERT_TRUE(write_durably(directory / "f", "new", 0600));
    EXPECT_EQ(**read_file(directory / "f", 100), "new");
}

TEST(DurableFile, RefusesWhatIsNoPlainSmallFile) {
    test::TemporaryDirectory directory;
    ASSERT_TRUE(write_durably(directory / "f", "four", 0600));
    EXPECT_FALSE(read_file(directory / "f", 3));
    EXPECT_FALSE(read_file(directory.path(), 100));
    ASSERT_EQ(::symlink((directory / "f").c_str(), (directory / "link").c_str()), 0);
    EXPECT_FALSE(read_file(directory / "link", 100));
    ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
    EXPECT_FALSE(read_file(directory / "fifo", 100));
}

TEST(DurableFile, ErrorsNameTheFileAndTheCause) {
    test::TemporaryDirectory directory;
    const auto written = write_durably(directory / "no/f", "x", 0600);
    ASSERT_FALSE(written);
    EXPECT_NE(written.error().find("no/f"), std::string::npos) << written.error();
    EXPECT_NE(written.error().find("No such file"), std::string::npos) << written.error();
}

TEST(FileLock, ExcludesAndIsGivenBack) {
    test::TemporaryDirectory directory;
    {
        const auto first = FileLock::take(directory / "l", milliseconds(0));
        ASSERT_TRUE(first);
        const auto before = std::chrono::steady_clock::now();
        const auto second = FileLock::take(directory / "l", milliseconds(30));
        EXPECT_FALSE(second);
        EXPECT_GE(std::chrono::steady_clock::now() - before, milliseconds(30));
    }
    EXPECT_TRUE(FileLock::take(directory / "l", milliseconds(0)));
}

}  // namespace
}  // namespace recovery
