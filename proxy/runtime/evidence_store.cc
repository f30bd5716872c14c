#include "proxy/runtime/evidence_store.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <ctime>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <rte_cycles.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/packet.hh"
#include "proxy/runtime/appliance.hh"

namespace proxy {

using voter::ReplicaId;
using voter::Verdict;

namespace {

constexpr std::string_view prefix = "evidence-";
constexpr std::string_view suffix = ".pcapng";

std::string name_of(std::uint64_t sequence) {
    std::string digits = std::to_string(sequence);
    digits.insert(0, digits.size() < 6 ? 6 - digits.size() : 0, '0');
    return std::string(prefix) + digits + std::string(suffix);
}

// The sequence numbers of the evidence files that are there, in order. What is not ours is not
// seen.
std::vector<std::uint64_t> files_in(const std::filesystem::path& directory) {
    std::vector<std::uint64_t> found;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
        const std::string name = entry.path().filename().string();
        if (!name.starts_with(prefix) || !name.ends_with(suffix)) continue;
        std::uint64_t sequence = 0;
        const char* begin = name.data() + prefix.size();
        const char* end = name.data() + name.size() - suffix.size();
        if (std::from_chars(begin, end, sequence).ptr == end) found.push_back(sequence);
    }
    std::sort(found.begin(), found.end());
    return found;
}

const char* text(Verdict verdict) {
    switch (verdict) {
        case Verdict::agreed:
            return "agreed";
        case Verdict::split:
            return "split";
        case Verdict::expired:
            return "expired";
        case Verdict::open:
            return "open";
    }
    return "?";
}

}  // namespace

tl::expected<EvidenceStore, std::string> EvidenceStore::open(const config::Config& config,
                                                             std::uint64_t ticks_per_second) {
    EvidenceStore store(config, ticks_per_second);
    std::error_code error;
    std::filesystem::create_directories(store.directory_, error);
    if (error || ::chmod(store.directory_.c_str(), 0700) != 0) {
        return tl::unexpected("cannot use evidence.directory " + store.directory_.string() + ": " +
                              (error ? error.message() : std::strerror(errno)));
    }
    if (const auto files = files_in(store.directory_); !files.empty())
        store.sequence_ = files.back();
    return store;
}

EvidenceStore::EvidenceStore(const config::Config& config, std::uint64_t ticks_per_second)
    : config_(&config),
      directory_(config.evidence.directory.empty() ? config.state_dir / "evidence"
                                                   : config.evidence.directory),
      ticks_per_second_(ticks_per_second),
      ticks_at_start_(rte_rdtsc()),
      workspace_(voter::make_workspace()) {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    wall_ns_at_start_ = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
                        static_cast<std::uint64_t>(now.tv_nsec);
}

EvidenceStore::EvidenceStore(EvidenceStore&& other) noexcept
    : config_(other.config_),
      directory_(std::move(other.directory_)),
      ticks_per_second_(other.ticks_per_second_),
      ticks_at_start_(other.ticks_at_start_),
      wall_ns_at_start_(other.wall_ns_at_start_),
      sequence_(other.sequence_),
      descriptor_(std::exchange(other.descriptor_, -1)),
      written_(other.written_),
      records_(other.records_),
      lost_(other.lost_),
      failed_(other.failed_),
      builder_(std::move(other.builder_)),
      workspace_(std::move(other.workspace_)) {}

EvidenceStore::~EvidenceStore() {
    flush();
    if (descriptor_ >= 0) ::close(descriptor_);
}

std::string EvidenceStore::current_file() const {
    return descriptor_ < 0 ? std::string() : (directory_ / name_of(sequence_)).string();
}

// Interfaces: 0 the clients, then each group's slots in the order of the configuration.
std::uint32_t EvidenceStore::interface_of(std::uint8_t group, std::uint8_t slot) const {
    std::uint32_t interface = 1;
    for (std::uint8_t i = 0; i < group; ++i) {
        interface += static_cast<std::uint32_t>(config_->groups[i].replicas.size());
    }
    return interface + slot;
}

void EvidenceStore::begin_file() {
    if (descriptor_ >= 0) ::close(descriptor_);
    sequence_ += 1;
    const auto file = directory_ / name_of(sequence_);
    descriptor_ = ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    written_ = 0;
    if (descriptor_ < 0) return;
    builder_.section("quorate-proxy");
    builder_.interface("clients", 0);
    for (const config::Group& group : config_->groups) {
        for (const config::Replica& replica : group.replicas) {
            builder_.interface(group.name + "/" + replica.name, 0);
        }
    }
    forget_oldest();
}

void EvidenceStore::forget_oldest() {
    auto files = files_in(directory_);
    std::error_code error;
    for (std::size_t i = 0; i + config_->evidence.files_max < files.size(); ++i) {
        std::filesystem::remove(directory_ / name_of(files[i]), error);
    }
}

