// quorate top: the same as status, living. A screen on a terminal, lines in a pipe, JSON for
// programs. Once it has seen the proxy it waits for it when it goes away.
#include <cstdio>
#include <ctime>
#include <memory>
#include <optional>

#include <CLI/CLI.hpp>
#include <poll.h>
#include <unistd.h>

#include "tools/quorate/commands.hh"
#include "tools/quorate/control_options.hh"
#include "tools/quorate/output.hh"
#include "tools/quorate/screen.hh"
#include "tools/quorate/settled_status.hh"
#include "tools/quorate/status_view.hh"

namespace quorate {

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
    ControlOptions control;
    double interval_s = 1;
    std::uint64_t count = 0;  // 0: until told otherwise
    bool json = false;
    bool plain = false;
};

struct Sample {
    ProxyStatus status;
    Clock::time_point taken;
};

// Asks again and again, over one connection as long as it holds.
class Feed {
  public:
    explicit Feed(const ControlOptions& options)
        : socket_(control_socket(options)), timeout_(options.timeout()) {}

    tl::expected<Sample, ControlError> take() {
        if (!client_) {
            auto connected = ControlClient::connect(socket_, timeout_);
            if (!connected) return tl::unexpected(connected.error());
            client_.emplace(std::move(*connected));
        }
        const auto status = settled_status(*client_);
        if (!status) {
            client_.reset();
            return tl::unexpected(status.error());
        }
        return Sample{read_status(*status), Clock::now()};
    }

  private:
    std::filesystem::path socket_;
    std::chrono::milliseconds timeout_;
    std::optional<ControlClient> client_;
};

std::string wall_clock() {
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    localtime_r(&now, &local);
    char text[16];
    std::strftime(text, sizeof text, "%H:%M:%S", &local);
    return text;
}

double seconds_between(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

Clock::duration interval_of(const Options& options) {
    return std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(options.interval_s));
}

void pause_until(Clock::time_point until) {
    for (Clock::time_point now = Clock::now(); now < until; now = Clock::now()) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now);
        ::poll(nullptr, 0, static_cast<int>(left.count()));
    }
}

void print_sample(const Options& options, const Sample& before, const Sample& now) {
    const double interval_s = seconds_between(before.taken, now.taken);
    if (options.json) {
        nlohmann::ordered_json object = top_json(before.status, now.status, interval_s);
        object["unix_time"] = static_cast<std::int64_t>(std::time(nullptr));
        print_json(object);
    } else {
        const Lines lines = top_lines(before.status, now.status, interval_s, wall_clock());
        std::fputs(text_of(lines, wants_colour(STDOUT_FILENO)).c_str(), stdout);
    }
    std::fflush(stdout);
}

void print_problem(const Options& options, const ControlError& error) {
    if (options.json) {
        print_json(nlohmann::ordered_json{
            {"error", error.what}, {"unix_time", static_cast<std::int64_t>(std::time(nullptr))}});
    } else {
        std::printf("%s  %s\n", wall_clock().c_str(), error.what.c_str());
    }
    std::fflush(stdout);
}

// Returns whether the proxy was there in the end.
bool run_lines(const Options& options, Feed& feed, Sample before) {
    bool there = true;
    Clock::time_point next = Clock::now();
    for (std::uint64_t shown = 0; options.count == 0 || shown < options.count; ++shown) {
        // Missed ones are left out.
        next = std::max(next + interval_of(options), Clock::now());
        pause_until(next);
        const auto now = feed.take();
        there = now.has_value();
        if (now) {
            print_sample(options, before, *now);
            before = *now;
        } else {
            print_problem(options, now.error());
        }
        if (std::ferror(stdout) != 0) break;
    }
    return there;
}

bool run_screen(const Options& options, Feed& feed, Sample before, Screen& screen) {
    Lines page = status_page(before.status);
    std::string problem;
    bool there = true;
    for (std::uint64_t shown = 0; options.count == 0 || shown < options.count; ++shown) {
        const Clock::time_point next = Clock::now() + interval_of(options);
        while (true) {
            screen.show(page,
                        wall_clock() + "  " +
                            (problem.empty() ? "q quit   space now   arrows scroll" : problem));
            const Screen::Event event = screen.wait(next);
            if (event == Screen::Event::quit) return there;
            if (event == Screen::Event::refresh || Clock::now() >= next) break;
        }
        const auto now = feed.take();
        there = now.has_value();
        problem = there ? std::string() : now.error().what;
        if (!now) continue;
        page = top_page(before.status, now->status, seconds_between(before.taken, now->taken));
        before = *now;
    }
    return there;
}

void top(const Options& options) {
    Feed feed(options.control);
    const auto first = feed.take();
    if (!first) leave_with(first.error());
    std::unique_ptr<Screen> screen;
    if (!options.json && !options.plain) screen = Screen::open();
    const bool there = screen != nullptr ? run_screen(options, feed, *first, *screen)
                                         : run_lines(options, feed, *first);
    screen.reset();
    if (!there) leave(Exit::unreachable);
}

}  // namespace

void add_top(CLI::App& app) {
    auto options = std::make_shared<Options>();
    CLI::App* command = app.add_subcommand(
        "top",
        "Watch a running proxy: rates, votes and replicas, live.\n"
        "Full screen on a terminal; one line per group and interval where stdout is not one.");
    add_control_options(*command, options->control);
    command->add_option("--interval,-i", options->interval_s, "seconds between two looks")
        ->capture_default_str()
        ->check(CLI::Range(0.1, 3600.0));
    command->add_option("--count,-n", options->count, "end after this many; 0: never")
        ->capture_default_str();
    command->add_flag("--json", options->json, "print one JSON object per interval instead");
    command->add_flag("--plain", options->plain, "print lines on a terminal, too");
    command->callback([options] { top(*options); });
}

}  // namespace quorate
