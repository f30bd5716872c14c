// For tests: QUORATE_CRASH_POINT="NAME:K" kills this process at the K-th pass of crash point NAME
// (by whatever worker), as if from outside. Without the variable nothing happens.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "proxy/crash_point.hh"

namespace proxy {

namespace {

struct Order {
    CrashPoint where{};
    long pass = 0;  // 0: none
};

Order read_order() {
    const char* text = std::getenv("QUORATE_CRASH_POINT");
    if (text == nullptr) return {};
    const char* colon = std::strchr(text, ':');
    for (std::size_t i = 0; colon != nullptr && i < crash_point_names.size(); ++i) {
        if (crash_point_names[i] != std::string_view(text, colon)) continue;
        const long pass = std::strtol(colon + 1, nullptr, 10);
        if (pass > 0) return {static_cast<CrashPoint>(i), pass};
    }
    std::fprintf(stderr, "QUORATE_CRASH_POINT=%s is not NAME:K with a known name\n", text);
    std::abort();
}

}  // namespace

void crash_point(CrashPoint where) {
    static const Order order = read_order();
    static std::atomic<long> passes{0};
    if (order.pass == 0 || where != order.where) return;
    if (passes.fetch_add(1, std::memory_order_relaxed) + 1 == order.pass) raise(SIGKILL);
}

}  // namespace proxy
