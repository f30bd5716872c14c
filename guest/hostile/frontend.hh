// A network frontend that can be honest: it connects as Linux' does, gives UDP back to whoever sent
// it, and lets attacks.cc at everything.
//
// Known limit: one queue, one event channel, packets of one slot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "guest/agent/store.hh"
#include "guest/hostile/machine.hh"
#include "guest/hostile/rings.hh"

namespace hostile {

// enum xenbus_state.
enum class State {
    unknown = 0,
    initialising = 1,
    init_wait = 2,
    initialised = 3,
    connected = 4,
    closing = 5,
    closed = 6,
};

class Frontend {
  public:
    static constexpr std::size_t tx_buffers = 64;

    explicit Frontend(agent::Store& store);

    // Waits for the backend, offers rings and buffers, waits again. Empty, or what did not happen.
    std::string connect();
    // Says Closing and Closed; goes on where the backend does not follow. Then connect() may be
    // tried.
    void disconnect();

    // Gives back what came. Returns how many frames.
    unsigned serve();
    bool send(std::span<const std::byte> frame);  // false: no buffer is free

    // For whoever means harm.
    State backend_state();
    bool wait_for_backend(State wanted, int ms_max);
    void set_state(State state) { write("state", std::to_string(static_cast<int>(state))); }
    void write(std::string_view key, std::string_view value);
    void write_ring_keys();
    Ring& tx() { return tx_; }
    Ring& rx() { return rx_; }
    Pages& pages() { return pages_; }
    Channel& channel() { return *channel_; }
    std::uint32_t tx_grant(std::size_t buffer) const { return pages_.grant(tx_pages_[buffer]); }
    std::size_t tx_ring_page() const { return tx_ring_page_; }
    // Where the next request would go; what is put there is offered by offer_tx().
    std::uint32_t tx_next() const { return tx_producer_; }
    void offer_tx(std::uint32_t count);

  private:
    void collect_tx();
    void offer_rx();

    agent::Store& store_;
    std::string backend_;
    std::uint16_t backend_domain_ = 0;
    Pages pages_;
    std::size_t tx_ring_page_;
    std::size_t rx_ring_page_;
    Ring tx_;
    Ring rx_;
    std::unique_ptr<Channel> channel_;
    std::vector<std::size_t> tx_pages_;
    std::vector<std::size_t> rx_pages_;
    std::vector<std::uint16_t> tx_free_;
    std::uint32_t tx_producer_ = 0;
    std::uint32_t tx_consumer_ = 0;  // of responses
    std::uint32_t rx_producer_ = 0;
    std::uint32_t rx_consumer_ = 0;
};

void pause_ms(int ms);

}  // namespace hostile
