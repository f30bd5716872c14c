// The program itself: what it prints where, and its exit codes.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>

#include "tests/unit/recovery/temporary_directory.hh"
#include "tests/unit/tools/fake_proxy.hh"

namespace {

using test::FakeProxy;

struct Ran {
    int code = -1;
    std::string out;  // stdout
    std::string err;
};

class Quorate : public testing::Test {
  protected:
    // A shell runs it, so that redirections can be tried.
    Ran run(const std::string& arguments) {
        const std::string err = (directory_ / "stderr").string();
        const std::string command = std::string("exec </dev/null 2>") + err + "; " +
                                    std::getenv("QUORATE") + " " + arguments;
        Ran ran;
        FILE* const pipe = ::popen(command.c_str(), "r");
        char buffer[4096];
        while (const std::size_t count = std::fread(buffer, 1, sizeof buffer, pipe)) {
            ran.out.append(buffer, count);
        }
        const int status = ::pclose(pipe);
        ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        std::ifstream in(err);
        ran.err.assign(std::istreambuf_iterator<char>(in), {});
        return ran;
    }

    std::string write_config(const std::string& quorum) {
        const std::string file = (directory_ / "box.toml").string();
        std::ofstream(file)
            << "[appliance]\nname = \"box\"\nstate_dir = \"" << directory_.path().string()
            << "\"\n[client]\nports = [\"veth:qc0\"]\n[[group]]\nname = \"g\"\n"
               "f = 0\nquorum = "
            << quorum
            << "\n[[group.replica]]\nname = \"a\"\nplace_a = \"tap:t\"\n[[service]]\n"
               "name = \"s\"\ngroup = \"g\"\naddresses = [\"192.0.2.1\"]\nport = 7\n"
               "matcher = \"fifo\"\n";
        return file;
    }

