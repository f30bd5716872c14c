#include <fstream>
#include <sstream>

#include <sys/stat.h>

#include "netns/files.hh"
#include "tests/unit/recovery/temporary_directory.hh"

namespace netns {
namespace {

std::string content(const std::filesystem::path& file) {
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    return text.str();
}

unsigned mode(const std::filesystem::path& file) {
    struct stat status {};
    return ::stat(file.c_str(), &status) == 0 ? status.st_mode & 07777u : 0;
}

TEST(Files, DirectoryIsReplacedEverywhere) {
    EXPECT_EQ(with_directory("{dir}", "/a"), "/a");
    EXPECT_EQ(with_directory("x{dir}{dir}/{dirs}{ dir}", "/a"), "x/a/a/{dirs}{ dir}");
    EXPECT_EQ(with_directory("", "/a"), "");
    EXPECT_EQ(with_directory("{dir}", "/{dir}"), "/{dir}");  // not again in what was put in
}

TEST(Files, WritesAndCopies) {
    test::TemporaryDirectory home;
    std::ofstream(home / "source") << "copied {dir}";
    std::ofstream(home / "program") << "#!";
    std::filesystem::permissions(home / "program", std::filesystem::perms(0755));
    config::NetnsReplica replica;
    replica.files = {{"a", "in {dir}"}, {"deep/er/b", ""}};
    replica.copies = {{"deep/c", home / "source"}, {"bin/p", home / "program"}};
    const auto directory = home / "replica";
    const auto done = write_files(replica, directory);
    ASSERT_TRUE(done) << done.error();
    EXPECT_EQ(content(directory / "a"), "in " + directory.string());
    EXPECT_EQ(content(directory / "deep/c"), "copied {dir}");
    EXPECT_EQ(mode(directory), 0700u);
    EXPECT_EQ(mode(directory / "a"), 0600u);
    EXPECT_EQ(mode(directory / "deep/er/b"), 0600u);
    EXPECT_EQ(mode(directory / "deep/c"), 0600u);
    EXPECT_EQ(mode(directory / "bin/p"), 0700u);
}

TEST(Files, ErrorsNameTheFile) {
    test::TemporaryDirectory home;
    config::NetnsReplica replica;
    replica.copies = {{"a", home / "not-there"}};
    const auto done = write_files(replica, home / "replica");
    ASSERT_FALSE(done);
    EXPECT_NE(done.error().find("not-there: No such file"), std::string::npos) << done.error();
    EXPECT_FALSE(write_files({}, home / "replica")) << "somebody else's directory was taken";
    replica.copies.clear();
    replica.user = "no-such-user";
    const auto given = write_files(replica, home / "other");
    ASSERT_FALSE(given);
    EXPECT_EQ(given.error(), "there is no user no-such-user");
}

}  // namespace
}  // namespace netns