std::uint64_t EvidenceStore::wall_ns(std::uint64_t ticks) const {
    const auto since = static_cast<double>(static_cast<std::int64_t>(ticks - ticks_at_start_));
    return wall_ns_at_start_ + static_cast<std::uint64_t>(static_cast<std::int64_t>(
                                   since / static_cast<double>(ticks_per_second_) * 1e9));
}

void EvidenceStore::write(const EvidenceItem& item, const voter::Comparator& comparator) {
    if (descriptor_ < 0 || written_ + builder_.bytes().size() >= config_->evidence.file_bytes) {
        flush();
        begin_file();
    }
    if (descriptor_ < 0) {
        lost_ += 1;
        return;
    }
    put_request(item);
    put_replies(item, comparator);
    records_ += 1;
}

void EvidenceStore::flush() {
    const auto& bytes = builder_.bytes();
    std::size_t done = 0;
    while (descriptor_ >= 0 && done < bytes.size()) {
        const ssize_t put = ::write(descriptor_, bytes.data() + done, bytes.size() - done);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) {
            if (!failed_)
                say("cannot write evidence: " + std::string(std::strerror(errno)) +
                    "; votes go on, evidence is lost until there is room");
            failed_ = true;
            lost_ += 1;
            // A block that is cut would spoil what comes behind it: begin anew.
            ::close(descriptor_);
            descriptor_ = -1;
            break;
        }
        done += static_cast<std::size_t>(put);
        failed_ = false;
    }
    written_ += done;
    builder_.clear();
}

std::string EvidenceStore::what_happened(const EvidenceItem& item) const {
    const config::Group& group = config_->groups[item.group];
    std::string text_of = "group " + group.name + ": verdict " + text(item.ballot.verdict());
    const auto list = [&](const char* word, voter::SlotSet slots) {
        if (slots.empty()) return;
        text_of += std::string("; ") + word;
        slots.for_each([&](ReplicaId slot) {
            text_of += " " + group.replicas[slot.value].name + " (incarnation " +
                       std::to_string(item.incarnations[slot.value].value) + ")";
        });
    };
    list("dissent:", item.ballot.dissenters());
    list("silence:", item.superseded ? voter::SlotSet{} : item.ballot.silent());
    return text_of;
}

void EvidenceStore::put_packet(std::uint32_t interface, std::uint64_t time_ns,
                               const rte_mbuf* packet, std::uint16_t payload_offset,
                               const std::string& comment) {
    const wire::Bytes frame = bytes_of(packet);
    const auto length = static_cast<std::uint32_t>(frame.size());
    if (config_->evidence.redact_payload) {
        // Cut behind the headers: what is not there cannot be read.
        builder_.packet(interface, time_ns,
                        frame.first(std::min<std::size_t>(frame.size(), payload_offset)), length,
                        comment + "; payload redacted");
    } else {
        builder_.packet(interface, time_ns, frame, length, comment);
    }
}

void EvidenceStore::put_request(const EvidenceItem& item) {
    put_packet(0, wall_ns(item.opened_at), item.request, item.request_offset,
               "request; " + what_happened(item));
}

// Each voter's packet; of those that sent the same bytes one is kept, and it stands for all of
// them.
void EvidenceStore::put_replies(const EvidenceItem& item, const voter::Comparator& comparator) {
    item.ballot.voted().for_each([&](ReplicaId slot) {
        ReplicaId holder = slot;
        for (unsigned i = 0; i < item.ballot.camps(); ++i) {
            const voter::Ballot::Camp& camp = item.ballot.camp(i);
            if (camp.identical.contains(slot)) holder = camp.holder;
        }
        const Answer& answer = item.answers[holder.value];
        if (answer.packet == nullptr) return;
        put_packet(interface_of(item.group, slot.value), wall_ns(item.closed_at), answer.packet,
                   answer.payload_offset(), about_reply(item, slot, holder, comparator));
    });
}

std::string EvidenceStore::about_reply(const EvidenceItem& item, ReplicaId slot, ReplicaId holder,
                                       const voter::Comparator& comparator) {
    const config::Group& group = config_->groups[item.group];
    std::string comment = "reply of " + group.replicas[slot.value].name + " (slot " +
                          std::to_string(slot.value) + ", incarnation " +
                          std::to_string(item.incarnations[slot.value].value) + "); verdict " +
                          text(item.ballot.verdict());
    if (item.ballot.verdict() != Verdict::agreed) return comment;
    if (item.ballot.winner().members.contains(slot)) return comment + "; agrees";
    comment += "; DISSENT";
    const Answer& agreed = item.answers[item.ballot.winner().holder.value];
    const Answer& differs = item.answers[holder.value];
    if (agreed.packet == nullptr)
        return comment + "; the agreed reply had left before this one came";
    if (agreed.icmp || differs.icmp)
        return comment + "; first difference: kind of answer (ICMP error)";
    std::array<char, 256> where{};
    const std::size_t length =
        comparator.describe_difference(agreed.bytes(), differs.bytes(), where, *workspace_);
    return comment + "; first difference: " + std::string(where.data(), length);
}

}  // namespace proxy
