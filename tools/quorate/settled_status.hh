// A status whose packet counts can be believed.
#pragma once

#include <nlohmann/json.hpp>
#include <tl/expected.hpp>

#include "tools/quorate/control_client.hh"

namespace quorate {

// The proxy reads its counters while its workers write them, so under load a status is often off by
// the packets of one turn. One that does not balance is therefore asked for again, for about a
// tenth of a second; what never balances in that time is reported as it is.
tl::expected<nlohmann::json, ControlError> settled_status(ControlClient& client);

}  // namespace quorate
