// Starting and stopping DPDK's environment, the way an appliance wants it: no hugepages unless
// asked for, no secondary processes, no bus scan unless a physical port is configured, nothing
// left behind. DPDK allows one start in a process's life; a second one is an error in words.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "config/config.hh"

namespace proxy {

// Before any other thread exists: the environment is changed for the duration of the call, and
// DPDK's own threads inherit a signal mask in which everything is blocked. The calling thread's
// affinity and signal mask are as before afterwards. `runtime_dir` is created if it is not there;
// the telemetry socket appears in it as dpdk/NAME/dpdk_telemetry.v2. `pci` lists the addresses of
// the physical ports that will ever be opened: no other device is touched.
tl::expected<void, std::string> start_eal(const config::Eal& eal, std::string_view appliance_name,
                                          const std::filesystem::path& runtime_dir,
                                          std::span<const std::string> pci = {});

// When all ports are closed and no worker touches DPDK any more. Harmless when not started.
void stop_eal();

// Where DPDK's log lines go while one of its slow calls runs, so that what a driver only logs can
// be told to the person who asked. One at a time, process-wide.
class LogCapture {
  public:
    LogCapture();
    ~LogCapture();
    LogCapture(const LogCapture&) = delete;
    LogCapture& operator=(const LogCapture&) = delete;

    std::string text();  // what was logged until now, lines joined by "; "

  private:
    char* bytes_ = nullptr;
    std::size_t size_ = 0;
    void* stream_ = nullptr;
};

}  // namespace proxy
