// Everything that the builder of a domain is told: plain values, from the configuration and the
// record, and as JSON for the process that builds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "config/config.hh"
#include "recovery/replica_host.hh"
#include "xen/domain/uuid.hh"

namespace xen::domain {

struct GuestFile {
    std::string path;  // absolute, in the guest
    std::string content;
    std::string source;  // where it is not empty: a file of ours to copy instead
    bool root_only = false;
};

struct Plan {
    std::string domain_name;  // for people who read `xl list`
    Uuid uuid;
    std::string appliance;  // marks it as ours
    std::string replica;    // "GROUP/SLOT"
    std::uint32_t incarnation = 0;
    config::DomainType type = config::DomainType::pv;
    std::string kernel;
    std::string kernel_sha256;
    std::string ramdisk;
    std::string ramdisk_sha256;
    std::string command_line;
    std::uint32_t memory_mb = 0;
    std::uint32_t vcpus = 0;
    std::vector<GuestFile> files;  // appended to the ramdisk
};

// What the guest finds in /etc/quorate: network, name, arguments, files/; and seed, see below.
std::vector<GuestFile> guest_files(const config::Config& config, const recovery::ReplicaName& name,
                                   const config::XenImage& image);

Plan plan_of(const config::Config& config, const recovery::ReplicaName& name,
             const config::XenImage& image, const Uuid& uuid);

// Of a replica that the configuration has (config::domain_name()).
std::string domain_name(const config::Config& config, const recovery::ReplicaName& name);

std::string to_text(const Plan& plan);
tl::expected<Plan, std::string> parse_plan(const std::string& text);

// Randomness for one boot, from this machine's: a guest has no other source so early, and no two
// boots may have the same. Made where a domain is built, so that it is nowhere else.
tl::expected<GuestFile, std::string> seed_file();

// The archive of its files; an error names the file that cannot be read.
tl::expected<std::string, std::string> archive(const std::vector<GuestFile>& files);

constexpr const char* replica_mac = "02:51:00:00:00:02";  // the same for all, as in namespaces

}  // namespace xen::domain
