// What people and programs are shown of a status, and that no status can break it.
#include <gtest/gtest.h>

#include "tools/quorate/status_view.hh"

namespace {

using namespace quorate;
using nlohmann::json;

json example() {
    return json::parse(R"({
      "name": "dns", "pid": 4711, "uptime_s": 93784, "epoch": 17, "workers": 2, "mode": "enforce",
      "conservation": {"received": 1234567, "sent": 1234000, "dropped": 500, "held": 67,
                       "balanced": true},
      "groups": [{"name": "dns", "quorum": 2, "f": 1, "state": "log", "mode": "enforce",
        "masking": 0, "halted": false, "requests": 100000, "agreed": 99990, "split": 4,
        "expired": 6, "latency_us": {"p50": 112.4, "p99": 1300, "max": 250000},
        "log": {"records": 1234, "full": false},
        "replicas": [
          {"slot": 0, "name": "nsd", "incarnation": 4, "standing": "admitted", "place": "a",
           "port": "veth:r0a", "replies": 100000, "dissent": 0, "silence": 0, "suspect": false},
          {"slot": 1, "name": "knot", "incarnation": 12, "standing": "admitted", "place": "b",
           "port": "veth:r1b", "replies": 99900, "dissent": 1200, "silence": 0, "suspect": true},
          {"slot": 2, "name": "named", "incarnation": 3, "standing": "suspended", "place": "a",
           "port": "veth:r2a", "replies": 7, "dissent": 0, "silence": 90, "suspect": false,
           "reason": "by hand"}],
        "nondeterministic_kinds": ["query ANY"]}],
      "drops": {"no_ballot": 12, "short_frame": 421, "never": 0}})");
}

TEST(Status, IsAPageForPeople) {
    EXPECT_EQ(text_of(status_page(read_status(example())), false),
              R"(quorate dns   enforce   up 1 d 02 h   pid 4711   epoch 17   2 workers
packets   received 1,234,567   sent 1,234,000   dropped 500   held 67   balanced

group dns   quorum 2 of 3   masks no fault now   mode enforce   state log
  requests 100,000   agreed 99,990   split 4   expired 6   latency p50 112 us   p99 1.30 ms   max 250 ms
  slot  replica  standing   place  port      boot  replies  dissent  silence
     0  nsd      admitted   a      veth:r0a     4  100,000        0        0
     1  knot     admitted   b      veth:r1b    12   99,900    1,200        0  suspect
     2  named    suspended  a      veth:r2a     3        7        0       90  by hand
  log   full no   records 1,234
  answers differ by nature, nobody is blamed: query ANY

drops
  short_frame  421
  no_ballot     12
)");
}

TEST(Status, ColourChangesNothingButColour) {
    const Lines page = status_page(read_status(example()));
    std::string coloured = text_of(page, true);
    EXPECT_NE(coloured.find("\x1b[1;31m"), std::string::npos) << "a suspect is red";
    for (std::size_t at = coloured.find('\x1b'); at != std::string::npos;
         at = coloured.find('\x1b')) {
        coloured.erase(at, coloured.find('m', at) - at + 1);
    }
    EXPECT_EQ(coloured, text_of(page, false));
}

TEST(Status, WhatIsBadIsLoudAndUnhealthy) {
    const auto shown = [](const json& status) {
        return text_of(status_page(read_status(status)), false);
    };
    EXPECT_TRUE(read_status(example()).healthy()) << "a fault that is masked is no alarm";
    json status = example();
    status["groups"][0]["halted"] = true;
    EXPECT_FALSE(read_status(status).healthy());
    EXPECT_NE(shown(status).find("HALTED: answers nothing"), std::string::npos);

    status = example();
    status["groups"][0]["replicas"][1]["standing"] = "lagging";
    EXPECT_FALSE(read_status(status).healthy()) << "one of two that must agree";
    EXPECT_NE(shown(status).find("NO QUORUM"), std::string::npos);

    status["groups"][0]["mode"] = "observe";
    EXPECT_TRUE(read_status(status).healthy()) << "the primary serves alone anyway";
    EXPECT_NE(shown(status).find("the primary answers alone"), std::string::npos);

    status = example();
    status["conservation"]["balanced"] = false;
    EXPECT_FALSE(read_status(status).healthy());
    EXPECT_NE(shown(status).find("NOT BALANCED"), std::string::npos);
}

