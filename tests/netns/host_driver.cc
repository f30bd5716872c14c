// Calls a replica host as a controller would, for the tests of both: the namespace host, or the Xen
// host where the configuration has a domain.
//
//     host_driver CONFIG start|stop|pause|resume GROUP SLOT PLACE INCARNATION
//     host_driver CONFIG inspect|clean
//
// One line of JSON, {"ok": true, ...} or {"ok": false, "error": "..."}; exit status 0 or 1.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "config/config.hh"
#include "netns/host.hh"
#include "netns/supervisor.hh"
#include "xen/domain/helper.hh"
#include "xen/domain/host.hh"
#include "xen/domain/keeper.hh"
#include "xen/domain/xen_machine.hh"
#include "xen/store/library.hh"

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

template <recovery::ReplicaHost Host>
int drive(Host host, const std::string& verb, char** words) {
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

bool has_domains(const config::Config& config) {
    return std::any_of(config.groups.begin(), config.groups.end(), [](const auto& group) {
        return std::any_of(group.replicas.begin(), group.replicas.end(),
                           [](const auto& replica) { return replica.xen.has_value(); });
    });
}

std::shared_ptr<xen::domain::XenMachine> machine() {
    using Command = std::vector<std::string>;
    return std::make_shared<xen::domain::XenMachine>(
        Command{"host_driver", xen::domain::helper_subcommand},
        Command{"host_driver", xen::domain::keeper_subcommand});
}

}  // namespace

int main(int argc, char** argv) {
    const std::string first = argc > 1 ? argv[1] : "";
    if (first == netns::supervisor_subcommand) return netns::run_supervisor();
    if (first == xen::domain::helper_subcommand) return xen::domain::run_helper();
    if (first == xen::domain::keeper_subcommand) return xen::domain::run_keeper(*machine());
    if (argc != 3 && argc != 7) return 2;
    const auto config = config::load(argv[1]);
    if (!config) return print({{"ok", false}, {"error", config.error().text()}});
    if (has_domains(*config)) {
        return drive(xen::domain::Host(*config, machine(), xen::store::by_library()), argv[2],
                     argv + 3);
    }
    return drive(netns::Host(*config, {"host_driver", netns::supervisor_subcommand}), argv[2],
                 argv + 3);
}
