// Plays the golden cases: see README.md.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/appliance/environment.hh"

namespace {

using namespace appliance_test;

const Endpoint v4{mac("02:cc:00:00:00:01"), address("198.51.100.9"), 4000};
const Endpoint v6{mac("02:cc:00:00:00:02"), address("2001:db8:1::9"), 4001};

std::vector<std::string> words_of(const std::string& line) {
    std::vector<std::string> words;
    std::istringstream stream(line);
    for (std::string word; stream >> word;) words.push_back(word);
    return words;
}
std::string quoted(const std::string& line) {
    const auto first = line.find('"');
    const auto last = line.rfind('"');
    return first == last ? std::string() : line.substr(first + 1, last - first - 1);
}
std::vector<unsigned> slots_of(const std::string& list) {
    std::vector<unsigned> slots;
    for (const char c : list) {
        if (c != ',') slots.push_back(static_cast<unsigned>(c - '0'));
    }
    return slots;
}

class Case {
  public:
    explicit Case(const std::filesystem::path& file) : file_(file.filename().string()) {
        std::ifstream stream(file);
        for (std::string line; std::getline(stream, line);) lines_.push_back(line);
    }

    void play() {
        for (const std::string& line : lines_) {
            number_ += 1;
            // The case's own lines come before the comment.
            const auto words = words_of(line.substr(0, line.find('#')));
            if (words.empty()) continue;
            SCOPED_TRACE(file_ + ":" + std::to_string(number_) + ": " + line);
            const bool printing = std::getenv("QUORATE_GOLDEN_PRINT") != nullptr;
            if (printing && words[0] == ">") continue;
            if (words[0] == "set") {
                set(words);
            } else if (words[0] == ">") {
                expect(words);
            } else {
                check_out();
                if (printing) std::printf("%s\n", line.c_str());
                act(words, line);
            }
            if (::testing::Test::HasFatalFailure()) return;
        }
        check_out();
        EXPECT_TRUE(appliance().finish()) << file_;
    }

  private:
    Appliance& appliance() {
        if (!appliance_) {
            appliance_ = std::make_unique<Appliance>(shape_);
            EXPECT_TRUE(appliance_->step());
        }
        return *appliance_;
    }

    void set(const std::vector<std::string>& words) {
        const std::string& what = words.at(1);
        const std::string& value = words.at(2);
        const auto n = static_cast<unsigned>(std::atoi(value.c_str()));
        if (what == "replicas") {
            shape_.replicas = n;
        } else if (what == "quorum") {
            shape_.rules.quorum = static_cast<std::uint8_t>(n);
        } else if (what == "topology") {
            shape_.topology = config::Topology::inline_;
        } else if (what == "mode") {
            shape_.mode = config::Mode::observe;
        } else if (what == "quorum_lost") {
            shape_.quorum_lost =
                value == "open" ? config::QuorumLost::open : config::QuorumLost::error;
        } else if (what == "refuse") {
            shape_.refuse = {true, true, true};
        } else if (what == "matcher" && value == "dns") {
            shape_.is_dns = true;
            shape_.matcher = voter::Matcher(voter::MatcherKind::dns);
            shape_.comparator = voter::Comparator(voter::ComparatorKind::dns);
            shape_.service_port = 53;
        } else if (what == "matcher") {
            shape_.matcher = voter::Matcher(value == "fifo" ? voter::MatcherKind::fifo
                                                            : voter::MatcherKind::memcached);
        } else {
            FAIL() << "unknown setting";
        }
    }

    // What the words after `udp v4` and the like make of a frame.
    Octets frame_of(const std::vector<std::string>& words, std::size_t at, const Endpoint& from,
                    const Endpoint& to, const std::string& line) {
        const std::string& kind = words.at(at);
        Octets payload = text(quoted(line));
        for (std::size_t i = at; i + 1 < words.size(); ++i) {
            if (words[i] == "hex") payload = from_hex(words[i + 1]);
            if (words[i] == "fill") payload.resize(std::stoul(words[i + 1]), std::byte{'x'});
        }
        if (kind == "udp") return udp_frame(from, to, payload);
        if (kind == "syn") return tcp_syn(from, to);
        if (kind == "ping") return echo_request(from, to, payload);
        if (kind == "who-has") return arp_request(from.mac, from.ip, address(words.at(at + 2)));
        if (kind == "solicit") {
            return neighbour_solicitation(from.mac, from.ip, address(words.at(at + 2)));
        }
        if (kind == "probe") {
            return neighbour_solicitation(from.mac, wire::IpAddress{}, address(words.at(at + 2)));
        }
        if (kind == "arp-probe") {
            return arp_request(from.mac, address("0.0.0.0"), address(words.at(at + 2)));
        }
        if (kind == "unreachable") {
            const Octets about = udp_frame(to, from, payload);
            const bool four = from.ip.is_v4();
            return icmp_error(from, to, four ? 3 : 1, four ? 3 : 4, packet_of(about));
        }
        ADD_FAILURE() << "unknown packet";
        return {};
    }