TEST(Status, WhatIsNewOrRareIsShownWhereItIsNotZero) {
    json status = example();
    status["conservation"]["made"] = 3000;
    status["missed"] = {{"clients", 5000}, {"replicas", 0}};
    status["denied_calls"] = 2;
    status["evidence"] = {{"records", 1206}, {"lost", 2}, {"file", "/e/1.pcapng"}};
    json& group = status["groups"][0];
    group["errors_sent"] = 4000;
    group["rebuilt"] = 0;
    group["latency_us"]["samples"] = 0;
    group["replicas"][2]["connected"] = false;
    group["replicas"][1]["skipped"] = 17;
    group["nondeterministic_kinds"] = {0x10ff};
    const std::string text = text_of(status_page(read_status(status)), false);
    for (const char* piece :
         {"made 3,000", "missed   from clients 5,000   from replicas 0",
          "ALARM: workers tried 2 system calls", "\n  errors sent 4,000\n", "suspect, skipped 17",
          "no port, by hand", "evidence   records 1,206   lost 2   in /e/1.pcapng",
          "nobody is blamed: 0x10ff"}) {
        EXPECT_NE(text.find(piece), std::string::npos) << piece << "\n" << text;
    }
    EXPECT_EQ(text.find("rebuilt"), std::string::npos);
    EXPECT_EQ(text.find("latency"), std::string::npos) << "of nothing there is none";
}

TEST(Status, OthersTextCannotSteerTheTerminal) {
    json status = example();
    status["groups"][0]["replicas"][2]["reason"] = "\x1b[2J\nadmitted";
    status["drops"]["\x1b]0;x\x07"] = 5;
    const std::string text = text_of(status_page(read_status(status)), false);
    EXPECT_EQ(text.find('\x1b'), std::string::npos);
    EXPECT_EQ(text.find('\x07'), std::string::npos);
    EXPECT_NE(text.find("?[2J?admitted"), std::string::npos);
}

// Every node of the example is left out and replaced by every kind of value in turn.
class Mutations {
  public:
    template <class Check>
    void each(const json& whole, Check&& check) {
        visit(whole, json::json_pointer(), [&](const json::json_pointer& at) {
            for (const char* other : {"null", "true", "-1", "1e300", "18446744073709551615",
                                      "\"x\"", "[]", "[[1]]", "{}", "{\"name\":{}}"}) {
                json changed = whole;
                changed[at] = json::parse(other);
                check(changed);
            }
            if (at.empty()) return;
            json changed = whole;
            json& parent = changed[at.parent_pointer()];
            if (parent.is_object()) {
                parent.erase(at.back());
            } else {
                parent.erase(std::stoul(at.back()));
            }
            check(changed);
        });
    }

  private:
    template <class Visit>
    void visit(const json& node, const json::json_pointer& at, Visit&& tell) {
        tell(at);
        if (node.is_object()) {
            for (const auto& [key, value] : node.items()) visit(value, at / key, tell);
        } else if (node.is_array()) {
            for (std::size_t i = 0; i < node.size(); ++i) visit(node[i], at / i, tell);
        }
    }
};

TEST(Status, NoStatusBreaksAnyView) {
    unsigned seen = 0;
    const ProxyStatus right = read_status(example());
    Mutations().each(example(), [&](const json& changed) {
        ++seen;
        const ProxyStatus status = read_status(changed);
        EXPECT_FALSE(text_of(status_page(status), true).empty());
        for (const auto& [before, now] : {std::pair(&right, &status), std::pair(&status, &right)}) {
            EXPECT_FALSE(text_of(top_page(*before, *now, 1.0), true).empty());
            text_of(top_lines(*before, *now, 1.0, "12:00:00"), true);
            EXPECT_FALSE(top_json(*before, *now, 1.0).dump().empty());
        }
    });
    EXPECT_GT(seen, 500u);
    EXPECT_NE(text_of(status_page(read_status(json::object())), false).find("quorate ?"),
              std::string::npos);
}

json after_two_seconds() {
    json status = example();
    json& group = status["groups"][0];
    group["requests"] = 100'000 + 24'690;
    group["agreed"] = 99'990 + 24'690;
    group["replicas"][0]["replies"] = 100'000 + 24'690;
    group["replicas"][1]["dissent"] = 1200 + 7;
    status["conservation"]["received"] = 1234567 + 100;
    status["drops"]["no_ballot"] = 14;
    return status;
}

