#include <fstream>
#include <sstream>

#include "recovery/log.hh"
#include "tests/unit/recovery/temporary_directory.hh"

namespace recovery {
namespace {

std::string content(const std::filesystem::path& file) {
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    return text.str();
}

TEST(Log, AppendsToWhatIsThere) {
    test::TemporaryDirectory directory;
    Log(directory / "l").write("one\n");
    Log(directory / "l").write("two\n");
    EXPECT_EQ(content(directory / "l"), "one\ntwo\n");
}

TEST(Log, KeepsTheLastWithinItsBound) {
    test::TemporaryDirectory directory;
    Log log(directory / "l");
    std::string all;
    for (unsigned i = 0; all.size() < 3 * Log::file_bytes_max; ++i) {
        const std::string line = "line " + std::to_string(i) + "\n";
        all += line;
        log.write(line);
    }
    const std::string before = content(directory / "l.1");
    const std::string now = content(directory / "l");
    EXPECT_EQ(before.size(), Log::file_bytes_max);
    EXPECT_LE(now.size(), Log::file_bytes_max);
    EXPECT_TRUE(all.ends_with(before + now));
    EXPECT_FALSE(std::filesystem::exists(directory / "l.1.1"));
}

TEST(Log, OneWriteMayFillSeveralFiles) {
    test::TemporaryDirectory directory;
    Log log(directory / "l");
    log.write(std::string(3 * Log::file_bytes_max - 5, 'x'));
    log.write("tail");
    EXPECT_EQ(content(directory / "l").size(), Log::file_bytes_max - 1);
    EXPECT_TRUE(content(directory / "l").ends_with("xtail"));
}

TEST(Log, SaysTheLastLinesOfTheServiceOnly) {
    test::TemporaryDirectory directory;
    Log log(directory / "l");
    EXPECT_EQ(log.last_lines(3), "");
    log.write("a\nb\n");
    log.note("ours");
    log.write("c\n");
    EXPECT_EQ(log.last_lines(1), "c");
    EXPECT_EQ(log.last_lines(2), "b\nc");
    EXPECT_EQ(log.last_lines(9), "a\nb\nc");
    log.write(std::string(10'000, 'x') + "\nend");
    EXPECT_EQ(log.last_lines(1), "end");
    EXPECT_LE(log.last_lines(2).size(), 2'048u);
    EXPECT_NE(content(directory / "l").find(": ours\n"), std::string::npos);
}

TEST(Log, WhatCannotBeWrittenIsDropped) {
    Log log("/no/such/directory/l");
    log.write("lost\n");
    log.write(std::string(2 * Log::file_bytes_max, 'x'));
    log.write("\nlost too\n");
    EXPECT_EQ(log.last_lines(1), "lost too");
}

}  // namespace
}  // namespace recovery