    void act(const std::vector<std::string>& words, const std::string& line) {
        if (words[0] == "step") {
            ASSERT_TRUE(appliance().step(std::stoul(words.at(1)))) << "the counters do not balance";
            collect();
            return;
        }
        if (words[0] == "count") return count(words.at(1), std::stoul(words.at(2)));
        const bool client = words[0] == "client";
        ASSERT_TRUE(client || words[0] == "replica") << "unknown line";
        const std::size_t at = client ? 1 : 2;
        const Endpoint& end = words.at(at + 1) == "v6" ? v6 : v4;
        Endpoint from = client ? end : appliance().replica(end);
        Endpoint to = client ? appliance().service(end) : appliance().replica_side(end);
        bool inside = false;
        std::size_t pad = 0;
        std::size_t piece = 0;
        bool no_sum = false;
        int vlan = -1;
        for (std::size_t i = at + 2; i < words.size(); ++i) {
            if (words[i] == "to") {
                to.ip = address(words.at(i + 1));
                to.port = 9999;
            }
            if (words[i] == "inside") inside = true;
            if (words[i] == "nosum") no_sum = true;
            if (words[i] == "pad") pad = std::stoul(words.at(i + 1));
            if (words[i] == "frags") piece = std::stoul(words.at(i + 1));
            if (words[i] == "vlan") vlan = std::stoi(words.at(i + 1));
        }
        Octets frame = frame_of(words, at, from, to, line);
        if (no_sum) put16(frame, 14 + 20 + 6, 0);
        frame.resize(frame.size() + pad, std::byte{0x99});
        std::vector<Octets> frames{frame};
        if (piece != 0) frames = fragments(frame, piece, 4711);
        for (Octets& each : frames) {
            if (vlan >= 0) each = tagged(each, static_cast<std::uint16_t>(vlan));
            if (client) {
                ASSERT_TRUE(appliance().from_client(each, inside ? 1 : 0));
            } else {
                for (const unsigned slot : slots_of(words.at(1))) {
                    ASSERT_TRUE(appliance().from_replica(slot, each));
                }
            }
        }
    }

    void collect() {
        for (const Octets& frame : appliance().to_client())
            out_.push_back("client " + describe(frame));
        for (const Octets& frame : appliance().to_client(1))
            out_.push_back("inside " + describe(frame));
        for (unsigned slot = 0; slot < shape_.replicas; ++slot) {
            for (const Octets& frame : appliance().to_replica(slot)) {
                out_.push_back(std::string("replica ").append(std::to_string(slot)) + " " +
                               describe(frame));
            }
        }
    }
    void expect(const std::vector<std::string>& words) {
        const auto one = [&](const std::string& who) {
            std::string line = who;
            for (std::size_t i = words[1] == "replica" ? 3 : 2; i < words.size(); ++i) {
                line += " " + words[i];
            }
            const auto found = std::find(out_.begin(), out_.end(), line);
            if (found == out_.end()) {
                ADD_FAILURE() << "did not leave: " << line << "\nwhat did:\n" << left_over();
            } else {
                out_.erase(found);
            }
        };
        if (words[1] != "replica") return one(words[1]);
        for (const unsigned slot : slots_of(words.at(2))) {
            one(std::string("replica ").append(std::to_string(slot)));
        }
    }
    std::string left_over() const {
        std::string all;
        for (const std::string& line : out_) all += "> " + line + "\n";
        return all;
    }
    void check_out() {
        if (const char* print = std::getenv("QUORATE_GOLDEN_PRINT"); print != nullptr) {
            std::printf("%s", left_over().c_str());
            out_.clear();
        }
        EXPECT_TRUE(out_.empty()) << "left, and nobody expected it:\n" << left_over();
        out_.clear();
    }

    void count(const std::string& name, std::uint64_t expected) {
        proxy::GroupCounters& group = appliance().group();
        const std::map<std::string, std::uint64_t> groups{
            {"agreed", group.agreed.get()},
            {"split", group.split.get()},
            {"expired", group.expired.get()},
            {"opened", group.opened.get()},
            {"errors_sent", group.errors_sent.get()},
            {"retransmissions", group.retransmissions.get()},
            {"passed", appliance().counters().passed.get()},
            {"dissent0", group.replicas[0].dissent.get()},
            {"dissent1", group.replicas[1].dissent.get()},
            {"dissent2", group.replicas[2].dissent.get()},
            {"silence2", group.replicas[2].silence.get()}};
        if (const auto found = groups.find(name); found != groups.end()) {
            EXPECT_EQ(found->second, expected);
            return;
        }
        for (std::size_t i = 0; i < wire::drop_reasons_count; ++i) {
            if (wire::drop_reason_texts[i].name != name) continue;
            EXPECT_EQ(appliance().dropped(static_cast<wire::DropReason>(i)), expected);
            return;
        }
        FAIL() << "unknown counter";
    }

    std::string file_;
    std::vector<std::string> lines_;
    unsigned number_ = 0;
    Shape shape_;
    std::unique_ptr<Appliance> appliance_;
    std::vector<std::string> out_;
};

TEST(Golden, EveryCase) {
    unsigned cases = 0;
    for (const auto& entry : std::filesystem::directory_iterator(QUORATE_GOLDEN_DIR)) {
        if (entry.path().extension() != ".txt") continue;
        cases += 1;
        if (std::getenv("QUORATE_GOLDEN_PRINT") != nullptr) {
            std::printf("== %s\n", entry.path().c_str());
        }
        Case(entry.path()).play();
    }
    EXPECT_GE(cases, 12u);
}

}  // namespace
