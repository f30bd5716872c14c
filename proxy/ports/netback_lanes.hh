// A worker's part of netback: between the rings of its queues, one for each Xen replica's port, and
// packets of the pool. What goes to guests is gathered, what guests have sent is looked up, and all
// bytes of all guests move in one grant copy, in exchange().
//
// Where a copy fails, that frame is lost and its guest answered so; the others go on. A guest that
// breaks the protocol has its ring left alone, and is told on: LaneCounters.
//
// Frames that a guest left to be cut (TCP) are marked as DPDK has it, and go to another guest as
// they are: segmentation.hh. Known limit: pools reckon with a packet for each frame, and a frame of
// 64 KiB is a chain of thirty-two; who offers segmentation sizes a pool for it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <tl/expected.hpp>

#include "proxy/counters.hh"
#include "proxy/limits.hh"
#include "xen/netback/grant_copy.hh"
#include "xen/netback/queue.hh"

struct rte_mbuf;
struct rte_mempool;

namespace proxy {

// What a lane holds besides its port's buffers: on their way to the guest, and from it.
constexpr unsigned lane_packets_max = 2 * tx_buffer_len_max + 2 * burst_len_max;

// writer: the worker; reader: control
struct LaneCounters {
    Count frames_in;         // from the guest
    Count frames_out;        // to it
    Count no_room;           // frames that found too few pages posted
    Count refused_grants;    // frames lost because of the guest's grant
    Count failed_copies;     // frames lost because of this machine
    Count no_memory;         // frames from it for which there was no packet
    Count unwanted;          // multicast it has not asked for, frames it cannot take
    Count checksums_filled;  // which the guest had left blank
    Count to_be_cut;         // of frames_in, those longer than a frame on a wire (TCP)
    Count idle_wakes;        // notifications for nothing
    Count broken;            // xen::netback::Violation of a ring that is left alone

    void clear();
};

class NetbackLanes {
  public:
    // The error says what to do.
    static tl::expected<std::unique_ptr<NetbackLanes>, std::string> make(
        xen::netback::Copier copier, rte_mempool* packets);
    ~NetbackLanes();
    NetbackLanes(const NetbackLanes&) = delete;
    NetbackLanes& operator=(const NetbackLanes&) = delete;

    // Any thread. The descriptor becomes readable: a sleeping worker looks at its lanes.
    void wake() const;
    // An epoll descriptor: readable after wake(), and by event channels the slow path adds to it.
    int descriptor() const { return epoll_; }

    // Control thread. From the next exchange() on, the lane is served with what the slow path puts
    // into `slot`, which lives as long as this; whether or not its port is in the plan.
    void use(unsigned lane, xen::netback::QueueSlot* slot);
    void retire(unsigned lane);  // once nothing is connected there any more
    const LaneCounters& counters(unsigned lane) const { return counters_[lane]; }

    // Worker. Copies what was sent to guests since, and what they have sent, at once.
    void exchange();
    // Only the former, where something waits to be copied.
    void commit();
    std::uint16_t receive(unsigned lane, rte_mbuf** packets, std::uint16_t count);
    std::uint16_t send(unsigned lane, rte_mbuf** packets, std::uint16_t count);
    // Before it sleeps: asks all guests for notifications. True: one has sent something already.
    bool arm();
    void woke();     // takes the notifications
    void release();  // ends: uses no queue any more

    std::uint64_t copies() const { return copies_.get(); }
    std::uint64_t segments() const { return segments_.get(); }

  private:
    static constexpr unsigned burst_max = burst_len_max;
    static constexpr unsigned pending_max = 2 * tx_buffer_len_max;

    // A frame on its way to a guest, waiting for its bytes to be copied.
    struct Leaving {
        rte_mbuf* packet;
        xen::netback::FrameToGuest frame;
        unsigned first_segment;
        unsigned segments_count;
    };
    struct Arriving {
        rte_mbuf* packet;  // nullptr: no memory, or none of its bytes are wanted
        bool whole;        // there was memory for all of it
        unsigned first_segment;
        unsigned segments_count;
    };
    struct Lane {
        xen::netback::QueueSlot* slot = nullptr;
        bool active = false;                   // the worker's view of used_
        xen::netback::Queue* queue = nullptr;  // until the end of the next exchange()
        std::array<Leaving, pending_max> leaving;
        unsigned leaving_count = 0;
        std::array<xen::netback::FrameFromGuest, burst_max> frames;  // of those that arrive
        std::array<Arriving, burst_max> arriving;
        unsigned arriving_count = 0;
        std::array<rte_mbuf*, burst_max> arrived;  // until the pipeline takes them
        unsigned arrived_count = 0;
        unsigned arrived_next = 0;
        unsigned idle_wakes = 0;  // in a row
        bool muted = false;       // too many of those: not listened to until it sends something
    };

    NetbackLanes(xen::netback::Copier copier, rte_mempool* packets, int epoll, int event);

    // Calls `each(index, lane)` for all that are served.
    template <class Each>
    void for_each_lane(Each&& each);
    void take_up(unsigned index, Lane& lane);
    void gather(Lane& lane, LaneCounters& counters);
    void copy_in(const Lane& lane, const xen::netback::FrameFromGuest& frame, Arriving& arriving);
    void copy_out(const Lane& lane, Leaving& leaving);
    void run_copies();
    void settle_arriving(Lane& lane, LaneCounters& counters);
    void settle_leaving(Lane& lane, LaneCounters& counters);
    bool arrived(unsigned first, unsigned count, LaneCounters& counters) const;

    xen::netback::Copier copier_;
    rte_mempool* pool_;
    int epoll_;
    int event_;  // eventfd
    xen::netback::CopyBatch batch_;
    std::array<std::atomic<bool>, ports_max> used_{};  // writer: control; reader: worker
    std::atomic<unsigned> lanes_end_{0};               // the highest used, and one
    std::array<std::unique_ptr<Lane>, ports_max> lanes_;
    std::array<LaneCounters, ports_max> counters_;
    Count copies_;
    Count segments_;
};

}  // namespace proxy
