// A replica's output on disk, bounded: FILE, and FILE.1 with what came before. What cannot be
// written (a full disk) is dropped: a replica never stops for its log.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "recovery/process.hh"

namespace recovery {

class Log {
  public:
    static constexpr std::size_t file_bytes_max = 1u << 20;

    // Appends to what is there. Readable by us alone: services log what clients ask.
    explicit Log(std::filesystem::path file);

    void write(std::string_view bytes);
    // A line of the host's own, with the time.
    void note(const std::string& text);
    // The last lines written since this object was made, for an error message.
    std::string last_lines(unsigned count) const;

  private:
    void open();

    std::filesystem::path file_;
    Descriptor descriptor_;
    std::size_t bytes_ = 0;
    std::string recent_;  // the end of what was written
};

}  // namespace recovery
