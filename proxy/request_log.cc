#include "proxy/request_log.hh"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <new>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace proxy {

namespace {

constexpr std::uint64_t magic = 0x31474f4c54525151;  // "QQRTLOG1"
constexpr std::uint32_t version = 1;
constexpr std::uint64_t header_bytes = 4096;
constexpr std::uint64_t reply_bytes = 512;
// One index cell for so many bytes of the file: less than the shortest entries take.
constexpr std::uint64_t bytes_per_entry = 128;
constexpr std::size_t boot_id_len_max = 39;
// No log gets there; a damaged one must not make sums of positions overflow.
constexpr std::uint64_t positions_max = std::uint64_t{1} << 62;

std::uint64_t rounded(std::uint64_t bytes) { return (bytes + 7) & ~std::uint64_t{7}; }

}  // namespace

struct RequestLog::Header {
    std::uint64_t magic = 0;
    std::uint32_t version = 0;
    std::uint32_t replicas = 0;
    std::uint64_t bytes = 0;
    std::uint64_t fingerprint = 0;
    std::uint64_t digest_seed = 0;
    std::array<char, boot_id_len_max + 1> boot_id{};
    // writer: the owning worker; reader: as for the marks.
    alignas(64) std::atomic<std::uint64_t> first_order{1};
    std::atomic<std::uint64_t> next_order{1};
    std::atomic<std::uint32_t> halted{0};
    std::array<LogMarks, voter::replicas_max> marks;
};

struct RequestLog::Reply {
    std::atomic<std::uint64_t> order{0};  // 0: nothing whole is in it
    std::uint16_t length = 0;
    std::array<std::byte, reply_len_max> bytes;
};

// Everything follows from the size of the file.
struct RequestLog::Layout {
    explicit Layout(std::uint64_t bytes)
        : entries_max(std::bit_floor(bytes / bytes_per_entry)),
          replies_len(
              std::min<std::uint64_t>(std::bit_floor(bytes / 4 / reply_bytes), replies_max)),
          replies_offset(header_bytes + entries_max * sizeof(std::uint64_t)),
          ring_offset(replies_offset + replies_len * reply_bytes),
          ring_bytes((bytes - ring_offset) & ~std::uint64_t{7}) {}
    std::uint64_t entries_max;
    std::uint64_t replies_len;
    std::uint64_t replies_offset;
    std::uint64_t ring_offset;
    std::uint64_t ring_bytes;
};

RequestLog::RequestLog(void* memory, std::uint64_t bytes, int descriptor)
    : memory_(static_cast<std::byte*>(memory)), bytes_(bytes), descriptor_(descriptor) {
    static_assert(sizeof(Header) <= header_bytes);
    static_assert(sizeof(Reply) <= reply_bytes && sizeof(LogEntry) % 8 == 0);
    static_assert(bytes_min / 2 > 8 * (sizeof(LogEntry) + jumbo_len_max));
    static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
    const Layout layout(bytes);
    header_ = std::launder(reinterpret_cast<Header*>(memory_));
    index_ = std::launder(reinterpret_cast<std::atomic<std::uint64_t>*>(memory_ + header_bytes));
    replies_ = memory_ + layout.replies_offset;
    ring_ = memory_ + layout.ring_offset;
    entries_max_ = layout.entries_max;
    replies_len_ = layout.replies_len;
    ring_bytes_ = layout.ring_bytes;
}

RequestLog::~RequestLog() {
    munmap(memory_, bytes_);
    close(descriptor_);
}

std::uint64_t RequestLog::first_order() const {
    return header_->first_order.load(std::memory_order_relaxed);
}
std::uint64_t RequestLog::next_order() const {
    // Partner: the release store in append().
    return header_->next_order.load(std::memory_order_acquire);
}
bool RequestLog::halted() const { return header_->halted.load(std::memory_order_relaxed) != 0; }
void RequestLog::halt(bool halted) {
    header_->halted.store(halted ? 1 : 0, std::memory_order_relaxed);
}
const LogMarks& RequestLog::marks(voter::ReplicaId slot) const {
    return header_->marks[slot.value];
}
LogMarks& RequestLog::marks(voter::ReplicaId slot) { return header_->marks[slot.value]; }
voter::DigestKey RequestLog::digest_key() const { return {header_->digest_seed}; }

