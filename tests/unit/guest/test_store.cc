// The guest's messages to the hypervisor's store, byte for byte (Xen's public/io/xs_wire.h), and a
// store that answers over a socket, as the device does.
#include <string>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest/agent/store.hh"

namespace agent {
namespace {

using namespace std::string_literals;

TEST(StoreMessage, WriteIsAsTheProtocolSays) {
    EXPECT_EQ(encode(Kind::write, 0x01020304, write_body("data/a", "ok")),
              "\x0b\0\0\0"        // XS_WRITE
              "\x04\x03\x02\x01"  // request
              "\0\0\0\0"          // no transaction
              "\x09\0\0\0"        // bytes that follow
              "data/a\0ok"s);
}

TEST(StoreMessage, ReadEndsItsPath) {
    EXPECT_EQ(encode(Kind::read, 1, path_body("a")), "\x02\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0a\0"s);
}

TEST(StoreMessage, ValueMayBeEmptyOrHoldZeros) {
    EXPECT_EQ(write_body("k", ""), "k\0"s);
    EXPECT_EQ(write_body("k", "a\0b"s), "k\0a\0b"s);
}

TEST(StoreMessage, LongestBody) {
    EXPECT_EQ(encode(Kind::write, 1, std::string(body_bytes_max, 'x')).size(),
              header_bytes + body_bytes_max);
    EXPECT_TRUE(encode(Kind::write, 1, std::string(body_bytes_max + 1, 'x')).empty());
}

TEST(StoreMessage, HeaderIsReadBack) {
    const std::string bytes = encode(Kind::error, 0xFFFFFFFF, "ENOENT\0"s);
    const auto header = decode_header(bytes);
    ASSERT_TRUE(header);
    EXPECT_EQ(header->kind, Kind::error);
    EXPECT_EQ(header->request, 0xFFFFFFFF);
    EXPECT_EQ(header->body_bytes, 7u);
}

TEST(StoreMessage, HeadersThatAreNone) {
    const std::string bytes = encode(Kind::read, 1, "");
    for (std::size_t length = 0; length < header_bytes; ++length) {
        EXPECT_FALSE(decode_header(std::string_view(bytes).substr(0, length)));
    }
    std::string longer = bytes;
    longer[12] = 1;
    longer[13] = 0x10;  // 4097
    EXPECT_FALSE(decode_header(longer));
}

// The other end of a socket is the store's: what it will say lies there before it is asked.
struct Dialogue {
    Dialogue() { EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0); }
    ~Dialogue() { ::close(ends[1]); }
    void say(const std::string& bytes) const {
        ASSERT_EQ(::write(ends[1], bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    }
    int ends[2] = {-1, -1};
};

TEST(Store, WriteIsConfirmed) {
    const Dialogue dialogue;
    dialogue.say(encode(Kind::write, 1, "OK\0"s));
    Store store(dialogue.ends[0]);
    EXPECT_TRUE(store.write("data/quorate/health", "healthy").ok);
    char asked[100];
    const ssize_t got = ::read(dialogue.ends[1], asked, sizeof asked);
    EXPECT_EQ(std::string(asked, static_cast<std::size_t>(got)),
              encode(Kind::write, 1, "data/quorate/health\0healthy"s));
}

TEST(Store, ValueIsReadWhole) {
    const Dialogue dialogue;
    dialogue.say(encode(Kind::read, 1, "a\0"s));
    Store store(dialogue.ends[0]);
    const Reply reply = store.read("x");
    EXPECT_TRUE(reply.ok);
    EXPECT_EQ(reply.text, "a\0"s);
}

TEST(Store, ErrorsAreWords) {
    const Dialogue dialogue;
    dialogue.say(encode(Kind::error, 1, "EACCES\0"s));
    Store store(dialogue.ends[0]);
    const Reply reply = store.write("/local", "x");
    EXPECT_FALSE(reply.ok);
    EXPECT_EQ(reply.text, "EACCES");
}

TEST(Store, EventsAndLateRepliesArePassedOver) {
    const Dialogue dialogue;
    dialogue.say(encode(Kind::watch_event, 0, "path\0token\0"s));
    dialogue.say(encode(Kind::read, 77, "old"));
    dialogue.say(encode(Kind::read, 1, "new"));
    Store store(dialogue.ends[0]);
    EXPECT_EQ(store.read("x").text, "new");
}

TEST(Store, EndsWithAStoreThatTalksOfOtherThings) {
    const Dialogue dialogue;
    std::string events;
    for (int i = 0; i < 300; ++i) events += encode(Kind::watch_event, 0, "p\0t\0"s);
    dialogue.say(events);
    Store store(dialogue.ends[0]);
    EXPECT_FALSE(store.read("x").ok);
}

TEST(Store, EventWhileAskingIsNotLost) {
    const Dialogue dialogue;
    dialogue.say(encode(Kind::watch, 1, "OK\0"s));
    dialogue.say(encode(Kind::watch_event, 0, "p\0watch\0"s));
    dialogue.say(encode(Kind::watch_event, 0, "p\0watch\0"s));
    dialogue.say(encode(Kind::read, 2, "value"));
    Store store(dialogue.ends[0]);
    EXPECT_TRUE(store.watch("p").ok);
    EXPECT_TRUE(store.wait());
    EXPECT_EQ(store.read("p").text, "value");
    EXPECT_TRUE(store.wait());  // the second one, which came before the value
    ::shutdown(dialogue.ends[1], SHUT_WR);
    EXPECT_FALSE(store.wait());
}

TEST(StoreMessage, WatchNamesPathAndToken) {
    const Dialogue dialogue;
    dialogue.say(encode(Kind::watch, 1, "OK\0"s));
    Store store(dialogue.ends[0]);
    EXPECT_TRUE(store.watch("a").ok);
    char asked[100];
    const ssize_t got = ::read(dialogue.ends[1], asked, sizeof asked);
    EXPECT_EQ(std::string(asked, static_cast<std::size_t>(got)),
              encode(Kind::watch, 1, "a\0watch\0"s));
}

TEST(Store, RepliesCutShort) {
    const std::string whole = encode(Kind::read, 1, "value");
    for (std::size_t length = 0; length < whole.size(); ++length) {
        const Dialogue dialogue;
        dialogue.say(whole.substr(0, length));
        ::shutdown(dialogue.ends[1], SHUT_WR);
        Store store(dialogue.ends[0]);
        EXPECT_FALSE(store.read("x").ok) << length;
    }
}

TEST(Store, WithoutADevice) {
    Store store;
    EXPECT_NE(store.open("/nowhere/xenbus"), "");
    EXPECT_FALSE(store.read("x").ok);
}

}  // namespace
}  // namespace agent
