// A replica whose network driver is the attacker: it speaks netif from userspace, answers every UDP
// packet with itself, honestly, until it is told to attack: by its arguments, or while it runs by
// the key data/quorate/tell ("NUMBER ATTACK"; the outcome is data/quorate/told). After each attack
// it connects anew and is honest again, so that the backend's mercy shows, too.
//
// Known limit: what the backend did is read from its state; counters are for Dom0 to look at.
#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "guest/agent/store.hh"
#include "guest/hostile/attacks.hh"
#include "guest/hostile/frontend.hh"

namespace {

using hostile::State;

constexpr const char* tell_key = "data/quorate/tell";
constexpr const char* told_key = "data/quorate/told";
constexpr const char* connected_file = "/run/service/connected";  // the image's health check looks
constexpr int reaction_ms_max = 3'000;
constexpr int look_ms = 100;
constexpr int connects_max = 20;

void say(const std::string& text) {
    std::printf("hostile: %s\n", text.c_str());
    std::fflush(stdout);
}

// What the backend made of it, for people and tests.
std::string reaction(hostile::Frontend& frontend) {
    const auto start = std::chrono::steady_clock::now();
    for (int waited = 0; waited < reaction_ms_max; waited += look_ms) {
        const State state = frontend.backend_state();
        if (state != State::connected) {
            const auto after = std::chrono::duration_cast<std::chrono::milliseconds>(
                std::chrono::steady_clock::now() - start);
            return "state " + std::to_string(static_cast<int>(state)) + " after " +
                   std::to_string(after.count()) + " ms";
        }
        hostile::pause_ms(look_ms);
    }
    return "still connected";
}

// The backend may make us wait after what we did.
std::string connect_again(hostile::Frontend& frontend) {
    std::string error;
    for (int i = 0; i < connects_max; ++i) {
        frontend.disconnect();
        error = frontend.connect();
        if (error.empty()) return "connected again";
    }
    return error;
}

std::string attack(hostile::Frontend& frontend, std::string_view name) {
    const hostile::Attack* found = hostile::find_attack(name);
    if (found == nullptr) return "error: no attack is named " + std::string(name);
    say(std::string(name) + ": " + std::string(found->about));
    found->run(frontend);
    const std::string seen = reaction(frontend);
    const std::string outcome = seen + ", " + connect_again(frontend);
    say(std::string(name) + ": " + outcome);
    return outcome;
}

// What Dom0 wants now, if it is something new.
void obey(hostile::Frontend& frontend, agent::Store& store, std::string& last) {
    const agent::Reply wanted = store.read(tell_key);
    if (!wanted.ok || wanted.text == last) return;
    last = wanted.text;
    const std::size_t space = last.find(' ');
    if (space == std::string::npos) return;
    store.write(told_key, last.substr(0, space + 1) +
                              attack(frontend, std::string_view(last).substr(space + 1)));
}

[[noreturn]] void serve(hostile::Frontend& frontend, agent::Store& store) {
    std::string last;
    for (;;) {
        pollfd ready{frontend.channel().file(), POLLIN, 0};
        // The backend may be about to publish without telling: look now and then.
        ::poll(&ready, 1, look_ms);
        for (int i = 0; i < 64 && frontend.serve() != 0; ++i) {
        }
        if ((ready.revents & POLLIN) == 0) obey(frontend, store, last);
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::string_view(argv[1]) == "--list") {
        for (const hostile::Attack& each : hostile::attacks()) {
            std::printf("%-20s%s\n", std::string(each.name).c_str(),
                        std::string(each.about).c_str());
        }
        return 0;
    }
    for (int i = 1; i < argc; ++i) {
        if (hostile::find_attack(argv[i]) == nullptr) {
            hostile::die(std::string("no attack is named ") + argv[i] + " (see --list)");
        }
    }
    agent::Store store;
    if (const std::string error = store.open(); !error.empty()) hostile::die(error);
    hostile::Frontend frontend(store);
    if (const std::string error = frontend.connect(); !error.empty()) hostile::die(error);
    say("connected");
    const int file = ::open(connected_file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    if (file >= 0) ::close(file);
    for (int i = 1; i < argc; ++i) attack(frontend, argv[i]);
    serve(frontend, store);
}
