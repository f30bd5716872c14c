#include "xen/domain/keeper.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "recovery/log.hh"
#include "recovery/process.hh"
#include "xen/domain/devices.hh"
#include "xen/domain/record.hh"
#include "xen/domain/text.hh"
#include "xen/store/store.hh"

namespace xen::domain {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;
using recovery::Descriptor;
using recovery::milliseconds;

constexpr milliseconds look_pause{1'000};  // between looks at the domain without an event
constexpr milliseconds last_words{300};    // for what is still in the console when it has ended
constexpr std::size_t part_bytes = 4'096;
constexpr std::size_t tty_bytes_max = 64;

// Only what xenconsoled makes.
bool is_terminal(const std::string& path) {
    constexpr std::string_view start = "/dev/pts/";
    return path.starts_with(start) && path.size() > start.size() &&
           std::all_of(path.begin() + start.size(), path.end(),
                       [](char c) { return c >= '0' && c <= '9'; });
}

class Keeper {
  public:
    Keeper(Machine& machine, KeeperOrder order, store::Store store)
        : machine_(machine),
          order_(std::move(order)),
          store_(std::move(store)),
          log_(order_.log_file),
          tty_node_("/local/domain/" + std::to_string(order_.domain.value) + "/console/tty") {
        sigset_t signals;
        ::sigemptyset(&signals);
        ::sigaddset(&signals, SIGTERM);
        ::sigaddset(&signals, SIGINT);
        ::sigprocmask(SIG_BLOCK, &signals, nullptr);
        signals_ = Descriptor(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
        static_cast<void>(store_.watch(tty_node_, "tty"));
        static_cast<void>(store_.watch("@releaseDomain", "gone"));
        open_console();
    }

    void run() {
        auto look_at = Clock::now();
        for (;;) {
            const auto left = std::chrono::ceil<milliseconds>(look_at - Clock::now());
            std::array<pollfd, 3> ready{{{signals_.get(), POLLIN, 0},
                                         {store_.fd(), POLLIN, 0},
                                         {console_.get(), POLLIN, 0}}};
            ::poll(ready.data(), ready.size(), static_cast<int>(std::max(left.count(), 0l)));
            if (ready[0].revents != 0) return drain();
            if (ready[2].revents != 0) read_console();
            if (take_events() || Clock::now() >= look_at) {
                look_at = Clock::now() + look_pause;
                if (console_.get() < 0) open_console();
                if (const auto end = look()) return note_end(*end);
            }
        }
    }

  private:
    // Did any come?
    bool take_events() {
        bool any = false;
        for (;;) {
            const auto event = store_.next_event(milliseconds(0));
            if (!event || !*event) return any;  // without xenstored the clock must do
            any = true;
        }
    }

    void open_console() {
        const auto path = store_.read_if_there(tty_node_, tty_bytes_max);
        if (!path || !*path || !is_terminal(**path)) return;
        console_ = Descriptor(
            ::open((*path)->c_str(), O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
    }

    // False: nothing more for now.
    bool read_console() {
        std::array<char, part_bytes> part;
        const ssize_t got = ::read(console_.get(), part.data(), part.size());
        if (got > 0) {
            log_.write(plain({part.data(), static_cast<std::size_t>(got)}));
            return true;
        }
        // Its other end was closed: xenconsoled has given it up, or was restarted.
        if (got == 0 || (errno != EAGAIN && errno != EINTR)) console_.reset();
        return false;
    }

    void drain() {
        const auto end = Clock::now() + last_words;
        while (console_.get() >= 0 && Clock::now() < end) {
            pollfd ready{console_.get(), POLLIN, 0};
            if (::poll(&ready, 1, 100) <= 0 || !read_console()) return;
        }
    }

    // How it ended, if it did.
    std::optional<std::string> look() {
        const auto domains = machine_.domains();
        if (!domains) return std::nullopt;  // the next look may tell
        const auto found =
            std::find_if(domains->begin(), domains->end(),
                         [&](const DomainFacts& each) { return each.uuid == order_.uuid; });
        // A dying one only waits for whoever still has its memory mapped: the proxy.
        if (found == domains->end() || found->state == State::dying) {
            static_cast<void>(remove_devices(store_, order_.domain, order_.uuid));
            return "was destroyed by somebody else";
        }
        if (found->id != order_.domain) {
            return "was replaced by domain " + std::to_string(found->id.value);
        }
        if (found->lives()) return std::nullopt;
        return text(found->state);
    }

    void note_end(const std::string& how) {
        drain();
        std::string detail;
        const auto changed = change_record(order_.record_file, order_.uuid, [&](Record& record) {
            if (record.phase != Phase::running) return;  // whoever starts it sees it, too
            record.phase = Phase::ended;
            detail = how + " at " + time_text() + "; it was " + record.detail;
            record.detail = detail;
        });
        log_.note("domain " + std::to_string(order_.domain.value) + " " + how +
                  (changed ? "" : "; " + changed.error()));
    }

    Machine& machine_;
    KeeperOrder order_;
    store::Store store_;
    recovery::Log log_;
    std::string tty_node_;
    Descriptor signals_;
    Descriptor console_;
};

tl::expected<KeeperOrder, std::string> read_order() {
    std::string text;
    std::array<char, 4'096> part;
    ssize_t got;
    while ((got = ::read(0, part.data(), part.size())) > 0) {
        text.append(part.data(), static_cast<std::size_t>(got));
    }
    return parse_order(text);
}

int fail(const std::string& why) {
    std::fprintf(stderr, "replica-console is for Quorate's own use: %s\n", why.c_str());
    return 1;
}

}  // namespace

std::string to_text(const KeeperOrder& order) {
    return Json{{"record_file", order.record_file},
                {"log_file", order.log_file},
                {"uuid", order.uuid.text()},
                {"domain", order.domain.value}}
        .dump();
}

tl::expected<KeeperOrder, std::string> parse_order(const std::string& text) {
    try {
        const Json json = Json::parse(text);
        const auto uuid = parse_uuid(json.at("uuid").get<std::string>());
        if (!uuid) return tl::unexpected(std::string("uuid is none"));
        return KeeperOrder{json.at("record_file").get<std::string>(),
                           json.at("log_file").get<std::string>(), *uuid,
                           DomainId{json.at("domain").get<std::uint16_t>()}};
    } catch (const Json::exception& error) {
        return tl::unexpected(std::string(error.what()));
    }
}

int run_keeper(Machine& machine) {
    auto order = read_order();
    if (!order) return fail(order.error());
    const pid_t background = ::fork();
    if (background < 0) return fail(recovery::with_cause("cannot fork"));
    // What is printed until the keeper stands holds whoever called us.
    if (background > 0) return 0;
    ::setsid();
    ::signal(SIGHUP, SIG_IGN);
    ::signal(SIGPIPE, SIG_IGN);
    ::umask(077);
    ::prctl(PR_SET_NAME, "quorate-console");
    auto store = store::Store::open();
    if (!store) ::_exit(fail(store.error().what));
    const auto self = recovery::identify(::getpid());
    const auto taken = change_record(order->record_file, order->uuid, [&](Record& record) {
        if (self) record.keeper = *self;
    });
    if (!taken || !*taken) ::_exit(fail("its record is not there"));
    Keeper keeper(machine, std::move(*order), std::move(*store));
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int target = 0; target < 3; ++target) ::dup2(null, target);
    ::close(null);
    if (::chdir("/") != 0) ::_exit(1);
    keeper.run();
    ::_exit(0);
}

}  // namespace xen::domain
