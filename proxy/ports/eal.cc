#include "proxy/ports/eal.hh"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <system_error>
#include <vector>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <sched.h>
#include <signal.h>
#include <sys/un.h>

namespace proxy {
namespace {

// DPDK keeps pointers into argv.
struct Started {
    std::vector<std::string> words;
    std::vector<char*> argv;
    std::filesystem::path directory;  // runtime_dir/dpdk
    std::string name;
    bool running = false;
};

Started& started() {
    static Started instance;
    return instance;
}

// The processors this process may use, as an EAL list: "(0,2,3)".
std::string allowed_cpus(const cpu_set_t& set) {
    std::string list = "(";
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(static_cast<unsigned>(cpu), &set)) continue;
        if (list.size() > 1) list += ',';
        list += std::to_string(cpu);
    }
    return list + ")";
}

std::vector<std::string> arguments(const config::Eal& eal, std::string_view name,
                                   std::span<const std::string> pci, const cpu_set_t& cpus) {
    std::vector<std::string> words{"quorate-proxy"};
    // One EAL lcore, floating over all processors: it is the slow path. Workers register
    // themselves and are pinned by us.
    words.insert(words.end(), {"--lcores", "0@" + allowed_cpus(cpus)});
    if (eal.hugepages) {
        words.emplace_back("--in-memory");
    } else {
        words.insert(words.end(), {"--no-huge", "--no-shconf"});
    }
    words.insert(words.end(), {"-m", std::to_string(eal.memory_mb)});
    words.insert(words.end(), {"--file-prefix", std::string(name)});
    words.insert(words.end(), {"--log-level", "warning"});
    if (pci.empty()) {
        words.insert(words.end(), {"--no-pci", "--iova-mode", "va"});
    } else {
        for (const auto& address : pci) words.insert(words.end(), {"-a", address});
    }
    words.insert(words.end(), eal.arguments.begin(), eal.arguments.end());
    return words;
}

// An environment variable set for as long as this lives.
class ScopedVariable {
  public:
    ScopedVariable(const char* name, const std::string& value) : name_(name) {
        if (const char* old = std::getenv(name)) old_ = old;
        setenv(name, value.c_str(), 1);
    }
    ~ScopedVariable() {
        if (old_) {
            setenv(name_, old_->c_str(), 1);
        } else {
            unsetenv(name_);
        }
    }
    ScopedVariable(const ScopedVariable&) = delete;
    ScopedVariable& operator=(const ScopedVariable&) = delete;

  private:
    const char* name_;
    std::optional<std::string> old_;
};

tl::expected<void, std::string> prepare_directory(const std::filesystem::path& runtime_dir,
                                                  std::string_view name) {
    const auto socket = runtime_dir / "dpdk" / name / "dpdk_telemetry.v2";
    if (socket.native().size() >= sizeof(sockaddr_un::sun_path)) {
        return tl::unexpected("the path " + socket.native() +
                              " is too long for a socket (107 bytes): choose a shorter state_dir");
    }
    std::error_code error;
    std::filesystem::create_directories(runtime_dir, error);
    if (error) {
        return tl::unexpected("cannot create " + runtime_dir.native() + ": " + error.message() +
                              ": choose a state_dir that can be written");
    }
    return {};
}

std::string advice(const config::Eal& eal) {
    if (eal.hugepages) {
        return "with eal.hugepages = true there must be free hugepages (see HugePages_Free in "
               "/proc/meminfo), or set it to false";
    }
    return "eal.memory_mb = " + std::to_string(eal.memory_mb) +
           " must fit in memory, and eal.arguments must be known to DPDK";
}

void remove_directory() {
    std::error_code ignored;
    std::filesystem::remove_all(started().directory / started().name, ignored);
    std::filesystem::remove(started().directory, ignored);  // only when empty: others may be there
}

}  // namespace

tl::expected<void, std::string> start_eal(const config::Eal& eal, std::string_view appliance_name,
                                          const std::filesystem::path& runtime_dir,
                                          std::span<const std::string> pci) {
    Started& state = started();
    if (!state.words.empty()) {
        return tl::unexpected<std::string>(
            "DPDK was started before in this process, and can only "
            "be started once: start a new process");
    }
    if (auto ready = prepare_directory(runtime_dir, appliance_name); !ready) return ready;

    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0) {
        return tl::unexpected("cannot read the processors allowed to this process: " +
                              std::string(std::strerror(errno)));
    }
    state.words = arguments(eal, appliance_name, pci, cpus);
    for (auto& word : state.words) state.argv.push_back(word.data());
    state.argv.push_back(nullptr);
    state.directory = runtime_dir / "dpdk";
    state.name = appliance_name;

    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    std::string log;
    int parsed = -1;
    int cause = 0;
    {
        ScopedVariable variable("RUNTIME_DIRECTORY", runtime_dir.native());
        LogCapture capture;
        parsed = rte_eal_init(static_cast<int>(state.argv.size()) - 1, state.argv.data());
        cause = rte_errno;
        log = capture.text();
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    sched_setaffinity(0, sizeof cpus, &cpus);
    if (parsed < 0) {
        remove_directory();
        return tl::unexpected("DPDK did not start (" + std::string(rte_strerror(cause)) +
                              "): " + (log.empty() ? std::string("it gave no reason") : log) +
                              "; " + advice(eal));
    }
    state.running = true;
    return {};
}

void stop_eal() {
    Started& state = started();
    if (!state.running) return;
    state.running = false;
    rte_eal_cleanup();
    remove_directory();
}

LogCapture::LogCapture() {
    stream_ = open_memstream(&bytes_, &size_);
    if (stream_ != nullptr) rte_openlog_stream(static_cast<FILE*>(stream_));
}

LogCapture::~LogCapture() {
    rte_openlog_stream(nullptr);
    if (stream_ != nullptr) std::fclose(static_cast<FILE*>(stream_));
    std::free(bytes_);
}

std::string LogCapture::text() {
    if (stream_ == nullptr) return {};
    std::fflush(static_cast<FILE*>(stream_));
    std::string all(bytes_, size_);
    while (!all.empty() && (all.back() == '\n' || all.back() == ' ')) all.pop_back();
    std::string joined;
    for (const char c : all) {
        if (c == '\n') {
            joined += "; ";
        } else {
            joined += c;
        }
    }
    return joined;
}

}  // namespace proxy
