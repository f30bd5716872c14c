#include "tools/compare.hh"

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <unordered_map>

#include "tools/capture.hh"
#include "voter/dns_matcher.hh"
#include "wire/checksum.hh"
#include "wire/frame.hh"
#include "wire/pcapng.hh"

namespace tools {

namespace {

using voter::Bytes;
using voter::Likeness;
using voter::ReplicaId;
using voter::SlotSet;
using voter::Verdict;
using Buffer = std::vector<std::byte>;

struct Packet {
    Buffer frame;
    std::uint16_t payload_offset = 0;
    std::uint16_t payload_length = 0;
    std::uint64_t number = 0;
    std::uint64_t time_ns = 0;

    Bytes payload() const { return Bytes(frame).subspan(payload_offset, payload_length); }
};

struct Exchange {
    Packet request;
    std::unique_ptr<Packet> reply;
};

// The bytes that tell one request of a client from its next are not what it asks.
void blank_key(const voter::Matcher& matcher, std::span<std::byte> payload) {
    std::size_t offset = 0;
    std::size_t length = 2;  // DNS id, memcached request id
    switch (matcher.kind()) {
        case voter::MatcherKind::dns:
        case voter::MatcherKind::memcached:
            break;
        case voter::MatcherKind::offset_length:
            offset = matcher.offset();
            length = matcher.length();
            break;
        case voter::MatcherKind::fifo:
            return;
    }
    if (offset >= payload.size()) return;
    const auto part = payload.subspan(offset, std::min(length, payload.size() - offset));
    std::fill(part.begin(), part.end(), std::byte{0});
}

Buffer without_key(const voter::Matcher& matcher, Bytes payload) {
    Buffer copy(payload.begin(), payload.end());
    blank_key(matcher, copy);
    return copy;
}

std::string flow_key(const wire::IpAddress& client, std::uint16_t port, std::uint64_t request) {
    std::string key(reinterpret_cast<const char*>(client.octets.data()), client.octets.size());
    key.append(reinterpret_cast<const char*>(&port), sizeof port);
    key.append(reinterpret_cast<const char*>(&request), sizeof request);
    return key;
}

// One capture: requests in order, each with its first reply.
class Reader {
  public:
    Reader(const CompareOptions& options, CaptureSummary& summary)
        : options_(options), summary_(summary) {}

    tl::expected<std::vector<Exchange>, std::string> read(const std::filesystem::path& file) {
        auto reader = CaptureReader::open(file);
        if (!reader) return tl::unexpected(reader.error());
        while (const auto captured = reader->next()) {
            wire::Frame frame;
            if (captured->cut ||
                wire::parse_frame(captured->bytes, frame) != wire::DropReason::none ||
                frame.layer4 != wire::Layer4::udp) {
                continue;
            }
            Packet packet{Buffer(captured->bytes.begin(), captured->bytes.end()),
                          frame.payload_offset, frame.payload_length, captured->number,
                          captured->time_ns};
            if (frame.destination_port == options_.port) {
                take_request(std::move(packet), frame);
            } else if (frame.source_port == options_.port) {
                take_reply(std::move(packet), frame);
            }
            if (exchanges_.size() == exchanges_max) {
                return tl::unexpected(file.string() + ": more than " +
                                      std::to_string(exchanges_max) +
                                      " requests: split the capture (editcap -c)");
            }
        }
        summary_.complaint = reader->complaint();
        return std::move(exchanges_);
    }

  private:
    void take_request(Packet packet, const wire::Frame& frame) {
        const auto key = options_.matcher.request_key(packet.payload());
        if (!key) return;
        const std::string flow = flow_key(frame.ip_source, frame.source_port, key->request);
        for (const std::size_t index : waiting_[flow]) {
            Exchange& earlier = exchanges_[index];
            // A retransmission is the same request, as long as nobody has answered.
            if (!earlier.reply &&
                options_.matcher.repeats(earlier.request.payload(), packet.payload())) {
                return;
            }
        }
        waiting_[flow].push_back(exchanges_.size());
        exchanges_.push_back({std::move(packet), nullptr});
        summary_.requests += 1;
    }

