#include "voter/dns_writer.hh"

#include <algorithm>
#include <cstring>

namespace voter::dns {
namespace {

constexpr std::size_t pointer_reach = 0x4000;  // offsets a pointer can say
constexpr std::size_t fixed_len = 10;          // type, class, TTL, length
constexpr unsigned hops_max = 15;              // in what a new pointer points to
constexpr std::uint32_t hash_basis = 2166136261u;

// FNV-1a over one label, starting from the hash of what follows it, so that a name's suffixes are
// hashed from the root up in one pass. Collisions cost a comparison, never a wrong name.
std::uint32_t hash_label(std::uint32_t hash, Bytes label) {
    for (const std::byte octet : label) {
        hash = (hash ^ std::to_integer<std::uint32_t>(lower(octet))) * 16777619u;
    }
    return hash;
}

// The labels of an unpacked name: where each starts, the root's not counted.
struct Labels {
    std::array<std::uint8_t, name_labels_max + 1> starts;
    std::array<std::uint32_t, name_labels_max + 1> hashes;  // of the suffix from there on
    unsigned count = 0;

    explicit Labels(Bytes name) {
        std::size_t at = 0;
        while (load_u8(&name[at]) != 0) {
            starts[count++] = static_cast<std::uint8_t>(at);
            at += 1u + load_u8(&name[at]);
        }
        std::uint32_t hash = hash_basis;
        for (unsigned i = count; i-- > 0;) {
            hash = hash_label(hash, name.subspan(starts[i], 1u + load_u8(&name[starts[i]])));
            hashes[i] = hash;
        }
    }
};

}  // namespace

Writer::Writer(MutableBytes out, Names& names) : out_(out), names_(&names), limit_(out.size()) {
    names.offsets.fill(0);
}

void Writer::limit(std::size_t length) { limit_ = std::min(length, out_.size()); }

void Writer::rewind(std::size_t mark) {
    at_ = mark;
    fits_ = true;
    owner_at_ = 0;
}

void Writer::raw(Bytes bytes) {
    if (!fits_ || at_ + bytes.size() > limit_) {
        fits_ = false;
        return;
    }
    if (!bytes.empty()) std::memcpy(&out_[at_], bytes.data(), bytes.size());
    at_ += bytes.size();
}

void Writer::header(std::uint16_t id, std::uint16_t flags, std::uint16_t questions) {
    std::array<std::byte, header_len> bytes{};
    store_u16(&bytes[0], id);
    store_u16(&bytes[2], flags);
    store_u16(&bytes[4], questions);
    raw(bytes);
}

void Writer::question(Bytes section) {
    const std::size_t start = at_;
    raw(section);
    if (!fits_ || section.empty()) return;
    const Labels labels(section);
    for (unsigned i = 0; i < labels.count; ++i) {
        remember(labels.hashes[i], start + labels.starts[i]);
    }
}

void Writer::record(Bytes canonical) {
    const CanonicalRecord record = open_canonical(canonical);
    const RdataShape shape = rdata_shape(record.type());
    const Bytes rdata = record.rdata();
    owner(record.owner());
    raw(canonical.subspan(record.owner_len, fixed_len));
    const std::size_t data = at_;
    if (!shape.compressible) {
        raw(rdata);
        return;
    }
    std::size_t read = shape.fixed;
    raw(rdata.first(read));
    for (unsigned left = shape.names; left != 0; --left) {
        const std::size_t end = skip_name(rdata, read);
        name(rdata.subspan(read, end - read));
        read = end;
    }
    raw(rdata.subspan(read));
    if (fits_) store_u16(&out_[data - 2], static_cast<std::uint16_t>(at_ - data));
}

void Writer::opt(std::uint8_t rcode_high, bool dnssec_ok) {
    std::array<std::byte, opt_len> bytes{};
    store_u16(&bytes[1], type_opt);
    store_u16(&bytes[3], udp_payload_ours);
    store_u32(&bytes[5], std::uint32_t{rcode_high} << 24 | (dnssec_ok ? opt_dnssec_ok : 0));
    raw(bytes);
}

void Writer::counts(std::uint16_t answer, std::uint16_t authority, std::uint16_t additional) {
    store_u16(&out_[6], answer);
    store_u16(&out_[8], authority);
    store_u16(&out_[10], additional);
}

void Writer::owner(Bytes canonical) {
    if (owner_at_ != 0 && equal(canonical, owner_)) {
        pointer(owner_at_);
        return;
    }
    owner_at_ = name(canonical);
    owner_ = canonical;
}

std::size_t Writer::name(Bytes canonical) {
    const Labels labels(canonical);
    unsigned kept = labels.count;  // labels written out; a pointer stands for the rest
    std::size_t target = 0;
    for (unsigned i = 0; i < labels.count; ++i) {
        target = find(labels.hashes[i], canonical.subspan(labels.starts[i]));
        if (target != 0) {
            kept = i;
            break;
        }
    }
    const std::size_t start = at_;
    if (target == 0) {
        raw(canonical);
    } else {
        raw(canonical.first(labels.starts[kept]));
        pointer(target);
    }
    if (!fits_) return 0;
    for (unsigned i = 0; i < kept; ++i) remember(labels.hashes[i], start + labels.starts[i]);
    if (labels.count == 0) return 0;  // the root is shorter than a pointer
    if (kept == 0) return target;
    return start < pointer_reach ? start : 0;
}

void Writer::pointer(std::size_t target) {
    std::array<std::byte, 2> bytes;
    store_u16(bytes.data(), static_cast<std::uint16_t>(0xc000u | target));
    raw(bytes);
}

void Writer::remember(std::uint32_t hash, std::size_t offset) {
    if (names_ == nullptr || offset >= pointer_reach) return;
    for (unsigned probe = 0; probe < Names::probes_max; ++probe) {
        const unsigned slot = (hash + probe) % Names::slots;
        if (names_->offsets[slot] != 0) continue;
        names_->offsets[slot] = static_cast<std::uint16_t>(offset);
        names_->hashes[slot] = hash;
        return;
    }
}

std::size_t Writer::find(std::uint32_t hash, Bytes suffix) const {
    if (names_ == nullptr) return 0;
    for (unsigned probe = 0; probe < Names::probes_max; ++probe) {
        const unsigned slot = (hash + probe) % Names::slots;
        if (names_->offsets[slot] == 0) return 0;
        if (names_->hashes[slot] == hash && reads_as(names_->offsets[slot], suffix)) {
            return names_->offsets[slot];
        }
    }
    return 0;
}

bool Writer::reads_as(std::size_t offset, Bytes suffix) const {
    std::array<std::byte, name_len_max> unpacked;
    const std::size_t length = read_name(Bytes(out_).first(at_), offset, unpacked, hops_max);
    return length != 0 && equal(Bytes(unpacked).first(length), suffix);
}

std::size_t udp_payload_of(const Message& request) {
    if (!request.opt) return udp_payload_min;
    return std::max<std::size_t>(udp_payload_min, request.opt->udp_payload);
}

bool dnssec_ok(const Message& request) { return request.opt && request.opt->ttl & opt_dnssec_ok; }

}  // namespace voter::dns
