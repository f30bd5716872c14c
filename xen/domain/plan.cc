#include "xen/domain/plan.hh"

#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include <sys/random.h>
#include <unistd.h>

#include "recovery/process.hh"
#include "recovery/replica_record.hh"
#include "xen/domain/cpio.hh"

namespace xen::domain {
namespace {

using Json = recovery::RecordJson;

constexpr std::size_t copy_bytes_max = 16u << 20;
constexpr std::size_t seed_bytes = 32;  // as much as the kernel's generator has room for

std::string in_guest(const std::string& path) {
    return path.starts_with('/') ? path : "/etc/quorate/files/" + path;
}

std::string network_of(const config::Config& config, const std::string& group) {
    std::set<wire::IpAddress> addresses;
    for (const config::Service& service : config.services) {
        if (service.group != group) continue;
        addresses.insert(service.addresses.begin(), service.addresses.end());
    }
    std::string text = std::string("mac ") + replica_mac + "\n";
    bool v4 = false;
    bool v6 = false;
    for (const wire::IpAddress& address : addresses) {
        const std::string written = address.text();
        const bool is_v6 = written.find(':') != std::string::npos;
        (is_v6 ? v6 : v4) = true;
        text += "address " + written + (is_v6 ? "/128\n" : "/32\n");
    }
    // The appliance, on every replica's link.
    if (v4) text += "gateway 169.254.1.1\n";
    if (v6) text += "gateway6 fe80::1\n";
    return text;
}

}  // namespace

std::vector<GuestFile> guest_files(const config::Config& config, const recovery::ReplicaName& name,
                                   const config::XenImage& image) {
    std::vector<GuestFile> files;
    files.push_back({"/etc/quorate/network", network_of(config, name.group), {}});
    files.push_back({"/etc/quorate/name",
                     "group " + name.group + "\nslot " + std::to_string(name.slot.value) +
                         "\nincarnation " + std::to_string(name.incarnation.value) + "\n",
                     {}});
    if (!image.arguments.empty()) {
        std::string lines;
        for (const std::string& argument : image.arguments) lines += argument + "\n";
        files.push_back({"/etc/quorate/arguments", lines, {}});
    }
    for (const auto& [path, content] : image.files) {
        files.push_back({in_guest(path), content, {}});
    }
    for (const auto& [path, source] : image.copies) files.push_back({in_guest(path), {}, source});
    return files;
}

std::string domain_name(const config::Config& config, const recovery::ReplicaName& name) {
    return config::domain_name(config, config.group_index(name.group).value(), name.slot,
                               name.place == recovery::Place::b, name.incarnation);
}

Plan plan_of(const config::Config& config, const recovery::ReplicaName& name,
             const config::XenImage& image, const Uuid& uuid) {
    Plan plan;
    plan.domain_name = domain_name(config, name);
    plan.uuid = uuid;
    plan.appliance = config.name;
    plan.replica = name.group + "/" + std::to_string(name.slot.value);
    plan.incarnation = name.incarnation.value;
    plan.type = image.type;
    plan.kernel = image.kernel.native();
    plan.kernel_sha256 = image.kernel_sha256;
    plan.ramdisk = image.ramdisk.native();
    plan.ramdisk_sha256 = image.ramdisk_sha256;
    plan.command_line = image.command_line;
    plan.memory_mb = image.memory_mb;
    plan.vcpus = image.vcpus;
    plan.files = guest_files(config, name, image);
    return plan;
}

std::string to_text(const Plan& plan) {
    Json files = Json::array();
    for (const GuestFile& file : plan.files) {
        files.push_back({{"path", file.path}, {"content", file.content}, {"source", file.source}});
    }
    const Json json{{"domain_name", plan.domain_name},
                    {"uuid", plan.uuid.text()},
                    {"appliance", plan.appliance},
                    {"replica", plan.replica},
                    {"incarnation", plan.incarnation},
                    {"pvh", plan.type == config::DomainType::pvh},
                    {"kernel", plan.kernel},
                    {"kernel_sha256", plan.kernel_sha256},
                    {"ramdisk", plan.ramdisk},
                    {"ramdisk_sha256", plan.ramdisk_sha256},
                    {"command_line", plan.command_line},
                    {"memory_mb", plan.memory_mb},
                    {"vcpus", plan.vcpus},
                    {"files", files}};
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

tl::expected<Plan, std::string> parse_plan(const std::string& text) {
    return recovery::parsed<Plan>(text, [](const Json& json) {
        Plan plan;
        json.at("domain_name").get_to(plan.domain_name);
        const auto uuid = parse_uuid(json.at("uuid").get<std::string>());
        if (!uuid) throw std::string("uuid is none");
        plan.uuid = *uuid;
        json.at("appliance").get_to(plan.appliance);
        json.at("replica").get_to(plan.replica);
        json.at("incarnation").get_to(plan.incarnation);
        plan.type = json.at("pvh").get<bool>() ? config::DomainType::pvh : config::DomainType::pv;
        json.at("kernel").get_to(plan.kernel);
        json.at("kernel_sha256").get_to(plan.kernel_sha256);
        json.at("ramdisk").get_to(plan.ramdisk);
        json.at("ramdisk_sha256").get_to(plan.ramdisk_sha256);
        json.at("command_line").get_to(plan.command_line);
        json.at("memory_mb").get_to(plan.memory_mb);
        json.at("vcpus").get_to(plan.vcpus);
        for (const Json& file : json.at("files")) {
            plan.files.push_back({file.at("path").get<std::string>(),
                                  file.at("content").get<std::string>(),
                                  file.at("source").get<std::string>()});
        }
        return plan;
    });
}

tl::expected<GuestFile, std::string> seed_file() {
    std::string seed(seed_bytes, '\0');
    if (::getrandom(seed.data(), seed.size(), 0) != static_cast<ssize_t>(seed.size())) {
        return tl::unexpected(recovery::with_cause("cannot make a seed for the guest"));
    }
    return GuestFile{"/etc/quorate/seed", seed, {}, true};
}

tl::expected<std::string, std::string> archive(const std::vector<GuestFile>& files) {
    CpioWriter writer;
    for (const GuestFile& file : files) {
        if (file.source.empty()) {
            writer.add(file.path, file.content,
                       file.root_only ? CpioWriter::For::root_only : CpioWriter::For::reading);
            continue;
        }
        std::ifstream in(file.source, std::ios::binary);
        std::string content(std::istreambuf_iterator<char>(in), {});
        if (!in.good() && !in.eof()) return tl::unexpected("cannot read " + file.source);
        if (content.size() > copy_bytes_max) {
            return tl::unexpected(file.source + " is larger than " +
                                  std::to_string(copy_bytes_max >> 20) + " MiB");
        }
        const bool runs = ::access(file.source.c_str(), X_OK) == 0;
        writer.add(file.path, content, runs ? CpioWriter::For::running : CpioWriter::For::reading);
    }
    return writer.finish();
}

}  // namespace xen::domain
