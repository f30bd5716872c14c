#include "xen/domain/toolstack.hh"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

extern "C" {
#include <libxl.h>
#include <libxl_utils.h>
#include <libxl_uuid.h>
}

#include "recovery/process.hh"
#include "xen/domain/image.hh"

namespace xen::domain::toolstack {
namespace {

class Library {
  public:
    Library() : logger_(::xtl_createlogger_stdiostream(stderr, XTL_WARN, 0)) {
        if (logger_ != nullptr && ::libxl_ctx_alloc(&context_, LIBXL_VERSION, 0, base()) != 0) {
            context_ = nullptr;
        }
    }
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;
    ~Library() {
        if (context_ != nullptr) ::libxl_ctx_free(context_);
        if (logger_ != nullptr) ::xtl_logger_destroy(base());
    }
    libxl_ctx* get() const { return context_; }

  private:
    // Its first member: how the C library does inheritance.
    xentoollog_logger* base() const { return reinterpret_cast<xentoollog_logger*>(logger_); }

    xentoollog_logger_stdiostream* logger_;
    libxl_ctx* context_ = nullptr;
};

// libxl frees what a configuration points to.
class DomainConfig {
  public:
    DomainConfig() { ::libxl_domain_config_init(&value_); }
    DomainConfig(const DomainConfig&) = delete;
    DomainConfig& operator=(const DomainConfig&) = delete;
    ~DomainConfig() { ::libxl_domain_config_dispose(&value_); }
    libxl_domain_config* get() { return &value_; }
    libxl_domain_config* operator->() { return &value_; }

