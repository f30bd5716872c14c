#include "guest/hostile/frontend.hh"

#include <algorithm>
#include <charconv>
#include <cstring>

#include <poll.h>

namespace hostile {
namespace {

constexpr const char* device = "device/vif/0/";  // below the domain's home
constexpr int backend_ms_max = 30'000;
constexpr int step_ms = 10;

int number(std::string_view text) {
    int value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

std::uint16_t backend_domain(agent::Store& store) {
    const agent::Reply reply = store.read(std::string(device) + "backend-id");
    if (!reply.ok) die("there is no network device: " + reply.text);
    return static_cast<std::uint16_t>(number(reply.text));
}

}  // namespace

void pause_ms(int ms) { ::poll(nullptr, 0, ms); }

Frontend::Frontend(agent::Store& store)
    : store_(store),
      backend_(store.read(std::string(device) + "backend").text),
      backend_domain_(backend_domain(store)),
      pages_(backend_domain_),
      tx_ring_page_(pages_.add()),
      rx_ring_page_(pages_.add()),
      tx_(pages_.memory(tx_ring_page_), tx_slot_bytes),
      rx_(pages_.memory(rx_ring_page_), rx_slot_bytes),
      channel_(std::make_unique<Channel>(backend_domain_)) {
    for (std::size_t i = 0; i < tx_buffers; ++i) tx_pages_.push_back(pages_.add());
    for (std::uint32_t i = 0; i < ring_slots; ++i) rx_pages_.push_back(pages_.add());
}

void Frontend::write(std::string_view key, std::string_view value) {
    store_.write(std::string(device) + std::string(key), value);
}

State Frontend::backend_state() {
    const agent::Reply reply = store_.read(backend_ + "/state");
    const int value = reply.ok ? number(reply.text) : 0;
    return value >= 1 && value <= 6 ? static_cast<State>(value) : State::unknown;
}

bool Frontend::wait_for_backend(State wanted, int ms_max) {
    for (int waited = 0; backend_state() != wanted; waited += step_ms) {
        if (waited >= ms_max) return false;
        pause_ms(step_ms);
    }
    return true;
}

void Frontend::write_ring_keys() {
    write("tx-ring-ref", std::to_string(pages_.grant(tx_ring_page_)));
    write("rx-ring-ref", std::to_string(pages_.grant(rx_ring_page_)));
    write("event-channel", std::to_string(channel_->port()));
    write("request-rx-copy", "1");
    write("feature-rx-notify", "1");
    write("feature-sg", "1");
    store_.remove(std::string(device) + "multi-queue-num-queues");  // of an earlier lie
}

std::string Frontend::connect() {
    set_state(State::initialising);
    if (!wait_for_backend(State::init_wait, backend_ms_max)) {
        return "the backend does not wait for us (state " +
               std::to_string(static_cast<int>(backend_state())) + ")";
    }
    channel_ = std::make_unique<Channel>(backend_domain_);
    tx_.reset();
    rx_.reset();
    tx_producer_ = tx_consumer_ = rx_producer_ = rx_consumer_ = 0;
    tx_free_.clear();
    for (std::uint16_t i = 0; i < tx_buffers; ++i) tx_free_.push_back(i);
    write_ring_keys();
    offer_rx();
    set_state(State::connected);
    if (!wait_for_backend(State::connected, backend_ms_max)) {
        return "the backend does not connect (state " +
               std::to_string(static_cast<int>(backend_state())) + ")";
    }
    channel_->tell();
    return {};
}

void Frontend::disconnect() {
    constexpr int patience_ms = 3'000;
    if (backend_state() == State::connected) {
        set_state(State::closing);
        for (int waited = 0; backend_state() == State::connected && waited < patience_ms;
             waited += step_ms) {
            pause_ms(step_ms);
        }
    }
    set_state(State::closed);
    wait_for_backend(State::closed, patience_ms);
}

void Frontend::offer_rx() {
    // All buffers but those whose answers we have not looked at.
    while (rx_producer_ - rx_consumer_ < ring_slots) {
        const auto id = static_cast<std::uint16_t>(rx_producer_ % ring_slots);
        rx_.put(rx_producer_++, RxRequest{id, 0, pages_.grant(rx_pages_[id])});
    }
    if (rx_.publish(rx_producer_)) channel_->tell();
}

void Frontend::collect_tx() {
    const std::uint32_t end = tx_.load(Word::response_producer);
    for (unsigned i = 0; tx_consumer_ != end && i < ring_slots; ++i) {
        const auto response = tx_.get<TxResponse>(tx_consumer_++);
        if (response.id < tx_buffers) tx_free_.push_back(response.id);
    }
    tx_.store(Word::response_event, tx_consumer_ + 1);
}

bool Frontend::send(std::span<const std::byte> frame) {
    if (tx_free_.empty() || frame.size() > page_bytes) return false;
    const std::uint16_t id = tx_free_.back();
    tx_free_.pop_back();
    std::memcpy(pages_.memory(tx_pages_[id]), frame.data(), frame.size());
    tx_.put(tx_producer_, TxRequest{tx_grant(id), 0, data_validated, id,
                                    static_cast<std::uint16_t>(frame.size())});
    offer_tx(1);
    return true;
}

void Frontend::offer_tx(std::uint32_t count) {
    tx_producer_ += count;
    if (tx_.publish(tx_producer_)) channel_->tell();
}

unsigned Frontend::serve() {
    channel_->heard();
    collect_tx();
    unsigned frames = 0;
    const std::uint32_t end = rx_.load(Word::response_producer);
    for (; rx_consumer_ != end && frames < ring_slots; ++frames) {
        const auto response = rx_.get<RxResponse>(rx_consumer_++);
        if (response.status <= 0 || response.id >= rx_pages_.size()) continue;
        const auto bytes = static_cast<std::size_t>(response.status);
        if (response.offset + bytes > page_bytes) continue;
        const std::span frame(pages_.memory(rx_pages_[response.id]) + response.offset, bytes);
        if (turn_round(frame)) send(frame);
    }
    rx_.store(Word::response_event, rx_consumer_ + 1);
    offer_rx();
    return frames;
}

}  // namespace hostile