    test::TemporaryDirectory directory_;
    std::filesystem::path socket_ = directory_ / "control.sock";
};

TEST_F(Quorate, ExplainsItselfAndComplainsOnStderr) {
    const Ran version = run("--version");
    EXPECT_EQ(version.code, 0);
    EXPECT_TRUE(version.out.starts_with("quorate 0.")) << version.out;
    const Ran help = run("--help");
    EXPECT_EQ(help.code, 0);
    for (const char* piece : {"check", "replay", "status", "top", "Exit codes:"}) {
        EXPECT_NE(help.out.find(piece), std::string::npos) << piece;
    }
    for (const char* arguments :
         {"", "frobnicate", "check", "check a b", "status --no-such", "top --interval 0",
          "status --timeout x", "status --config a --socket b", "replay", "replay a.pcap",
          "replay a.pcap -c x.toml --pps 3 --topspeed", "replay a.pcap -c x.toml --loop -1",
          "replay a.pcap -c nowhere.toml"}) {
        const Ran ran = run(arguments);
        EXPECT_EQ(ran.code, 2) << arguments;
        EXPECT_EQ(ran.out, "") << arguments;
        EXPECT_NE(ran.err, "") << arguments;
    }
    EXPECT_NE(run("stats").err.find("did you mean status?"), std::string::npos);
    EXPECT_EQ(run("--version >/dev/full").code, 1) << "output that is lost is no success";
}

TEST_F(Quorate, ChecksAFile) {
    const std::string file = write_config("1");
    const Ran good = run("check " + file);
    EXPECT_EQ(good.code, 0) << good.err;
    EXPECT_EQ(good.out, file + ": ok: 1 group, 1 replica, 1 service\n");
    EXPECT_EQ(nlohmann::json::parse(run("check --json " + file).out)["replicas"], 1);

    write_config("2");
    const Ran bad = run("check " + file);
    EXPECT_EQ(bad.code, 1);
    EXPECT_EQ(bad.out, "");
    EXPECT_EQ(bad.err, file +
                           ":9: group[0].quorum: is 2 of 1 replica, which can never agree; "
                           "write 1\n");
    const Ran json = run("check --json " + file);
    EXPECT_EQ(json.code, 1);
    const auto object = nlohmann::json::parse(json.out);
    EXPECT_EQ(object["line"], 9);
    EXPECT_EQ(object["key"], "group[0].quorum");
    EXPECT_EQ(run("check " + (directory_ / "none.toml").string()).code, 1);
}

TEST_F(Quorate, FindsTheProxyByItsConfiguration) {
    const std::string file = write_config("1");
    FakeProxy proxy(socket_, [](const std::string&) { return test::status_reply(12'345); });
    const Ran shown = run("status --config " + file);
    EXPECT_EQ(shown.code, 0) << shown.err;
    EXPECT_NE(shown.out.find("requests 12,345"), std::string::npos) << shown.out;
    EXPECT_EQ(shown.out.find('\x1b'), std::string::npos) << "no colour in a pipe";
    const Ran json = run("status --json --socket " + socket_.string());
    EXPECT_EQ(nlohmann::json::parse(json.out)["groups"][0]["requests"], 12'345);
    write_config("9");
    EXPECT_EQ(run("status --config " + file).code, 2) << "a wrong configuration";
}

TEST_F(Quorate, SaysByItsExitCodeHowTheProxyIs) {
    EXPECT_EQ(run("status --socket " + socket_.string()).code, 3);
    EXPECT_EQ(run("top --socket " + socket_.string()).code, 3);
    {
        FakeProxy proxy(socket_, [](const std::string&) {
            return "{\"ok\":true,\"status\":{\"groups\":[{\"halted\":true}]}}\n";
        });
        const Ran halted = run("status --socket " + socket_.string());
        EXPECT_EQ(halted.code, 1);
        EXPECT_NE(halted.out.find("HALTED"), std::string::npos);
    }
    FakeProxy proxy(socket_,
                    [](const std::string&) { return "{\"ok\":false,\"error\":\"no\"}\n"; });
    const Ran refused = run("status --socket " + socket_.string());
    EXPECT_EQ(refused.code, 1);
    EXPECT_EQ(refused.err, "quorate: no\n");
}

TEST_F(Quorate, ReloadsAndTellsWhyNot) {
    std::string asked;
    std::string reply = "{\"ok\":true}\n";
    FakeProxy proxy(socket_, [&](const std::string& request) {
        asked = request;
        return reply;
    });
    const Ran done = run("reload --socket " + socket_.string());
    EXPECT_EQ(done.code, 0) << done.err;
    EXPECT_EQ(done.out, "reloaded\n");
    EXPECT_EQ(asked, "{\"command\":\"reload\"}");
    reply = "{\"ok\":false,\"error\":\"name cannot change\"}\n";
    const Ran refused = run("reload --socket " + socket_.string());
    EXPECT_EQ(refused.code, 1);
    EXPECT_EQ(refused.err, "quorate: name cannot change\n");
}

TEST_F(Quorate, TopCountsRatesLineByLine) {
    std::atomic<unsigned> asked = 0;
    FakeProxy proxy(socket_,
                    [&](const std::string&) { return test::status_reply(1000 * asked++); });
    const Ran lines = run("top --interval 0.1 --count 2 --socket " + socket_.string());
    EXPECT_EQ(lines.code, 0) << lines.err;
    EXPECT_EQ(std::count(lines.out.begin(), lines.out.end(), '\n'), 2) << lines.out;
    EXPECT_NE(lines.out.find("g   requests "), std::string::npos) << lines.out;

    const Ran json = run("top --json --interval 0.1 --count 1 --socket " + socket_.string());
    const auto object = nlohmann::json::parse(json.out);
    const double interval_s = object["interval_s"];
    EXPECT_NEAR(object["groups"][0]["requests_per_s"].get<double>() * interval_s, 1000, 0.01);
    EXPECT_GE(interval_s, 0.1);
}

TEST_F(Quorate, TopWaitsForAProxyThatWentAway) {
    std::atomic<unsigned> asked = 0;
    FakeProxy proxy(socket_, [&](const std::string&) {
        const unsigned n = asked++;
        return n == 1 ? std::string(FakeProxy::hang_up) : test::status_reply(1000 * n);
    });
    const Ran ran = run("top --interval 0.1 --count 2 --socket " + socket_.string());
    EXPECT_EQ(ran.code, 0) << "it is there in the end";
    EXPECT_NE(ran.out.find("hung up"), std::string::npos) << ran.out;
    EXPECT_NE(ran.out.find("requests "), std::string::npos) << ran.out;
}

// A terminal without any abilities still gets a screen; `script` makes one.
TEST_F(Quorate, TopDrawsOnATerminal) {
    if (std::system("command -v script >/dev/null 2>&1") != 0) GTEST_SKIP() << "no script(1)";
    FakeProxy proxy(socket_, [](const std::string&) { return test::status_reply(5); });
    const std::string command = std::string(std::getenv("QUORATE")) +
                                " top --interval 0.1 --count 2 --socket " + socket_.string();
    for (const char* terminal : {"xterm", "dumb"}) {
        const Ran ran = run(std::string("--version >/dev/null; TERM=") + terminal +
                            " timeout 20 script -qec '" + command + "' /dev/null");
        EXPECT_EQ(ran.code, 0) << terminal << ran.out << ran.err;
        EXPECT_NE(ran.out.find("quorate box"), std::string::npos) << terminal << ran.out;
    }
}

}  // namespace