TEST(Top, ShowsRatesAndKeepsTheTotalsOfTrouble) {
    const std::string page =
        text_of(top_page(read_status(example()), read_status(after_two_seconds()), 2.0), false);
    for (const char* piece : {"received 50/s", "requests 12,345/s", "split 4   expired 6",
                              "1,207 +3.5/s", "no_ballot     14  1.0/s", "4  12,345/s"}) {
        EXPECT_NE(page.find(piece), std::string::npos) << piece << "\n" << page;
    }
}

TEST(Top, IsALineForEachGroupInAPipe) {
    EXPECT_EQ(text_of(top_lines(read_status(example()), read_status(after_two_seconds()), 2.0,
                                "12:00:00"),
                      false),
              "12:00:00  dns   requests 12,345/s   agreed 12,345/s   split 0/s   expired 0/s   "
              "dissent 3.5/s   silence 0/s   p50 112 us   p99 1.30 ms   admitted 2 of 3   "
              "masks no fault now\n");
}

TEST(Top, IsNumbersForPrograms) {
    const auto object = top_json(read_status(example()), read_status(after_two_seconds()), 2.0);
    EXPECT_EQ(object["groups"][0]["requests_per_s"], 12'345.0);
    EXPECT_EQ(object["groups"][0]["replicas"][1]["dissent_per_s"], 3.5);
    EXPECT_EQ(object["groups"][0]["masking"], 0);
    EXPECT_EQ(object["received_per_s"], 50.0);
}

TEST(Top, ARestartOfTheProxyIsNoNegativeRate) {
    const auto object = top_json(read_status(after_two_seconds()), read_status(example()), 2.0);
    EXPECT_TRUE(object["groups"][0]["requests_per_s"].is_null());
    EXPECT_EQ(per_second(Count(5), Count(4), 1.0), std::nullopt);
    EXPECT_EQ(per_second(Count(5), Count(6), 0.0), std::nullopt);
    EXPECT_EQ(per_second(std::nullopt, Count(6), 1.0), std::nullopt);
    EXPECT_EQ(per_second(Count(4), Count(10), 2.0), 3.0);
}

TEST(Top, ReplicasAreFoundByNameNotByPlace) {
    json reordered = after_two_seconds();
    std::swap(reordered["groups"][0]["replicas"][0], reordered["groups"][0]["replicas"][1]);
    const auto object = top_json(read_status(example()), read_status(reordered), 2.0);
    EXPECT_EQ(object["groups"][0]["replicas"][0]["name"], "knot");
    EXPECT_EQ(object["groups"][0]["replicas"][0]["dissent_per_s"], 3.5);
}

TEST(Figures, HaveSeparatorsAndUnits) {
    EXPECT_EQ(grouped(0), "0");
    EXPECT_EQ(grouped(999), "999");
    EXPECT_EQ(grouped(1000), "1,000");
    EXPECT_EQ(grouped(~std::uint64_t{0}), "18,446,744,073,709,551,615");
    EXPECT_EQ(rate_text(0), "0/s");
    EXPECT_EQ(rate_text(0.25), "0.2/s");
    EXPECT_EQ(rate_text(9.96), "10/s");
    EXPECT_EQ(rate_text(1e300), "1,000,000,000,000,000,000/s");
    EXPECT_EQ(latency_text(0.4), "0 us");
    EXPECT_EQ(latency_text(999), "999 us");
    EXPECT_EQ(latency_text(999.6), "1.00 ms");
    EXPECT_EQ(latency_text(12'345), "12.3 ms");
    EXPECT_EQ(latency_text(999'600), "1.00 s");
    EXPECT_EQ(age_text(59), "59 s");
    EXPECT_EQ(age_text(65), "1 min 05 s");
    EXPECT_EQ(age_text(3 * 3600 + 7 * 60), "3 h 07 min");
    EXPECT_EQ(age_text(12 * 86'400 + 4 * 3600), "12 d 04 h");
    EXPECT_EQ(counted(1, "fault"), "1 fault");
    EXPECT_EQ(counted(2, "fault"), "2 faults");
}

TEST(TableText, AlignsByCharacterAndLeavesNoTrailingBlanks) {
    Table table({Table::Align::left, Table::Align::right, Table::Align::left}, "> ");
    table.add({{"\xc3\xa9", Tone::plain}, {"1", Tone::plain}, {"", Tone::plain}});
    table.add({{"abc", Tone::plain}, {"10", Tone::plain}, {"note", Tone::plain}});
    table.add({{"x", Tone::plain}});
    EXPECT_EQ(text_of(table.lines(), false), "> \xc3\xa9     1\n> abc  10  note\n> x\n");
}

}  // namespace
