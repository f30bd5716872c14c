// A frontend that writes what the fuzzer likes into both rings of a queue, between the steps of the
// backend, its death at any of them, and its successor. What must hold whatever the guest does:
// pieces within their pages, frames that add up, never more answers than requests, an answer for
// each request that was taken, and a broken ring left alone.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <span>

#include "xen/netback/guest_rx.hh"
#include "xen/netback/guest_tx.hh"

namespace {

using namespace xen::netback;

void require(bool holds) {
    if (!holds) std::abort();
}

class Input {
  public:
    explicit Input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
    bool empty() const { return bytes_.empty(); }
    std::uint32_t take(unsigned count) {
        std::uint32_t value = 0;
        for (unsigned i = 0; i < count && !bytes_.empty(); ++i, bytes_ = bytes_.subspan(1)) {
            value = value << 8 | bytes_[0];
        }
        return value;
    }
    void copy(std::byte* to, std::size_t count) {
        const std::size_t part = std::min(count, bytes_.size());
        if (part != 0) std::memcpy(to, bytes_.data(), part);
        bytes_ = bytes_.subspan(part);
    }

  private:
    std::span<const std::uint8_t> bytes_;
};

struct alignas(4096) Page {
    std::array<std::byte, page_bytes> bytes{};
};

class World {
  public:
    World() {
        tx_.begin(tx_page_.bytes.data(), &tx_shadow_);
        rx_.begin(rx_page_.bytes.data(), &rx_shadow_, features_);
    }

    void step(Input& input) {
        switch (input.take(1) % 10) {
            case 0:
                write(tx_page_, input);
                break;
            case 1:
                write(rx_page_, input);
                break;
            case 2:
                offer_frame(input);
                break;
            case 3:
                offer_pages(input);
                break;
            case 4:
                take_frames(input);
                break;
            case 5:
                answer_frames(input);
                break;
            case 6:
                send_frame(input);
                break;
            case 7:
                answer_sent(input);
                break;
            case 8:
                publish();
                break;
            default:
                die_and_adopt();
                break;
        }
    }

  private:
    // Anything, anywhere in the page, the indices included.
    static void write(Page& page, Input& input) {
        const std::size_t at = input.take(2) % page_bytes;
        const std::size_t count = std::min<std::size_t>(input.take(1), page_bytes - at);
        input.copy(page.bytes.data() + at, count);
    }
    // Requests that look right, mostly.
    void offer_frame(Input& input) {
        auto* shared = reinterpret_cast<netif_tx_sring*>(tx_page_.bytes.data());
        const unsigned count = 1 + input.take(1) % 20;
        Index at = shared->req_prod;
        for (unsigned i = 0; i < count; ++i, ++at) {
            netif_tx_request request{};
            request.gref = i;
            request.offset = static_cast<std::uint16_t>(input.take(1) * 16);
            request.size = static_cast<std::uint16_t>(i == 0 ? input.take(2) : input.take(1) * 8);
            request.flags = static_cast<std::uint16_t>(i + 1 < count ? NETTXF_more_data : 0);
            if (i == 0) request.flags |= static_cast<std::uint16_t>(input.take(1) & 0xb);
            std::memcpy(tx_page_.bytes.data() + 64 + at % 256 * sizeof(netif_tx_sring_entry),
                        &request, sizeof request);
        }
        shared->req_prod = at;
    }
    void offer_pages(Input& input) {
        auto* shared = reinterpret_cast<netif_rx_sring*>(rx_page_.bytes.data());
        shared->req_prod += input.take(1) % 32;
    }

    void take_frames(Input& input) {
        std::array<FrameFromGuest, 32> frames;
        const unsigned room = input.take(1);
        const unsigned count = tx_.take(std::span(frames).first(room % 33), 32 + room);
        for (unsigned i = 0; i < count; ++i) {
            const FrameFromGuest& frame = frames[i];
            require(frame.pieces_count <= pieces_max && frame.requests >= frame.pieces_count);
            unsigned sum = 0;
            for (unsigned p = 0; p < frame.pieces_count; ++p) {
                require(frame.pieces[p].length != 0);
                require(frame.pieces[p].offset + frame.pieces[p].length <= page_bytes);
                sum += frame.pieces[p].length;
            }
            require(frame.pieces_count == 0 || sum == frame.length);
            taken_.push_back(frame);
            unanswered_tx_ += frame.requests;
        }
        require(unanswered_tx_ <= ring_entries<TxRing>);
    }
    void answer_frames(Input& input) {
        for (unsigned n = input.take(1) % 8; n != 0 && !taken_.empty(); --n) {
            tx_.answer(taken_.front(), input.take(1) % 2 != 0);
            unanswered_tx_ -= taken_.front().requests;
            taken_.pop_front();
        }
    }

    void send_frame(Input& input) {
        FrameToGuest frame;
        Segmentation segmentation;
        segmentation.type = static_cast<std::uint8_t>(input.take(1) % 4);
        const std::uint32_t length = input.take(3);
        if (rx_.take(length, segmentation, frame) != Room::taken) return;
        require(frame.pieces_count >= 1 && frame.pieces_count <= pieces_max);
        std::uint32_t sum = 0;
        for (unsigned p = 0; p < frame.pieces_count; ++p) {
            require(frame.pieces[p].offset + frame.pieces[p].length <= page_bytes);
            sum += frame.pieces[p].length;
        }
        require(sum == length);
        sent_.push_back(frame);
        unanswered_rx_ += frame.pieces_count + (segmentation.type != 0 ? 1u : 0u);
        require(unanswered_rx_ <= ring_entries<RxRing>);
    }
    void answer_sent(Input& input) {
        for (unsigned n = input.take(1) % 8; n != 0 && !sent_.empty(); --n) {
            const FrameToGuest& frame = sent_.front();
            rx_.answer(frame, input.take(1) % 2 != 0, false);
            unanswered_rx_ -= frame.pieces_count + (frame.segmentation.type != 0 ? 1u : 0u);
            sent_.pop_front();
        }
    }

    void publish() {
        tx_.publish();
        rx_.publish();
    }
    // What was taken and not published is there again, or the ring was refused.
    void die_and_adopt() {
        taken_.clear();
        sent_.clear();
        unanswered_tx_ = unanswered_rx_ = 0;
        tx_ = GuestTx();
        rx_ = GuestRx();
        const Violation of_tx = tx_.adopt(tx_page_.bytes.data(), &tx_shadow_);
        const Violation of_rx = rx_.adopt(rx_page_.bytes.data(), &rx_shadow_, features_);
        if (of_tx != Violation::none) tx_.begin(tx_page_.bytes.data(), &tx_shadow_);
        if (of_rx != Violation::none) rx_.begin(rx_page_.bytes.data(), &rx_shadow_, features_);
    }

    Page tx_page_;
    Page rx_page_;
    RingShadow<TxRing> tx_shadow_{};
    RingShadow<RxRing> rx_shadow_{};
    const RxFeatures features_{true, true, false, 64};
    GuestTx tx_;
    GuestRx rx_;
    std::deque<FrameFromGuest> taken_;
    std::deque<FrameToGuest> sent_;
    unsigned unanswered_tx_ = 0;
    unsigned unanswered_rx_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto world = std::make_unique<World>();
    Input input({data, size});
    while (!input.empty()) world->step(input);
    return 0;
}
