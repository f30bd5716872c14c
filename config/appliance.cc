// [appliance], [client], [eal] and [evidence].
#include <algorithm>
#include <bit>

#include "config/sections.hh"
#include "config/words.hh"

namespace config {

namespace {

// sun_path has 108 bytes: "/control.sock" and the NUL take 14.
constexpr std::size_t state_dir_length_max = 108 - 14;
constexpr std::int64_t cpu_number_max = 4095;

bool is_appliance_name(std::string_view text) {
    return !text.empty() && text.size() <= 16 && text.front() != '-' &&
           std::all_of(text.begin(), text.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
           });
}

void read_state_dir(Section& section, Pass& pass) {
    Config& config = pass.config;
    std::string directory;
    if (section.text("state_dir", directory)) {
        if (!directory.starts_with('/')) {
            section.wrong("state_dir", "is " + in_quotes(directory), "write an absolute path");
            return;
        }
        config.state_dir = std::filesystem::path(directory).lexically_normal();
        // "/run/box/" and "/run/box" are one directory, and should be one text.
        if (!config.state_dir.has_filename()) config.state_dir = config.state_dir.parent_path();
    } else if (section.has("state_dir")) {
        return;
    } else if (pass.machine.run_directory.empty()) {
        section.wrong("state_dir", "is missing, and XDG_RUNTIME_DIR is not set",
                      "write an absolute path of a directory that is yours");
        return;
    } else {
        config.state_dir = pass.machine.run_directory / config.name;
    }
    if (config.state_dir.native().size() > state_dir_length_max) {
        section.wrong("state_dir",
                      "has " + std::to_string(config.state_dir.native().size()) + " characters",
                      "write at most " + std::to_string(state_dir_length_max) +
                          ": its control.sock must fit the address of a Unix socket");
    }
}

void read_control_mode(Section& section, Config& config) {
    std::string written;
    if (!section.text("control_mode", written)) return;
    std::uint32_t mode = 0;
    bool octal = written.size() <= 4;
    for (const char c : written) {
        octal = octal && c >= '0' && c <= '7';
        mode = mode * 8 + static_cast<std::uint32_t>(c - '0');
    }
    if (!octal || mode > 0777) {
        section.wrong("control_mode", "is " + in_quotes(written),
                      "write permissions in octal, like \"0600\" or \"0660\"");
    } else if ((mode & 07) != 0) {
        section.wrong("control_mode", "is " + in_quotes(written) + ", which lets everybody in",
                      "write at most \"0660\": whoever opens the socket can suspend replicas");
    } else if ((mode & 0600) != 0600) {
        section.wrong("control_mode", "is " + in_quotes(written) + ", which keeps the owner out",
                      "write \"0600\" or \"0660\"");
    } else {
        config.control_mode = mode;
    }
}

}  // namespace

bool read_name(Section& section, std::map<std::string, std::string>& taken, std::string& out) {
    if (!section.text("name", out)) {
        section.required("name", "write name = \"...\"");
        return false;
    }
    if (!is_name(out)) {
        section.wrong("name", "is " + in_quotes(out),
                      "write 1 to 32 letters, digits, '-' or '_', a letter or digit first");
        return false;
    }
    const auto [found, fresh] = taken.emplace(out, section.spot("name").key);
    if (!fresh) {
        section.wrong("name", "is " + in_quotes(out) + ", which " + found->second + " is called",
                      "give each its own name");
    }
    return fresh;
}

void read_cpus(Section& section, unsigned machine_cpus, std::vector<unsigned>& out) {
    const std::int64_t last = machine_cpus == 0 ? cpu_number_max : std::int64_t{machine_cpus} - 1;
    for (const auto& [cpu, spot] : section.numbers("cpus", 1024, 0, cpu_number_max)) {
        const auto number = static_cast<unsigned>(cpu);
        if (cpu > last) {
            section.wrong(spot, "is " + std::to_string(cpu) + ", which this machine does not have",
                          "write numbers from 0 to " + std::to_string(last));
        } else if (std::find(out.begin(), out.end(), number) != out.end()) {
            section.wrong(spot, "is " + std::to_string(cpu) + " again", "write each CPU once");
        } else {
            out.push_back(number);
        }
    }
}

std::optional<PortSpec> take_port(Section& section, const Placed<std::string>& written,
                                  Pass& pass) {
    auto port = parse_port(written.value);
    if (!port) {
        section.wrong(written.spot, port.error().what, port.error().fix);
        return std::nullopt;
    }
    const auto [found, fresh] = pass.ports_used.emplace(port->resource(), written.spot.key);
    if (!fresh) {
        section.wrong(
            written.spot,
            "is " + in_quotes(written.value) + ", which " + found->second + " has already",
            "give each its own port");
        return std::nullopt;
    }
    return *port;
}

