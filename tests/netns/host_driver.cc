// Calls the namespace host as a controller would, for the tests of it:
//
//     host_driver CONFIG start|stop|pause|resume GROUP SLOT PLACE INCARNATION
//     host_driver CONFIG inspect|clean
//
// One line of JSON, {"ok": true, ...} or {"ok": false, "error": "..."}; exit status 0 or 1.
#include <cstdio>
#include <cstdlib>
#include <string>

#include <nlohmann/json.hpp>

#include "config/config.hh"
#include "netns/host.hh"
#include "netns/supervisor.hh"

namespace {

using nlohmann::json;

json json_of(const recovery::ReplicaFacts& facts) {
    return {{"group", facts.name.group},
            {"slot", facts.name.slot.value},
            {"place", recovery::text(facts.name.place)},
            {"incarnation", facts.name.incarnation.value},
            {"running", facts.running},
            {"pid", facts.pid},
            {"port", facts.port},
            {"detail", facts.detail}};
}

int print(const json& object) {
    std::printf("%s\n", object.dump().c_str());
    return object["ok"] == true ? 0 : 1;
}

template <class Value, class Convert>
int print_result(const tl::expected<Value, recovery::HostError>& result, Convert&& convert) {
    if (!result) return print({{"ok", false}, {"error", result.error().what}});
    json object = convert();
    object["ok"] = true;
    return print(object);
}

int drive(const config::Config& config, const std::string& verb, char** words) {
    netns::Host host(config, {"host_driver", netns::supervisor_subcommand});
    if (verb == "inspect") {
        const auto all = host.inspect();
        return print_result(all, [&] {
            json replicas = json::array();
            for (const auto& facts : *all) replicas.push_back(json_of(facts));
            return json{{"replicas", replicas}};
        });
    }
    if (verb == "clean") {
        const auto removed = host.clean();
        return print_result(removed, [&] { return json{{"removed", *removed}}; });
    }
    const recovery::ReplicaName name{
        words[0], voter::ReplicaId{static_cast<std::uint8_t>(std::atoi(words[1]))},
        voter::Incarnation{static_cast<std::uint32_t>(std::atoi(words[3]))},
        recovery::parse_place(words[2]).value_or(recovery::Place::a)};
    if (verb == "start") {
        const auto facts = host.start(name);
        return print_result(facts, [&] { return json{{"replica", json_of(*facts)}}; });
    }
    const auto done = verb == "stop"    ? host.stop(name)
                      : verb == "pause" ? host.pause(name)
                                        : host.resume(name);
    return print_result(done, [] { return json::object(); });
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1 && std::string(argv[1]) == netns::supervisor_subcommand) {
        return netns::run_supervisor();
    }
    if (argc != 3 && argc != 7) return 2;
    const auto config = config::load(argv[1]);
    if (!config) return print({{"ok", false}, {"error", config.error().text()}});
    return drive(*config, argv[2], argv + 3);
}
