// The control client against a proxy that is right, wrong, slow and gone.
#include <chrono>

#include <gtest/gtest.h>

#include "tests/unit/recovery/temporary_directory.hh"
#include "tests/unit/tools/fake_proxy.hh"
#include "tools/quorate/control_client.hh"
#include "tools/quorate/settled_status.hh"

namespace {

using namespace quorate;
using namespace std::chrono_literals;
using test::FakeProxy;

constexpr auto long_enough = 5s;

class Control : public testing::Test {
  protected:
    tl::expected<nlohmann::json, ControlError> ask(
        const std::string& reply, std::chrono::milliseconds timeout = long_enough) {
        FakeProxy proxy(socket_, [&](const std::string&) { return reply; });
        auto client = ControlClient::connect(socket_, timeout);
        if (!client) return tl::unexpected(client.error());
        return client->ask({{"command", "status"}});
    }
    std::string complaint(const std::string& reply) {
        const auto answer = ask(reply);
        EXPECT_FALSE(answer.has_value()) << reply.substr(0, 100);
        if (answer) return "";
        EXPECT_FALSE(answer.error().refused);
        return answer.error().what;
    }
    static bool contains(const std::string& text, const std::string& piece) {
        return text.find(piece) != std::string::npos;
    }

    test::TemporaryDirectory directory_;
    std::filesystem::path socket_ = directory_ / "control.sock";
};

TEST_F(Control, AsksLineByLineOverOneConnection) {
    std::vector<std::string> requests;
    FakeProxy proxy(socket_, [&](const std::string& request) {
        requests.push_back(request);
        return R"({"ok":true,"n":)" + std::to_string(requests.size()) + "}\n";
    });
    auto client = ControlClient::connect(socket_, long_enough);
    ASSERT_TRUE(client.has_value()) << client.error().what;
    EXPECT_EQ((*client->ask({{"command", "reload"}}))["n"], 1);
    EXPECT_EQ((*client->ask({{"command", "suspend"}, {"reason", "two\nlines"}}))["n"], 2);
    EXPECT_EQ(requests[0], R"({"command":"reload"})");
    EXPECT_EQ(requests[1], R"({"command":"suspend","reason":"two\nlines"})");
    ControlClient moved = std::move(*client);
    EXPECT_EQ((*moved.ask({{"command", "reload"}}))["n"], 3);
}

TEST_F(Control, TellsARefusalFromTrouble) {
    const auto answer = ask("{\"ok\":false,\"error\":\"no such group\"}\n");
    ASSERT_FALSE(answer.has_value());
    EXPECT_TRUE(answer.error().refused);
    EXPECT_EQ(answer.error().what, "no such group");
    EXPECT_TRUE(ask("{\"ok\":false}\n").error().refused) << "even without a reason";
    EXPECT_TRUE(ask("{\"ok\":false,\"error\":7}\n").error().refused);
}

TEST_F(Control, WhatIsNoReplyIsSaidToBeNone) {
    for (const char* reply : {"\n", "hello\n", "[]\n", "{}\n", "{\"ok\":1}\n", "{\"ok\":true\n",
                              "\xff\xfe\n", "null\n"}) {
        EXPECT_TRUE(contains(complaint(reply), "no reply")) << reply;
    }
    EXPECT_TRUE(contains(complaint(FakeProxy::hang_up), "hung up"));
    EXPECT_TRUE(contains(complaint(std::string("{\"ok\":true}") + FakeProxy::hang_up), "hung up"))
        << "half a line is none";
    EXPECT_TRUE(contains(complaint(std::string(reply_bytes_max + 100'000, 'x')), "1 MiB"));
}

TEST_F(Control, ALineInPiecesAndALargeOneAreRead) {
    const std::string filler(reply_bytes_max - 1000, ' ');
    EXPECT_TRUE(ask("{\"ok\":true" + filler + "}\n").has_value());
}

TEST_F(Control, WaitsNoLongerThanItSays) {
    const auto begin = std::chrono::steady_clock::now();
    const auto answer = ask("", 50ms);
    const auto spent = std::chrono::steady_clock::now() - begin;
    ASSERT_FALSE(answer.has_value());
    EXPECT_TRUE(contains(answer.error().what, "within 50 ms")) << answer.error().what;
    EXPECT_GE(spent, 50ms);
    EXPECT_LT(spent, 4s);
}

TEST_F(Control, AnUnfinishedLineDoesNotExtendTheDeadline) {
    const auto answer = ask(std::string(1000, ' '), 50ms);
    ASSERT_FALSE(answer.has_value());
    EXPECT_TRUE(contains(answer.error().what, "within 50 ms")) << answer.error().what;
}

TEST_F(Control, SaysWhyItCannotConnect) {
    const auto reason = [](const std::filesystem::path& socket) {
        const auto client = ControlClient::connect(socket, long_enough);
        return client ? std::string() : client.error().what;
    };
    EXPECT_TRUE(contains(reason(socket_), "is quorate-proxy running?"));
    EXPECT_TRUE(contains(reason(socket_), socket_.string()));
    {
        FakeProxy gone(socket_, [](const std::string&) { return ""; });
    }
    EXPECT_TRUE(contains(reason(directory_ / std::string(200, 'x')), "107"));
    EXPECT_TRUE(contains(reason(""), "107"));
}

TEST_F(Control, AStatusTakenInMidTurnIsAskedForAgain) {
    unsigned asked = 0;
    unsigned balanced_after = 3;
    FakeProxy proxy(socket_, [&](const std::string&) {
        const bool balanced = ++asked > balanced_after;
        return std::string(R"({"ok":true,"status":{"conservation":{"balanced":)") +
               (balanced ? "true" : "false") + "}}}\n";
    });
    auto client = ControlClient::connect(socket_, long_enough);
    EXPECT_TRUE((*settled_status(*client))["conservation"]["balanced"].get<bool>());
    EXPECT_EQ(asked, 4u);
    balanced_after = 1'000'000;
    EXPECT_FALSE((*settled_status(*client))["conservation"]["balanced"].get<bool>())
        << "a real loss is told";
    EXPECT_LT(asked, 100u);
}

TEST_F(Control, TheStatusMustBeThere) {
    FakeProxy proxy(socket_, [](const std::string&) { return "{\"ok\":true,\"status\":[]}\n"; });
    auto client = ControlClient::connect(socket_, long_enough);
    const auto status = client->ask_status();
    ASSERT_FALSE(status.has_value());
    EXPECT_TRUE(contains(status.error().what, "without a status"));
}

}  // namespace