    void take_reply(Packet packet, const wire::Frame& frame) {
        const auto key = options_.matcher.reply_key(packet.payload());
        if (!key || key->unit != 0) return;
        const auto found =
            waiting_.find(flow_key(frame.ip_destination, frame.destination_port, key->request));
        if (found != waiting_.end()) {
            for (const std::size_t index : found->second) {
                Exchange& exchange = exchanges_[index];
                if (exchange.reply ||
                    !options_.matcher.answers(exchange.request.payload(), packet.payload())) {
                    continue;
                }
                exchange.reply = std::make_unique<Packet>(std::move(packet));
                summary_.replies += 1;
                return;
            }
        }
        summary_.strays += 1;
    }

    const CompareOptions& options_;
    CaptureSummary& summary_;
    std::vector<Exchange> exchanges_;
    std::unordered_map<std::string, std::vector<std::size_t>> waiting_;
};

// The same request in each capture that has it; position = capture.
using Row = std::array<const Exchange*, voter::replicas_max>;

std::vector<Row> line_up(const std::vector<std::vector<Exchange>>& captures,
                         const voter::Matcher& matcher) {
    std::vector<Row> rows;
    std::map<std::pair<std::string, std::size_t>, std::size_t>
        row_of;  // (what is asked, occurrence)
    for (std::size_t capture = 0; capture < captures.size(); ++capture) {
        std::map<std::string, std::size_t> occurrences;
        for (const Exchange& exchange : captures[capture]) {
            const Buffer bytes = without_key(matcher, exchange.request.payload());
            std::string asked(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            const std::size_t occurrence = occurrences[asked]++;
            const auto [at, added] =
                row_of.try_emplace({std::move(asked), occurrence}, rows.size());
            if (added) rows.push_back({});
            rows[at->second][capture] = &exchange;
        }
    }
    return rows;
}

std::string describe_request(const voter::Matcher& matcher, Bytes request) {
    if (matcher.kind() == voter::MatcherKind::dns) {
        std::array<char, 64> kind{};
        const std::size_t length = voter::dns::describe_kind(matcher.kind_of(request), kind);
        return "DNS " + std::string(kind.data(), length);
    }
    return std::to_string(request.size()) + " bytes";
}

class Evidence {
  public:
    explicit Evidence(const std::filesystem::path& file) : file_(file) {}

    tl::expected<void, std::string> begin(std::span<const std::filesystem::path> captures) {
        if (file_.empty()) return {};
        out_.open(file_, std::ios::binary | std::ios::trunc);
        builder_.section("quorate compare");
        builder_.interface("clients", 0);
        for (const auto& capture : captures) builder_.interface(capture.filename().string(), 0);
        return flush();
    }
    void put(std::uint32_t interface, const Packet& packet, const std::string& comment) {
        if (file_.empty()) return;
        builder_.packet(interface, packet.time_ns, packet.frame,
                        static_cast<std::uint32_t>(packet.frame.size()), comment);
    }
    tl::expected<void, std::string> flush() {
        if (file_.empty()) return {};
        const auto& bytes = builder_.bytes();
        out_.write(reinterpret_cast<const char*>(bytes.data()),
                   static_cast<std::streamsize>(bytes.size()));
        builder_.clear();
        if (!out_.flush()) return tl::unexpected("cannot write " + file_.string());
        return {};
    }

  private:
    std::filesystem::path file_;
    std::ofstream out_;
    wire::PcapngBuilder builder_;
};

class Judge {
  public:
    Judge(std::span<const std::filesystem::path> files, const CompareOptions& options,
          Comparison& result, Evidence& evidence)
        : files_(files),
          options_(options),
          result_(result),
          evidence_(evidence),
          workspace_(voter::make_workspace()) {
        rules_.quorum =
            options.quorum != 0 ? options.quorum : static_cast<std::uint8_t>(files.size() / 2 + 1);
    }

    void judge(const Row& row) {
        SlotSet asked;
        for (std::uint8_t i = 0; i < files_.size(); ++i) {
            if (row[i] != nullptr) asked.insert(ReplicaId{i});
        }
        voter::Ballot ballot(asked, rules_);
        std::array<Buffer, voter::replicas_max> replies;
        asked.for_each([&](ReplicaId slot) {
            if (!row[slot.value]->reply) return;
            replies[slot.value] = without_key(options_.matcher, row[slot.value]->reply->payload());
            ballot.cast(slot, [&](ReplicaId holder) {
                return options_.comparator.compare(replies[holder.value], replies[slot.value],
                                                   *workspace_);
            });
        });
        ballot.expire();
        result_.requests += 1;
        (ballot.verdict() == Verdict::agreed  ? result_.agreed
         : ballot.verdict() == Verdict::split ? result_.split
                                              : result_.expired) += 1;
        ballot.dissenters().for_each([&](ReplicaId s) { result_.captures[s.value].dissents += 1; });
        ballot.silent().for_each([&](ReplicaId s) { result_.captures[s.value].silences += 1; });
        if (ballot.verdict() == Verdict::agreed && (ballot.dissenters() | ballot.silent()).empty())
            return;
        describe(row, ballot, replies);
    }

  private:
    void describe(const Row& row, const voter::Ballot& ballot,
                  const std::array<Buffer, voter::replicas_max>& replies) {
        const Exchange& first = *row[ballot.asked().lowest().value];
        Difference difference;
        difference.time_ns = first.request.time_ns;
        difference.frame = first.request.number;
        difference.request = describe_request(options_.matcher, first.request.payload());
        difference.verdict = ballot.verdict();
        ballot.silent().for_each([&](ReplicaId slot) { difference.silent.push_back(slot.value); });
        evidence_.put(0, first.request,
                      "request (" + difference.request + "); verdict " + text(ballot.verdict()));
        ballot.voted().for_each([&](ReplicaId slot) {
            const bool dissents = ballot.dissenters().contains(slot);
            std::string comment =
                "reply in " + files_[slot.value].string() + "; verdict " + text(ballot.verdict());
            if (dissents) {
                const Buffer& agreed = replies[ballot.winner().holder.value];
                std::array<char, 256> where{};
                const std::size_t length = options_.comparator.describe_difference(
                    agreed, replies[slot.value], where, *workspace_);
                difference.dissents.push_back({slot.value, row[slot.value]->reply->number,
                                               std::string(where.data(), length)});
                comment += "; DISSENT; first difference: " + difference.dissents.back().where;
            }
            evidence_.put(slot.value + 1u, *row[slot.value]->reply, comment);
        });
        if (result_.differences.size() < options_.differences_max) {
            result_.differences.push_back(std::move(difference));
        } else {
            result_.differences_unlisted += 1;
        }
    }

    static const char* text(Verdict verdict) {
        return verdict == Verdict::agreed  ? "agreed"
               : verdict == Verdict::split ? "split"
                                           : "expired";
    }

    std::span<const std::filesystem::path> files_;
    const CompareOptions& options_;
    Comparison& result_;
    Evidence& evidence_;
    voter::WorkspacePtr workspace_;
    voter::Rules rules_;
};

}  // namespace

tl::expected<Comparison, std::string> compare_captures(std::span<const std::filesystem::path> files,
                                                       const CompareOptions& options) {
    if (files.size() < 2 || files.size() > voter::replicas_max) {
        return tl::unexpected("compare takes 2 to " + std::to_string(voter::replicas_max) +
                              " captures");
    }
    if (options.quorum != 0 &&
        (options.quorum > files.size() || options.quorum * 2u <= files.size())) {
        return tl::unexpected("a quorum of " + std::to_string(options.quorum) + " among " +
                              std::to_string(files.size()) +
                              " captures: more than half must agree, and no more than there are");
    }
    Comparison result;
    result.captures.resize(files.size());
    std::vector<std::vector<Exchange>> captures;
    for (std::size_t i = 0; i < files.size(); ++i) {
        result.captures[i].file = files[i].string();
        auto exchanges = Reader(options, result.captures[i]).read(files[i]);
        if (!exchanges) return tl::unexpected(exchanges.error());
        captures.push_back(std::move(*exchanges));
    }
    Evidence evidence(options.evidence);
    if (auto begun = evidence.begin(files); !begun) return tl::unexpected(begun.error());
    Judge judge(files, options, result, evidence);
    for (const Row& row : line_up(captures, options.matcher)) {
        judge.judge(row);
        if (auto written = evidence.flush(); !written) return tl::unexpected(written.error());
    }
    return result;
}

}  // namespace tools
