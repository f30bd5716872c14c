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

// The key must be there. A name of is_name() shape that `taken` has not yet; enters it.
bool read_name(Section& section, std::map<std::string, std::string>& taken, std::string& out);
// CPU numbers of this machine, each once.
void read_cpus(Section& section, const Pass& pass, std::vector<unsigned>& out);
// A port that no other key has.
std::optional<PortSpec> take_port(Section& section, const Placed<std::string>& written, Pass& pass);

}  // namespace config
