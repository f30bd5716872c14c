#include "xen/domain/host.hh"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <iterator>
#include <system_error>

#include <unistd.h>

#include "recovery/log.hh"
#include "recovery/process.hh"
#include "xen/domain/admission.hh"
#include "xen/domain/devices.hh"
#include "xen/domain/plan.hh"
#include "xen/domain/text.hh"

namespace xen::domain {
namespace {

using recovery::HostError;
using recovery::ReplicaName;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds build_turn_max{300'000};  // a few builds, at their deadlines
constexpr milliseconds keeper_grace{2'000};
constexpr milliseconds look_pause{500};  // at a domain that boots, where nothing is heard of it
constexpr std::size_t health_bytes_max = 1'024;
constexpr unsigned quoted_lines = 5;

std::string who(const ReplicaName& name) {
    return name.group + "/" + std::to_string(name.slot.value) + " place " +
           recovery::text(name.place);
}

tl::unexpected<HostError> host_error(const ReplicaName& name, const std::string& what) {
    return tl::unexpected(HostError{"replica " + who(name) + ": " + what});
}

std::string begin_mark(const ReplicaName& name) {
    return "incarnation " + std::to_string(name.incarnation.value) + " starts";
}

// What its console said last, since this boot began.
std::string console_end(const std::filesystem::path& log, const ReplicaName& name) {
    std::ifstream in(log, std::ios::binary);
    std::string text(std::istreambuf_iterator<char>(in), {});
    const std::size_t begin = text.rfind(begin_mark(name));
    if (begin == std::string::npos) return {};
    const std::size_t line_end = text.find('\n', begin);
    if (line_end == std::string::npos) return {};
    return last_lines(std::string_view(text).substr(line_end + 1), quoted_lines);
}

}  // namespace

struct Host::Boot {
    Record record;
    std::filesystem::path record_file;
    const config::XenReplica* replica = nullptr;
    const config::XenImage* image = nullptr;
};

Host::Host(const config::Config& config, std::shared_ptr<Machine> machine, store::Connect connect)
    : config_(config), machine_(std::move(machine)), connect_(std::move(connect)) {
    std::error_code ignored;
    paths_.domains = std::filesystem::absolute(config.state_dir, ignored) / "domains";
}

tl::expected<Host::Boot, std::string> Host::boot_of(const ReplicaName& name) const {
    const config::Group* group = config_.group(name.group);
    if (group == nullptr) return tl::unexpected("the configuration has no group " + name.group);
    if (name.slot.value >= group->replicas.size()) {
        return tl::unexpected(std::string("the configuration has no such slot"));
    }
    const auto& replica = group->replicas[name.slot.value].xen;
    if (!replica) {
        return tl::unexpected(std::string("it has no [group.replica.xen]: it is no domain"));
    }
    const auto self = recovery::identify(::getpid());
    if (!self) return tl::unexpected(std::string("cannot read /proc"));
    Boot boot;
    boot.replica = &*replica;
    boot.image = &replica->image(name.incarnation);
    boot.record_file = paths_.record(name);
    boot.record.name = name;
    boot.record.appliance = config_.name;
    boot.record.domain_name = domain_name(config_, name);
    boot.record.uuid = Uuid::random();
    boot.record.memory_mb = boot.image->memory_mb;
    boot.record.vcpus = boot.image->vcpus;
    boot.record.owner = *self;
    return boot;
}

// Is there room for it? With the records locked, so that two do not count on the same.
Host::Done Host::admit(const Boot& boot) {
    const auto machine = machine_->facts();
    if (!machine) return tl::unexpected(machine.error());
    const auto records = read_records(paths_);
    if (!records) return tl::unexpected(records.error());
    std::uint64_t promised_kb = 0;
    for (const Record& record : *records) {
        if (record.phase == Phase::building && recovery::is_alive(record.owner)) {
            promised_kb += need_kb(record.memory_mb, record.vcpus);
        }
    }
    const std::string why = refusal({boot.image->memory_mb, boot.image->vcpus, boot.replica->cpus},
                                    *machine, promised_kb);
    if (!why.empty()) return tl::unexpected(why);
    return {};
}

// Makes the place ours: a record that says so, where there was none or only remains.
Host::Done Host::claim(const Boot& boot) {
    std::error_code error;
    std::filesystem::create_directories(paths_.domains, error);
    if (error) {
        return tl::unexpected("cannot make " + paths_.domains.string() + ": " + error.message() +
                              "; set state_dir to a directory you may write to");
    }
    const auto domains = machine_->domains();
    if (!domains) return tl::unexpected(domains.error());
    const auto before = read_record(boot.record_file);
    if (!before) return tl::unexpected(before.error());
    if (*before && is_alive(**before, *domains)) {
        return tl::unexpected("incarnation " + std::to_string((*before)->name.incarnation.value) +
                              " is there already (" + text((*before)->phase) + "); stop it first");
    }
    // Not under the lock: it may take a minute.
    if (*before) {
        if (auto done = end(**before); !done) return done;
    }
    const auto lock = recovery::lock_records(paths_.domains);
    if (!lock) return tl::unexpected(lock.error());
    const auto now = read_record(boot.record_file);
    if (!now) return tl::unexpected(now.error());
    if (*now) return tl::unexpected(std::string("somebody else has taken its place meanwhile"));
    if (auto done = admit(boot); !done) return done;
    return write_record(boot.record_file, boot.record);
}

// One at a time: a build holds kernel and ramdisk in Dom0's memory, and takes all of a CPU.
tl::expected<DomainId, std::string> Host::build(const Record& record,
                                                const config::XenImage& image) {
    const auto turn = recovery::FileLock::take(paths_.domains / "build.lock", build_turn_max);
    if (!turn) return tl::unexpected("others are being built: " + turn.error());
    return machine_->build(plan_of(config_, record.name, image, record.uuid));
}

Host::Done Host::bring_up(Boot& boot) {
    Record& record = boot.record;
    const auto save = [&](auto&& change) -> Done {
        const auto changed = change_record(boot.record_file, record.uuid, [&](Record& now) {
            change(now);
            record = now;
        });
        if (!changed) return tl::unexpected(changed.error());
        if (!*changed) return tl::unexpected(std::string("somebody has cleaned it up meanwhile"));
        return {};
    };
    auto store = living_store();
    if (!store) return tl::unexpected(store.error());
    recovery::Log(paths_.log(record.name)).note(begin_mark(record.name));

    // Held until the guest is healthy: its backend has the disk open then.
    std::optional<Disk> disk;
    if (!boot.image->disk.empty()) {
        auto attached = machine_->attach(boot.image->disk, boot.image->disk_sha256);
        if (!attached) return tl::unexpected(attached.error());
        disk = std::move(*attached);
    }
    const auto domain = build(record, *boot.image);
    if (!domain) return tl::unexpected(domain.error());
    auto done = save([&](Record& now) {
        now.domain = *domain;
        now.phase = Phase::starting;
    });
    if (!done) return done;
    const auto& replica = *boot.replica;
    done = machine_->limit(*domain, {boot.image->vcpus, replica.cpus, replica.cap_percent});
    if (!done) return done;
    DeviceNames names{config_.name, record.uuid, record.name.incarnation};
    if (disk) names.disk = disk->number;
    const auto written = write_devices(*store, *domain, names);
    if (!written) return tl::unexpected(written.error().what);
    done = machine_->keep(
        {boot.record_file.native(), paths_.log(record.name).native(), record.uuid, *domain});
    if (!done) return done;
    done = machine_->unpause(*domain);
    if (!done) return done;
    done = await_health(boot, *store);
    if (!done) return done;
    return save([&](Record& now) {
        now.phase = Phase::running;
        now.detail = "healthy since " + time_text();
    });
}

// The guest writes the key: what it says is bounded, made printable, and believed about itself
// only.
Host::Done Host::await_health(const Boot& boot, store::Store& store) {
    const DomainId domain = *boot.record.domain;
    const std::string key =
        "/local/domain/" + std::to_string(domain.value) + "/data/quorate/health";
    const auto deadline = Clock::now() + milliseconds(boot.replica->health_timeout_ms);
    for (const char* path : {key.c_str(), "@releaseDomain"}) {
        if (auto done = store.watch(path, "health"); !done) {
            return tl::unexpected(done.error().what);
        }
    }
    for (;;) {
        const auto said = store.read_if_there(key, health_bytes_max);
        if (said && *said == "healthy") return {};
        if (said && *said && (*said)->starts_with("failed")) {
            return tl::unexpected("it says " + plain(**said, health_bytes_max));
        }
        const auto domains = machine_->domains();
        if (domains) {
            const DomainFacts* found = find_domain(boot.record, *domains);
            if (found == nullptr) {
                return tl::unexpected(std::string("somebody destroyed it before it was healthy"));
            }
            if (!found->lives()) {
                return tl::unexpected(std::string("it ") + text(found->state) +
                                      " before it was healthy");
            }
        }
        if (Clock::now() >= deadline) {
            return tl::unexpected("it was not healthy after " +
                                  std::to_string(boot.replica->health_timeout_ms) +
                                  " ms (health_timeout_ms)");
        }
        const auto event = store.next_event(look_pause);
        if (!event && event.error().failure != store::Failure::unreachable) {
            return tl::unexpected(event.error().what);
        }
    }
}

Host::Result<recovery::ReplicaFacts> Host::start(const ReplicaName& name) {
    auto boot = boot_of(name);
    if (!boot) return host_error(name, boot.error());
    if (auto done = claim(*boot); !done) return host_error(name, done.error());
    const auto done = bring_up(*boot);
    if (!done) {
        std::string why = done.error();
        if (auto ended = end(boot->record); !ended) why += "; and " + ended.error();
        recovery::Log log(paths_.log(name));
        const std::string words = console_end(paths_.log(name), name);
        log.note("incarnation " + std::to_string(name.incarnation.value) +
                 " did not start: " + why);
        if (!words.empty()) why += "; its console's last lines:\n" + words;
        return host_error(name, why);
    }
    recovery::Log(paths_.log(name))
        .note("incarnation " + std::to_string(name.incarnation.value) + " is healthy");
    const auto domains = machine_->domains();
    return facts_of(boot->record, domains ? *domains : std::vector<DomainFacts>());
}

// One that answers: a xenstored that hangs takes connections, too.
tl::expected<store::Store, std::string> Host::living_store() const {
    auto opened = store::Store::open(connect_);
    if (!opened) return tl::unexpected(opened.error().what);
    if (auto answer = opened->list("/"); !answer) return tl::unexpected(answer.error().what);
    return std::move(*opened);
}

// Ends everything that belongs to a record, and the record last. May be repeated by anybody.
Host::Done Host::end(const Record& record) {
    // Its latest form: the keeper is in it, and the domain's number.
    const auto file = paths_.record(record.name);
    Record latest = record;
    if (const auto now = read_record(file); now && *now && (*now)->uuid == record.uuid) {
        latest = **now;
    }
    const auto domains = machine_->domains();
    if (!domains) return tl::unexpected(domains.error());
    const DomainFacts* domain = find_domain(latest, *domains);
    std::optional<store::Store> store;
    if (domain != nullptr || latest.domain) {
        // Asked first, since libxl would wait for a dead xenstored until its deadline.
        auto opened = living_store();
        if (!opened) return tl::unexpected(opened.error());
        store = std::move(*opened);
    }
    if (latest.keeper.pid != 0) {
        recovery::send_signal(latest.keeper, SIGTERM);
        if (!recovery::wait_for_end(latest.keeper, keeper_grace)) {
            recovery::send_signal(latest.keeper, SIGKILL);
        }
    }
    // A dying one goes when the last of those who map its memory, the proxy, lets go of it.
    if (domain != nullptr && domain->state != State::dying) {
        if (auto done = machine_->destroy(domain->id, latest.uuid); !done) return done;
    }
    if (latest.domain) {
        if (auto done = remove_devices(*store, *latest.domain, latest.uuid); !done) {
            return tl::unexpected(done.error().what);
        }
    }
    return remove_record(file, latest.uuid);
}

Host::Result<void> Host::stop(const ReplicaName& name) {
    const auto record = read_record(paths_.record(name));
    if (!record) return host_error(name, record.error());
    if (!*record || (*record)->name.incarnation != name.incarnation) return {};
    if (auto done = end(**record); !done) return host_error(name, done.error());
    recovery::Log(paths_.log(name))
        .note("incarnation " + std::to_string(name.incarnation.value) + " was stopped");
    return {};
}

tl::expected<DomainFacts, std::string> Host::living(const ReplicaName& name) {
    const auto record = read_record(paths_.record(name));
    if (!record) return tl::unexpected(record.error());
    if (!*record || (*record)->name.incarnation != name.incarnation) {
        return tl::unexpected(std::string("it is not there"));
    }
    const auto domains = machine_->domains();
    if (!domains) return tl::unexpected(domains.error());
    if ((*record)->phase != Phase::running || !is_alive(**record, *domains)) {
        return tl::unexpected("it does not run: " + facts_of(**record, *domains).detail);
    }
    return *find_domain(**record, *domains);
}

// Xen counts pauses; for us a domain is paused or it is not.
Host::Result<void> Host::pause(const ReplicaName& name) {
    const auto domain = living(name);
    if (!domain) return host_error(name, domain.error());
    if (domain->paused) return {};
    if (auto done = machine_->pause(domain->id); !done) return host_error(name, done.error());
    return {};
}

Host::Result<void> Host::resume(const ReplicaName& name) {
    const auto domain = living(name);
    if (!domain) return host_error(name, domain.error());
    if (!domain->paused) return {};
    if (auto done = machine_->unpause(domain->id); !done) return host_error(name, done.error());
    return {};
}

Host::Result<std::vector<recovery::ReplicaFacts>> Host::inspect() {
    const auto records = read_records(paths_);
    if (!records) return tl::unexpected(HostError{records.error()});
    std::vector<recovery::ReplicaFacts> all;
    if (records->empty()) return all;  // without records Xen need not be there
    const auto domains = machine_->domains();
    if (!domains) return tl::unexpected(HostError{domains.error()});
    for (const Record& record : *records) all.push_back(facts_of(record, *domains));
    return all;
}

Host::Result<void> Host::dump(const ReplicaName& name, const std::filesystem::path& file) {
    const auto record = read_record(paths_.record(name));
    if (!record) return host_error(name, record.error());
    if (!*record || (*record)->name.incarnation != name.incarnation || !(*record)->domain) {
        return host_error(name, "it is not there");
    }
    // Headers, and twice what it should have, for a guest that was given more by somebody else.
    const std::uint64_t bytes_max = (std::uint64_t{(*record)->memory_mb} * 2 + 64) << 20;
    if (auto done = machine_->dump(*(*record)->domain, (*record)->uuid, file, bytes_max); !done) {
        return host_error(name, done.error());
    }
    return {};
}

}  // namespace xen::domain
