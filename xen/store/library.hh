// A connection through libxenstore to the machine's xenstored.
//
// libxenstore's calls block as long as xenstored likes, so each runs on a thread that belongs to
// the connection, and its caller waits at most until the deadline. A call that is late makes the
// connection useless; its thread and handle are left behind until the call ends, if it ever does.
// At most `abandoned_max` such threads may exist in the process; then no connection is made.
//
// Known limit: libxenstore answers a request by whatever its reader thread hands it, so one slow
// answer costs the connection, not only the call.
#pragma once

#include "xen/store/store.hh"

namespace xen::store {

constexpr milliseconds call_deadline{3'000};
constexpr unsigned abandoned_max = 4;

Connect by_library(milliseconds deadline = call_deadline);

}  // namespace xen::store
