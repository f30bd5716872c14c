// The names of recovery/process.hh, which all files here use.
#pragma once

#include "recovery/process.hh"

namespace netns {

using recovery::Descriptor;
using recovery::Finished;
using recovery::ProcessIdentity;

using recovery::describe_end;
using recovery::identify;
using recovery::is_alive;
using recovery::run;
using recovery::send_signal;
using recovery::wait_for_end;
using recovery::with_cause;

using std::chrono::milliseconds;

}  // namespace netns
