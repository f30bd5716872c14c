// The program as it is used: nothing happens at a crash point.
#include "proxy/crash_point.hh"

namespace proxy {

void crash_point(CrashPoint) {}

}  // namespace proxy
