// Pages that another domain may use, and event channels to it, from a guest's userspace: the
// devices /dev/xen/gntalloc and /dev/xen/evtchn of Linux (include/uapi/xen/gntalloc.h, evtchn.h).
//
// Known limit: the kernel allows 1024 such pages; whoever asks for more is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace hostile {

// Pages with a grant each for one domain, writable. Ends the program where the kernel refuses: it
// has nothing else to do.
class Pages {
  public:
    explicit Pages(std::uint16_t domain);
    ~Pages();
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;

    std::size_t add();  // its number
    std::byte* memory(std::size_t number) const { return pages_[number].memory; }
    std::uint32_t grant(std::size_t number) const { return pages_[number].grant; }
    // Takes the grant back: at once, or, while the other domain has it mapped, when it lets go.
    // The memory is gone for us, too.
    void revoke(std::size_t number);

  private:
    struct Page {
        std::uint64_t index = 0;
        std::uint32_t grant = 0;
        std::byte* memory = nullptr;
    };
    int file_;
    std::uint16_t domain_;
    std::vector<Page> pages_;
};

// An event channel that the other domain may bind to.
class Channel {
  public:
    explicit Channel(std::uint16_t domain);
    ~Channel();
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;

    int file() const { return file_; }  // readable when told
    std::uint32_t port() const { return port_; }
    void tell() const;
    void heard() const;  // takes what is to be read

  private:
    int file_;
    std::uint32_t port_ = 0;
};

[[noreturn]] void die(const std::string& what);

}  // namespace hostile