void read_appliance(Section& root, Pass& pass) {
    Config& config = pass.config;
    Section section = root.section("appliance");
    std::string name;
    if (section.text("name", name)) {
        if (is_appliance_name(name)) {
            config.name = name;
        } else {
            section.wrong("name", "is " + in_quotes(name),
                          "write 1 to 16 of a-z, 0-9 and '-', not '-' first");
        }
    }
    read_state_dir(section, pass);
    read_control_mode(section, config);
    section.number("workers", 1, workers_max, config.workers);
    const std::size_t before = pass.report.count();
    read_cpus(section, pass.machine.cpus, config.cpus);
    if (section.has("cpus") && before == pass.report.count() &&
        config.cpus.size() != config.workers && !config.cpus.empty()) {
        section.wrong("cpus",
                      "has " + counted(config.cpus.size(), "CPU") + " for " +
                          counted(config.workers, "worker"),
                      "write one CPU for each worker, or leave cpus out");
    }
    section.number("idle_us", 0, 1'000'000, config.idle_us);
    pass.topology_known =
        section.choice("topology", {{"vip", Topology::vip}, {"inline", Topology::inline_}},
                       config.topology) ||
        !section.has("topology");
    if (section.number("ballots_max", 1 << 8, 1 << 22, config.ballots_max) &&
        !std::has_single_bit(config.ballots_max)) {
        const std::uint32_t next = std::bit_ceil(config.ballots_max);
        section.wrong("ballots_max",
                      "is " + std::to_string(config.ballots_max) + ", not a power of two",
                      "write " + std::to_string(next / 2) + " or " + std::to_string(next));
    }
    section.finish();
}

void read_client(Section& root, Pass& pass) {
    Config& config = pass.config;
    Section section = root.section("client");
    const bool vip = config.topology == Topology::vip;
    const std::string fix = vip ? "topology = \"vip\" has one port: ports = [\"veth:IFNAME\"]"
                                : "topology = \"inline\" has two, outside and inside: ports = "
                                  "[\"veth:OUTSIDE\", \"veth:INSIDE\"]";
    section.required("ports", fix);
    const std::size_t before = pass.report.count();
    for (const auto& written : section.texts("ports", 2)) {
        if (auto port = take_port(section, written, pass)) config.client_ports.push_back(*port);
    }
    const std::size_t wanted = vip ? 1 : 2;
    if (section.has("ports") && before == pass.report.count() && pass.topology_known &&
        config.client_ports.size() != wanted) {
        section.wrong("ports", "has " + counted(config.client_ports.size(), "port"), fix);
    }
    std::string gateway;
    if (section.text("gateway", gateway)) {
        config.gateway = wire::MacAddress::parse(gateway);
        if (!config.gateway) {
            section.wrong("gateway", "is " + in_quotes(gateway),
                          "write a MAC address like \"02:00:00:00:00:01\"");
        } else if (config.gateway->is_multicast() || *config.gateway == wire::MacAddress{}) {
            section.wrong("gateway",
                          "is " + in_quotes(gateway) + ", which is no station's own address",
                          "write the gateway's unicast MAC address");
        }
    }
    section.finish();
}

void read_eal(Section& root, Pass& pass) {
    Eal& eal = pass.config.eal;
    Section section = root.section("eal");
    section.flag("hugepages", eal.hugepages);
    section.number("memory_mb", 64, 1 << 20, eal.memory_mb);
    for (auto& argument : section.texts("arguments", 64)) {
        eal.arguments.push_back(std::move(argument.value));
    }
    section.finish();
}

void read_evidence(Section& root, Pass& pass) {
    Evidence& evidence = pass.config.evidence;
    Section section = root.section("evidence");
    section.flag("enabled", evidence.enabled);
    std::string directory;
    evidence.directory = pass.config.state_dir / "evidence";
    if (section.text("directory", directory)) {
        evidence.directory = std::filesystem::path(directory).lexically_normal();
        if (!evidence.directory.is_absolute()) {
            section.wrong("directory", "is " + in_quotes(directory), "write an absolute path");
        }
    }
    section.size("file_bytes", 64u << 10, 4ull << 30, evidence.file_bytes);
    section.number("files_max", 1, 10'000, evidence.files_max);
    section.number("per_second_max", 1, 1'000'000, evidence.per_second_max);
    section.flag("redact_payload", evidence.redact_payload);
    section.finish();
}

}  // namespace config
