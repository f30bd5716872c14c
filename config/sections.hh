// The parts of the file, each read and checked in its own .cc. They share one Pass: the report, the
// configuration that grows, and where things stand that are checked against other parts.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/config.hh"
#include "config/reader.hh"

namespace config {

struct Pass {
    Config& config;
    Report& report;
    const Machine& machine;
    std::map<std::string, std::string> ports_used;  // resource() of a port -> its key
    std::vector<Spot> groups;                       // of config.groups, by index
    bool topology_known = true;
    bool groups_known = true;  // else complaints about a group that is not there would mislead
};

void read_appliance(Section& root, Pass& pass);
void read_client(Section& root, Pass& pass);
void read_eal(Section& root, Pass& pass);
void read_evidence(Section& root, Pass& pass);
void read_groups(Section& root, Pass& pass);
void read_replicas(Section& group_section, Pass& pass, Group& group);
void read_services(Section& root, Pass& pass);

XenReplica read_xen(Section& section, Pass& pass);

constexpr std::size_t command_words_max = 256;
constexpr std::size_t files_max = 256;

// Relative, no "..", no empty part.
bool is_inner_path(const std::string& text);
struct PathRule {
    bool (*right)(const std::string& path);
    const char* fix;
};
// The keys `files` and `copies`.
void read_files(Section& section, const Pass& pass, const PathRule& rule,
                std::map<std::string, std::string>& files,
                std::map<std::string, std::string>& copies);
// Where a file is that is written relative to the config, so that it works from every working
// directory; it must be there where the machine is looked at.
std::optional<std::filesystem::path> beside_config(const Section& section,
                                                   const Placed<std::string>& written,
                                                   const Pass& pass);

// The key must be there. A name of is_name() shape that `taken` has not yet; enters it.
bool read_name(Section& section, std::map<std::string, std::string>& taken, std::string& out);
// CPU numbers below `machine_cpus` (0: not known), each once.
void read_cpus(Section& section, unsigned machine_cpus, std::vector<unsigned>& out);
// A port that no other key has.
std::optional<PortSpec> take_port(Section& section, const Placed<std::string>& written, Pass& pass);

}  // namespace config
