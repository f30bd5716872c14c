// The parts of the domain host that only compute.
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "recovery/process.hh"
#include "tests/unit/recovery/temporary_directory.hh"
#include "xen/domain/admission.hh"
#include "xen/domain/cpio.hh"
#include "xen/domain/disk.hh"
#include "xen/domain/image.hh"
#include "xen/domain/keeper.hh"
#include "xen/domain/plan.hh"
#include "xen/domain/record.hh"
#include "xen/domain/text.hh"

namespace xen::domain {
namespace {

using ::test::TemporaryDirectory;

std::string content(const std::filesystem::path& file) {
    std::ostringstream text;
    text << std::ifstream(file, std::ios::binary).rdbuf();
    return text.str();
}

TEST(Uuid, IsRandomAndReadBack) {
    const Uuid one = Uuid::random();
    EXPECT_NE(one, Uuid::random());
    EXPECT_EQ(one.text().size(), 36u);
    EXPECT_EQ(one.text()[14], '4');
    EXPECT_EQ(parse_uuid(one.text()), one);
    for (const char* wrong :
         {"", "x", "00000000-0000-0000-0000-00000000000", "00000000-0000-0000-0000-0000000000000",
          "00000000 0000-0000-0000-000000000000", "0000000g-0000-0000-0000-000000000000"}) {
        EXPECT_FALSE(parse_uuid(wrong)) << wrong;
    }
}

TEST(Cpio, IsReadByCpio) {
    TemporaryDirectory directory;
    CpioWriter writer;
    writer.add("/etc/quorate/name", "group dns\n");
    writer.add("/etc/quorate/files/run", "#!/bin/sh\n", CpioWriter::For::running);
    writer.add("/etc/quorate/seed", "secret", CpioWriter::For::root_only);
    writer.add("/empty", "");
    const std::string bytes = writer.finish();
    EXPECT_EQ(bytes.size() % 4, 0u);
    std::ofstream(directory / "a.cpio", std::ios::binary) << bytes;
    const auto unpacked = recovery::run(
        {"sh", "-c", "cd " + directory.path().string() + " && cpio -i --quiet < a.cpio"},
        recovery::milliseconds(10'000));
    ASSERT_TRUE(unpacked) << unpacked.error();
    ASSERT_TRUE(unpacked->succeeded()) << unpacked->output;
    EXPECT_EQ(content(directory / "etc/quorate/name"), "group dns\n");
    EXPECT_EQ(content(directory / "empty"), "");
    const auto mode = std::filesystem::status(directory / "etc/quorate/files/run").permissions();
    EXPECT_EQ(mode, std::filesystem::perms(0755));
    const auto seed = std::filesystem::status(directory / "etc/quorate/seed").permissions();
    EXPECT_EQ(seed, std::filesystem::perms(0400));
}

TEST(Cpio, SuitsXensDomainBuilder) {
    CpioWriter writer;
    writer.add("/a", "1");
    const std::string bytes = writer.finish();
    // Not the size of anything that it would unpack.
    const auto last = static_cast<unsigned char>(bytes.back());
    EXPECT_GE(last, 0x40);
    EXPECT_NE(bytes.substr(6 + 5 * 8, 8), "00000000");  // the first file's time
}

TEST(Cpio, SameFilesMakeSameBytes) {
    const auto make = [] {
        CpioWriter writer;
        writer.add("/a/b", "1");
        writer.add("/a/c", "2");
        return writer.finish();
    };
    EXPECT_EQ(make(), make());
    EXPECT_EQ(make().find("TRAILER!!!"), make().rfind("TRAILER!!!"));
}

TEST(Image, IsVerifiedAndAppendedTo) {
    TemporaryDirectory directory;
    std::ofstream(directory / "ramdisk") << "abc";
    const std::string sha256 =
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";  // FIPS 180-2, B.1
    const auto good = load_verified(directory / "ramdisk", sha256, "0707");
    ASSERT_TRUE(good) << good.error();
    EXPECT_EQ(content(good->path()), std::string("abc\0", 4) + "0707");
    EXPECT_FALSE(std::ofstream(good->path(), std::ios::app) << "x" << std::flush) << "it is sealed";
    EXPECT_EQ(content(load_verified(directory / "ramdisk", sha256)->path()), "abc");

    std::ofstream(directory / "ramdisk") << "abd";
    const auto changed = load_verified(directory / "ramdisk", sha256);
    ASSERT_FALSE(changed);
    EXPECT_NE(changed.error().find("find out who changed it"), std::string::npos);
    EXPECT_FALSE(load_verified(directory / "missing", sha256));
    EXPECT_FALSE(load_verified(directory.path(), sha256));
}

TEST(Disk, IsVerifiedBeforeItIsAttached) {
    TemporaryDirectory directory;
    const auto refused = [&](const std::string& content, const std::string& sha256) {
        std::ofstream(directory / "disk") << content;
        const auto disk = attach_disk(directory / "disk", sha256);
        return disk ? "attached" : disk.error();
    };
    const std::string zeros(512, '\0');
    EXPECT_NE(refused(zeros, "ab").find("find out who changed it"), std::string::npos);
    EXPECT_NE(refused(zeros + "x", "ab").find("not a multiple of 512"), std::string::npos);
    EXPECT_NE(refused("", "ab").find("not a multiple of 512"), std::string::npos);
    EXPECT_FALSE(attach_disk(directory / "missing", "ab"));
    EXPECT_FALSE(attach_disk(directory.path(), "ab"));
}

TEST(Admission, CountsWhatIsPromised) {
    const MachineFacts machine{400'000, 2, 1};
    EXPECT_EQ(refusal({128, 1, {}}, machine, 0), "");
    EXPECT_EQ(refusal({128, 2, {0, 1}}, machine, 0), "");
    EXPECT_EQ(refusal({128, 1, {}}, machine, need_kb(128, 1)), "");
    EXPECT_NE(refusal({128, 1, {}}, machine, 2 * need_kb(128, 1)).find("being built"),
              std::string::npos);
    EXPECT_NE(refusal({128, 1, {}}, machine, 500'000), "");
    EXPECT_NE(refusal({512, 1, {}}, machine, 0).find("Xen has 390 MB left"), std::string::npos)
        << refusal({512, 1, {}}, machine, 0);
    EXPECT_NE(refusal({128, 3, {}}, machine, 0), "");
    EXPECT_NE(refusal({128, 1, {2}}, machine, 0), "");
}

config::Config a_config() {
    config::Config config;
    config.name = "box";
    config::Group& group = config.groups.emplace_back();
    group.name = "dns";
    config::Service& service = config.services.emplace_back();
    service.group = "dns";
    service.addresses = {*wire::IpAddress::parse("192.0.2.53"),
                         *wire::IpAddress::parse("2001:db8::53")};
    return config;
}

const recovery::ReplicaName name{"dns", voter::ReplicaId{2}, voter::Incarnation{7},
                                 recovery::Place::a};

TEST(Plan, HoldsWhatTheGuestNeeds) {
    config::XenImage image;
    image.arguments = {"-v", "two words"};
    image.files = {{"zone", "text"}, {"/etc/motd", "hello"}};
    const auto files = guest_files(a_config(), name, image);
    const auto file = [&](const std::string& path) {
        for (const GuestFile& each : files) {
            if (each.path == path) return each.content;
        }
        return std::string("missing");
    };
    EXPECT_EQ(file("/etc/quorate/network"),
              "mac 02:51:00:00:00:02\naddress 192.0.2.53/32\naddress 2001:db8::53/128\n"
              "gateway 169.254.1.1\ngateway6 fe80::1\n");
    EXPECT_EQ(file("/etc/quorate/name"), "group dns\nslot 2\nincarnation 7\n");
    EXPECT_EQ(file("/etc/quorate/arguments"), "-v\ntwo words\n");
    EXPECT_EQ(file("/etc/quorate/files/zone"), "text");
    EXPECT_EQ(file("/etc/motd"), "hello");
}

TEST(Plan, ASeedIsOfOneBootOnly) {
    const auto one = seed_file();
    const auto other = seed_file();
    ASSERT_TRUE(one && other);
    EXPECT_EQ(one->path, "/etc/quorate/seed");
    EXPECT_EQ(one->content.size(), 32u);
    EXPECT_NE(one->content, other->content);
    EXPECT_TRUE(one->root_only);
    const auto packed = archive({*one});
    ASSERT_TRUE(packed);
    EXPECT_NE(packed->find(one->content), std::string::npos);
}

TEST(Plan, SurvivesItsWayToTheHelper) {
    config::XenImage image;
    image.kernel = "/k";
    image.ramdisk_sha256 = "12";
    image.type = config::DomainType::pvh;
    image.command_line = "quiet \"x\"";
    image.files = {{"a", "b\n"}};
    const Plan plan = plan_of(a_config(), name, image, Uuid::random());
    const auto read = parse_plan(to_text(plan));
    ASSERT_TRUE(read) << read.error();
    EXPECT_EQ(to_text(*read), to_text(plan));
    EXPECT_EQ(read->uuid, plan.uuid);
    EXPECT_EQ(read->type, config::DomainType::pvh);
    EXPECT_EQ(read->domain_name, "quorate-box-dns-2-a-7");
    EXPECT_FALSE(parse_plan("{}"));
    EXPECT_FALSE(parse_plan("nonsense"));
}

TEST(Record, SurvivesItsFile) {
    TemporaryDirectory directory;
    const Paths paths{directory.path()};
    EXPECT_EQ(*read_record(paths.record(name)), std::nullopt);
    Record record;
    record.name = name;
    record.appliance = "box";
    record.uuid = Uuid::random();
    record.memory_mb = 96;
    record.phase = Phase::starting;
    ASSERT_TRUE(write_record(paths.record(name), record));
    EXPECT_EQ((*read_record(paths.record(name)))->domain, std::nullopt);
    EXPECT_TRUE(*change_record(paths.record(name), record.uuid,
                               [](Record& now) { now.domain = DomainId{3}; }));
    const Record read = *read_records(paths)->begin();
    EXPECT_EQ(read.domain, DomainId{3});
    EXPECT_EQ(read.uuid, record.uuid);
    EXPECT_EQ(read.phase, Phase::starting);
    EXPECT_EQ(read.name.place, recovery::Place::a);
    EXPECT_FALSE(*change_record(paths.record(name), Uuid::random(),
                                [](Record& now) { now.domain = DomainId{4}; }));
    ASSERT_TRUE(remove_record(paths.record(name), Uuid::random()));
    EXPECT_EQ(read_records(paths)->size(), 1u) << "somebody else's";
    ASSERT_TRUE(remove_record(paths.record(name), record.uuid));
    EXPECT_TRUE(read_records(paths)->empty());
    std::ofstream(paths.record(name)) << "{}";
    EXPECT_FALSE(read_records(paths));
}

TEST(Keeper, ReadsItsOrder) {
    const KeeperOrder order{"/r", "/l", Uuid::random(), DomainId{5}};
    const auto read = parse_order(to_text(order));
    ASSERT_TRUE(read) << read.error();
    EXPECT_EQ(read->uuid, order.uuid);
    EXPECT_EQ(read->domain, order.domain);
    EXPECT_FALSE(parse_order("{}"));
}

TEST(Text, OfAGuestLeadsNoTerminalAstray) {
    EXPECT_EQ(plain("a\r\n\x1b[0m\tb\x80\xff"), "a\n?[0m\tb??");
    EXPECT_EQ(plain("abc", 2), "ab");
    EXPECT_EQ(last_lines("a\nb\nc\n\n", 2), "b\nc");
    EXPECT_EQ(last_lines("a", 2), "a");
    EXPECT_EQ(last_lines("", 2), "");
}

}  // namespace
}  // namespace xen::domain
