// A control socket that answers as a test says: the seam between the operator's tools and a proxy.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

namespace test {

class FakeProxy {
  public:
    // Gets a request line without its end; what it returns is sent as it is. With `hang_up` in the
    // text, the connection ends there.
    using Answer = std::function<std::string(const std::string& request)>;
    static constexpr const char* hang_up = "\x04";

    FakeProxy(std::filesystem::path socket, Answer answer);
    ~FakeProxy();
    FakeProxy(const FakeProxy&) = delete;
    FakeProxy& operator=(const FakeProxy&) = delete;

  private:
    void serve();
    void converse(int connection);
    // False: the test is over, or nothing more comes.
    bool readable(int fd) const;

    std::filesystem::path socket_;
    Answer answer_;
    int listener_ = -1;
    int stop_ = -1;  // an eventfd: readable when the test is over
    std::thread thread_;
};

// {"ok":true,"status":...} of a small appliance; `requests` is its one counter that moves.
std::string status_reply(unsigned requests);

}  // namespace test