  private:
    libxl_domain_config value_;
};

char* copy(const std::string& text) {
    char* made = ::strdup(text.c_str());
    if (made == nullptr) std::abort();
    return made;
}

libxl_key_value_list pairs(const std::vector<std::string>& words) {
    auto* list = static_cast<char**>(std::calloc(words.size() + 1, sizeof(char*)));
    if (list == nullptr) std::abort();
    std::transform(words.begin(), words.end(), list, copy);
    return list;
}

libxl_uuid uuid_of(const Uuid& uuid) {
    libxl_uuid made;
    std::copy(uuid.bytes.begin(), uuid.bytes.end(), made.uuid);
    return made;
}

tl::unexpected<std::string> failed(const std::string& what, int code) {
    return tl::unexpected("libxl cannot " + what + " (error " + std::to_string(code) + ")");
}

tl::unexpected<std::string> no_library() {
    return tl::unexpected(
        std::string("libxl does not start: is this the Dom0 of a running Xen, and are we root?"));
}

void fill(const Library& library, DomainConfig& config, const Plan& plan, const SealedFile& kernel,
          const SealedFile& ramdisk) {
    const libxl_domain_type type =
        plan.type == config::DomainType::pvh ? LIBXL_DOMAIN_TYPE_PVH : LIBXL_DOMAIN_TYPE_PV;
    libxl_domain_create_info& created = config->c_info;
    created.type = type;
    created.name = copy(plan.domain_name);
    created.uuid = uuid_of(plan.uuid);
    // Below the domain's home, where the guest cannot write: this is how we know it again.
    created.xsdata = pairs({"quorate/appliance", plan.appliance, "quorate/replica", plan.replica,
                            "quorate/incarnation", std::to_string(plan.incarnation)});
    libxl_domain_build_info& built = config->b_info;
    ::libxl_domain_build_info_init_type(&built, type);
    built.kernel = copy(kernel.path());
    built.ramdisk = copy(ramdisk.path());
    built.cmdline = copy(plan.command_line);
    built.max_memkb = built.target_memkb = std::uint64_t{plan.memory_mb} * 1'024;
    built.max_vcpus = static_cast<int>(plan.vcpus);
    // All of them from the beginning: left alone, libxl has the guest put all but one away.
    if (::libxl_cpu_bitmap_alloc(library.get(), &built.avail_vcpus, built.max_vcpus) != 0) {
        std::abort();
    }
    ::libxl_bitmap_set_any(&built.avail_vcpus);
    // Replicas are never moved, and an emulated clock costs each of them a trap a reading.
    built.tsc_mode = LIBXL_TSC_MODE_NATIVE;
    // Nobody restarts it but us.
    config->on_poweroff = config->on_reboot = config->on_crash = config->on_watchdog =
        LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
}

// Does the number still belong to the domain? A negative number is libxl's error.
int belongs(const Library& library, DomainId domain, const Uuid& uuid) {
    libxl_dominfo facts;
    ::libxl_dominfo_init(&facts);
    const int code = ::libxl_domain_info(library.get(), &facts, domain.value);
    const libxl_uuid wanted = uuid_of(uuid);
    const bool same = code == 0 && std::equal(std::begin(wanted.uuid), std::end(wanted.uuid),
                                              std::begin(facts.uuid.uuid));
    ::libxl_dominfo_dispose(&facts);
    if (code == ERROR_DOMAIN_NOTFOUND) return 0;
    return code != 0 ? code : same ? 1 : 0;
}

}  // namespace

tl::expected<DomainId, std::string> build(const Plan& plan) {
    const auto seed = seed_file();
    if (!seed) return tl::unexpected(seed.error());
    std::vector<GuestFile> with_seed = plan.files;
    with_seed.push_back(*seed);  // the last of a name is the one that counts
    const auto files = archive(with_seed);
    if (!files) return tl::unexpected(files.error());
    const auto kernel = load_verified(plan.kernel, plan.kernel_sha256);
    if (!kernel) return tl::unexpected(kernel.error());
    const auto ramdisk = load_verified(plan.ramdisk, plan.ramdisk_sha256, *files);
    if (!ramdisk) return tl::unexpected(ramdisk.error());
    const Library library;
    if (library.get() == nullptr) return no_library();
    DomainConfig config;
    fill(library, config, plan, *kernel, *ramdisk);
    std::uint32_t number = static_cast<std::uint32_t>(INVALID_DOMID);
    const int code =
        ::libxl_domain_create_new(library.get(), config.get(), &number, nullptr, nullptr);
    if (code != 0) return failed("build the domain", code);
    return DomainId{static_cast<std::uint16_t>(number)};
}

tl::expected<void, std::string> destroy(DomainId domain, const Uuid& uuid) {
    const Library library;
    if (library.get() == nullptr) return no_library();
    const int there = belongs(library, domain, uuid);
    if (there < 0) return failed("look at the domain", there);
    if (there == 0) return {};
    const int code = ::libxl_domain_destroy(library.get(), domain.value, nullptr);
    if (code != 0 && code != ERROR_DOMAIN_NOTFOUND) return failed("destroy the domain", code);
    return {};
}

tl::expected<void, std::string> dump(DomainId domain, const Uuid& uuid, const std::string& file,
                                     std::uint64_t bytes_max) {
    const Library library;
    if (library.get() == nullptr) return no_library();
    const int there = belongs(library, domain, uuid);
    if (there < 0) return failed("look at the domain", there);
    if (there == 0) return tl::unexpected(std::string("the domain is gone"));
    const int made =
        ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (made < 0) return tl::unexpected(recovery::with_cause("cannot make " + file));
    ::close(made);
    const rlimit bound{bytes_max, bytes_max};
    if (::setrlimit(RLIMIT_FSIZE, &bound) != 0) {
        return tl::unexpected(recovery::with_cause("cannot bound the dump"));
    }
    const int code = ::libxl_domain_core_dump(library.get(), domain.value, file.c_str(), nullptr);
    if (code == 0) return {};
    ::unlink(file.c_str());
    return failed("dump the domain's memory within " + std::to_string(bytes_max) + " bytes", code);
}

}  // namespace xen::domain::toolstack