// The incarnation is named last: a crash in between leaves marks of nobody.
void RequestLog::seat(voter::ReplicaId slot, voter::Incarnation incarnation) {
    LogMarks& marks = header_->marks[slot.value];
    marks.incarnation.store(0, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    marks.lost.store(0, std::memory_order_relaxed);
    marks.intent.store(0, std::memory_order_relaxed);
    marks.delivered.store(0, std::memory_order_relaxed);
    marks.doubt.store(0, std::memory_order_relaxed);
    marks.incarnation.store(incarnation.value, std::memory_order_release);
}

LogEntry* RequestLog::at(std::uint64_t position) const {
    return std::launder(reinterpret_cast<LogEntry*>(ring_ + position % ring_bytes_));
}

LogEntry* RequestLog::find(std::uint64_t order) const {
    if (order < first_order() || order >= next_order()) return nullptr;
    return at(index_[order % entries_max_].load(std::memory_order_relaxed));
}

const LogEntry* RequestLog::entry(std::uint64_t order) const { return find(order); }

std::uint64_t RequestLog::append(const Request& request) {
    assert(request.frame.size() <= jumbo_len_max);
    const std::uint64_t size = rounded(sizeof(LogEntry) + request.frame.size());
    // An entry lies in one piece: what is left at the end of the ring may be too short for it.
    const std::uint64_t left = ring_bytes_ - write_position_ % ring_bytes_;
    if (left < size) write_position_ += left;
    const std::uint64_t end = write_position_ + size;
    const std::uint64_t order = header_->next_order.load(std::memory_order_relaxed);

    // What is about to be overwritten does not count any more.
    std::uint64_t first = first_order();
    while (first < order) {
        const std::uint64_t position = index_[first % entries_max_].load(std::memory_order_relaxed);
        if (order - first < entries_max_ && position + ring_bytes_ >= end) break;
        ++first;
    }
    header_->first_order.store(first, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);

    auto* entry = new (ring_ + write_position_ % ring_bytes_) LogEntry;
    entry->order = order;
    entry->ticks = request.ticks;
    entry->key = request.key;
    entry->size = static_cast<std::uint32_t>(size);
    entry->frame_length = static_cast<std::uint16_t>(request.frame.size());
    entry->l3_offset = request.l3_offset;
    entry->payload_offset = request.payload_offset;
    entry->payload_length = request.payload_length;
    std::memcpy(static_cast<void*>(entry + 1), request.frame.data(), request.frame.size());
    index_[order % entries_max_].store(write_position_, std::memory_order_relaxed);
    write_position_ = end;
    // Partner: the acquire load in next_order().
    header_->next_order.store(order + 1, std::memory_order_release);
    return order;
}

void RequestLog::agree(std::uint64_t order, const voter::Digest& digest) {
    LogEntry* entry = find(order);
    if (entry == nullptr) return;
    entry->digest = digest;
    entry->agreed.store(1, std::memory_order_release);
}

void RequestLog::keep_reply(std::uint64_t order, wire::Bytes payload) {
    if (payload.size() > reply_len_max) return;
    auto* reply =
        std::launder(reinterpret_cast<Reply*>(replies_ + (order % replies_len_) * reply_bytes));
    reply->order.store(0, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    reply->length = static_cast<std::uint16_t>(payload.size());
    std::memcpy(reply->bytes.data(), payload.data(), payload.size());
    reply->order.store(order, std::memory_order_release);
}

wire::Bytes RequestLog::reply(std::uint64_t order) const {
    const auto* reply = std::launder(
        reinterpret_cast<const Reply*>(replies_ + (order % replies_len_) * reply_bytes));
    if (reply->order.load(std::memory_order_acquire) != order) return {};
    // The length is checked here, not when the log is opened: there are many.
    if (reply->length > reply_len_max) return {};
    return {reply->bytes.data(), reply->length};
}

// --- opening ------------------------------------------------------------------------------------

namespace {

constexpr const char* start_afresh =
    "; stop the replicas of the group, remove the file and start them again: they then all begin "
    "afresh";

std::string system_error(const std::filesystem::path& file, const char* what, int code) {
    return file.string() + ": " + what + ": " + std::strerror(code);
}

class Descriptor {
  public:
    Descriptor(const std::filesystem::path& file, int flags)
        : value_(::open(file.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600)) {}
    ~Descriptor() {
        if (value_ >= 0) close(value_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int get() const { return value_; }
    int release() { return std::exchange(value_, -1); }

  private:
    int value_;
};

}  // namespace

tl::expected<std::unique_ptr<RequestLog>, std::string> RequestLog::open(const Settings& settings) {
    assert(settings.replicas > 0 && settings.replicas <= voter::replicas_max);
    assert(settings.boot_id.size() <= boot_id_len_max);
    const std::filesystem::path& file = settings.file;
    const auto failed = [&](const char* what) {
        return tl::unexpected(system_error(file, what, errno));
    };
    if (settings.bytes < bytes_min) {
        return tl::unexpected(file.string() + ": a request log needs " +
                              std::to_string(bytes_min / 1024) + " KiB at least");
    }
    std::filesystem::path path = file;
    Descriptor found(file, O_RDWR);
    const bool fresh = found.get() < 0 && errno == ENOENT;
    if (found.get() < 0 && !fresh) return failed("cannot open the request log");
    // A new one appears under its name when it is whole.
    if (fresh) path += ".new";
    Descriptor made(path, O_RDWR | (fresh ? O_CREAT : 0));
    Descriptor& descriptor = fresh ? made : found;
    if (descriptor.get() < 0) return failed("cannot make the request log");
    if (flock(descriptor.get(), LOCK_EX | LOCK_NB) != 0) {
        return tl::unexpected(file.string() +
                              ": another process uses this request log; is a "
                              "quorate-proxy of this name running?");
    }
    if (fresh) {
        if (ftruncate(descriptor.get(), 0) != 0) return failed("cannot make the request log");
        // Its memory is there from now on: a full disk is an error here, not a signal later.
        const int code = posix_fallocate(descriptor.get(), 0, static_cast<off_t>(settings.bytes));
        if (code != 0) return tl::unexpected(system_error(file, "no room for log_bytes", code));
    }
    struct stat status {};
    if (fstat(descriptor.get(), &status) != 0) return failed("cannot look at the request log");
    if (!S_ISREG(status.st_mode)) return tl::unexpected(file.string() + ": is not a file");
    const auto bytes = static_cast<std::uint64_t>(status.st_size);
    if (bytes != settings.bytes) {
        return tl::unexpected(file.string() + ": has " + std::to_string(bytes) +
                              " bytes, but log_bytes is " + std::to_string(settings.bytes) +
                              "; set it back, or" + (start_afresh + 1));
    }
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                        descriptor.get(), 0);
    if (memory == MAP_FAILED) return failed("cannot map the request log");
    if (fresh) {
        auto* header = new (memory) Header;
        header->replicas = settings.replicas;
        header->bytes = bytes;
        header->fingerprint = settings.fingerprint;
        header->digest_seed = settings.digest_seed;
        settings.boot_id.copy(header->boot_id.data(), boot_id_len_max);
        header->version = version;
        header->magic = magic;
        if (rename(path.c_str(), file.c_str()) != 0) {
            munmap(memory, bytes);
            return failed("cannot name the request log");
        }
    }
    std::unique_ptr<RequestLog> log(new RequestLog(memory, bytes, descriptor.release()));
    const std::string flaw = flaw_of(settings, *log);
    if (!flaw.empty()) return tl::unexpected(file.string() + ": " + flaw + start_afresh);
    if (!log->empty() && log->first_order() < log->next_order()) {
        const std::uint64_t last = log->next_order() - 1;
        log->write_position_ = log->index_[last % log->entries_max_] + log->find(last)->size;
    }
    return log;
}

// What is wrong with it, or nothing. Written by a process that was killed, or by anybody.
std::string RequestLog::flaw_of(const Settings& settings, const RequestLog& log) {
    const Header& header = *log.header_;
    if (header.magic != magic) return "is not a request log";
    if (header.version != version) return "is a request log of another version of this program";
    if (header.bytes != log.bytes_) return "is damaged: its header tells another size";
    if (header.replicas != settings.replicas || header.fingerprint != settings.fingerprint) {
        return "was written for another configuration of this group";
    }
    const std::string_view boot_id(header.boot_id.data(),
                                   strnlen(header.boot_id.data(), boot_id_len_max));
    if (boot_id != settings.boot_id) {
        return "is from before the last start of this machine, and so are the replicas that go "
               "with it";
    }
    const std::uint64_t first = header.first_order;
    const std::uint64_t next = header.next_order;
    if (first == 0 || next < first || next - first > log.entries_max_ ||
        (first == next && next > 1)) {
        return "is damaged: its orders do not add up";
    }
    for (unsigned slot = 0; slot < settings.replicas; ++slot) {
        const LogMarks& marks = header.marks[slot];
        if (marks.intent >= next || marks.delivered > marks.intent || marks.doubt >= next) {
            return "is damaged: the marks of replica " + std::to_string(slot) + " do not add up";
        }
    }
    return log.flaw_of_entries();
}

std::string RequestLog::flaw_of_entries() const {
    const std::uint64_t first = first_order();
    const std::uint64_t next = next_order();
    std::uint64_t start = 0;
    std::uint64_t end = 0;  // of the entry before
    for (std::uint64_t order = first; order < next; ++order) {
        const auto damaged = [&](const char* what) {
            return "is damaged at request " + std::to_string(order) + ": " + what;
        };
        const std::uint64_t position = index_[order % entries_max_];
        if (order == first) start = end = position;
        const std::uint64_t room = ring_bytes_ - position % ring_bytes_;
        if (position % 8 != 0 || position < end || position - start > ring_bytes_ ||
            position > positions_max || room < sizeof(LogEntry)) {
            return damaged("its place");
        }
        const LogEntry& entry = *at(position);
        if (entry.order != order || entry.size > room || entry.frame_length > jumbo_len_max ||
            entry.size != rounded(sizeof(LogEntry) + entry.frame_length)) {
            return damaged("its size");
        }
        if (entry.l3_offset > entry.payload_offset || entry.key.service >= services_max ||
            entry.payload_offset + entry.payload_length > entry.frame_length) {
            return damaged("its content");
        }
        end = position + entry.size;
        if (end - start > ring_bytes_) return damaged("it overlaps the first one");
    }
    return {};
}

std::uint64_t log_fingerprint(const Plan& plan, std::uint8_t group) {
    std::array<std::byte, 8 + services_max * 24> bytes{};
    std::size_t at = 0;
    const auto put = [&](std::uint32_t value) {
        wire::store_be32(bytes.data() + at, value);
        at += 4;
    };
    put(plan.groups[group].replicas);
    for (unsigned i = 0; i < plan.services_count; ++i) {
        const PlanService& service = plan.services[i];
        if (service.group != group) continue;
        put(i << 24 | static_cast<std::uint32_t>(service.comparator.kind()) << 16 | service.port);
        std::memcpy(bytes.data() + at, service.address.octets.data(), 16);
        at += 16;
    }
    return voter::digest_of({bytes.data(), at}, {}).low;
}

}  // namespace proxy
