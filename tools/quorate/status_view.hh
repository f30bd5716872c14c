// A status as a page of text, once (`status`) or with rates since an earlier one (`top`).
#pragma once

#include "tools/quorate/proxy_status.hh"
#include "tools/quorate/styled_text.hh"

namespace quorate {

Lines status_page(const ProxyStatus& status);

// Counters per second between two statuses of the same proxy; nullopt: not known, or the counter
// went back because the proxy was started anew.
std::optional<double> per_second(const Count& before, const Count& now, double interval_s);

// The same page with rates in place of totals; what should not happen keeps its total, too.
Lines top_page(const ProxyStatus& before, const ProxyStatus& now, double interval_s);

// One line for each group, for logs and pipes.
Lines top_lines(const ProxyStatus& before, const ProxyStatus& now, double interval_s,
                const std::string& clock);

// The rates as one JSON object, for programs.
nlohmann::ordered_json top_json(const ProxyStatus& before, const ProxyStatus& now,
                                double interval_s);

// Groups and replicas are found again by name: a reload may change their order.
const GroupStatus* find_group(const ProxyStatus& status, const std::string& name);
const ReplicaStatus* find_replica(const GroupStatus* group, const std::string& name);

}  // namespace quorate
