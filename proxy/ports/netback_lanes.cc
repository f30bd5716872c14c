#include "proxy/ports/netback_lanes.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <rte_ether.h>
#include <rte_mbuf.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proxy/crash_point.hh"
#include "proxy/packet.hh"
#include "proxy/ports/segmentation.hh"
#include "wire/checksum.hh"
#include "wire/frame.hh"

namespace proxy {

using xen::netback::Piece;
using xen::netback::Queue;
using xen::netback::Violation;

namespace {

// Notifications for nothing, in a row, after which a guest is not listened to until a frame of it
// is found by looking: a sleeper looks every now and then anyway.
constexpr unsigned idle_wakes_max = 64;

// A piece of a frame takes at most so many copies: a page over packets of packet_bytes_max.
constexpr unsigned copies_per_piece_max = 3;

void fill_in_checksum(rte_mbuf* packet, LaneCounters& counters) {
    if (packet->nb_segs != 1) return;  // a chain, which the pipeline refuses
    wire::Frame frame;
    if (wire::parse_frame(bytes_of(packet), frame) != wire::DropReason::none) return;
    wire::write_l4_checksum(mutable_bytes_of(packet), frame);
    counters.checksums_filled.add(1);
}

}  // namespace

void LaneCounters::clear() {
    for (Count* count :
         {&frames_in, &frames_out, &no_room, &refused_grants, &failed_copies, &no_memory, &unwanted,
          &checksums_filled, &to_be_cut, &idle_wakes, &broken}) {
        count->set(0);
    }
}

tl::expected<std::unique_ptr<NetbackLanes>, std::string> NetbackLanes::make(
    xen::netback::Copier copier, rte_mempool* packets) {
    const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
    const int event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    epoll_event wanted{};
    wanted.events = EPOLLIN;
    if (epoll < 0 || event < 0 || ::epoll_ctl(epoll, EPOLL_CTL_ADD, event, &wanted) != 0) {
        const std::string cause = std::strerror(errno);
        if (epoll >= 0) ::close(epoll);
        if (event >= 0) ::close(event);
        return tl::unexpected("cannot make what a worker sleeps on (" + cause +
                              "): the limit of open files may be too low (ulimit -n)");
    }
    return std::unique_ptr<NetbackLanes>(new NetbackLanes(copier, packets, epoll, event));
}

NetbackLanes::NetbackLanes(xen::netback::Copier copier, rte_mempool* packets, int epoll, int event)
    : copier_(copier), pool_(packets), epoll_(epoll), event_(event) {}

NetbackLanes::~NetbackLanes() {
    release();
    ::close(epoll_);
    ::close(event_);
}

void NetbackLanes::wake() const {
    const std::uint64_t one = 1;
    static_cast<void>(!::write(event_, &one, sizeof one));
}

void NetbackLanes::use(unsigned index, xen::netback::QueueSlot* slot) {
    if (!lanes_[index]) lanes_[index] = std::make_unique<Lane>();
    lanes_[index]->slot = slot;
    counters_[index].clear();
    used_[index].store(true, std::memory_order_release);
    if (index >= lanes_end_.load(std::memory_order_relaxed)) {
        lanes_end_.store(index + 1, std::memory_order_release);
    }
}

void NetbackLanes::retire(unsigned index) { used_[index].store(false, std::memory_order_release); }

template <class Each>
void NetbackLanes::for_each_lane(Each&& each) {
    const unsigned end = lanes_end_.load(std::memory_order_acquire);
    for (unsigned index = 0; index < end; ++index) {
        if (lanes_[index] && lanes_[index]->active) each(index, *lanes_[index]);
    }
}

// The queue of the turns to come.
void NetbackLanes::take_up(unsigned index, Lane& lane) {
    lane.active = used_[index].load(std::memory_order_acquire);
    Queue* before = lane.queue;
    lane.queue = lane.slot->current();
    if (lane.queue != before) counters_[index].broken.set(0);
    if (lane.active) return;
    while (lane.arrived_next < lane.arrived_count) {
        rte_pktmbuf_free(lane.arrived[lane.arrived_next++]);
    }
}

void NetbackLanes::exchange() {
    for_each_lane([&](unsigned index, Lane& lane) {
        if (lane.queue != nullptr) gather(lane, counters_[index]);
    });
    run_copies();
    const unsigned end = lanes_end_.load(std::memory_order_acquire);
    for (unsigned index = 0; index < end; ++index) {
        if (lanes_[index]) take_up(index, *lanes_[index]);
    }
}

void NetbackLanes::commit() {
    if (!batch_.empty()) run_copies();
}

// What a guest has sent, as far as the pipeline has taken what came before.
void NetbackLanes::gather(Lane& lane, LaneCounters& counters) {
    if (lane.arrived_next < lane.arrived_count) return;
    const unsigned count = lane.queue->tx.take(lane.frames, batch_.room() / copies_per_piece_max);
    lane.arriving_count = count;
    for (unsigned i = 0; i < count; ++i) {
        Arriving& arriving = lane.arriving[i];
        arriving.packet = nullptr;
        arriving.whole = true;
        arriving.first_segment = arriving.segments_count = 0;
        if (lane.frames[i].pieces_count == 0) continue;
        copy_in(lane, lane.frames[i], arriving);
        if (!arriving.whole) counters.no_memory.add(1);
    }
    if (lane.queue->tx.broken() != Violation::none) {
        counters.broken.set(static_cast<std::uint64_t>(lane.queue->tx.broken()));
    }
}

void NetbackLanes::copy_in(const Lane& lane, const xen::netback::FrameFromGuest& frame,
                           Arriving& arriving) {
    // A packet without all its memory is freed when the copies into it have run, not before:
    // somebody else could get it meanwhile.
    rte_mbuf* packet = arriving.packet = rte_pktmbuf_alloc(pool_);
    arriving.whole = packet != nullptr;
    if (packet == nullptr) return;
    rte_mbuf* last = packet;
    for (unsigned i = 0; i < frame.pieces_count; ++i) {
        Piece piece = frame.pieces[i];
        while (piece.length != 0) {
            if (rte_pktmbuf_tailroom(last) == 0) {
                rte_mbuf* next = rte_pktmbuf_alloc(pool_);
                arriving.whole = next != nullptr;
                if (next == nullptr) return;
                last->next = next;
                packet->nb_segs = static_cast<std::uint16_t>(packet->nb_segs + 1);
                last = next;
            }
            const std::uint16_t room = rte_pktmbuf_tailroom(last);
            const std::uint16_t part = std::min(piece.length, room);
            void* to = rte_pktmbuf_mtod_offset(last, std::byte*, last->data_len);
            const Piece source{piece.grant, piece.offset, part};
            const unsigned segment = batch_.from_guest(lane.queue->domain.value, source, to);
            if (arriving.segments_count == 0) arriving.first_segment = segment;
            arriving.segments_count += 1;
            last->data_len = static_cast<std::uint16_t>(last->data_len + part);
            packet->pkt_len += part;
            piece.offset = static_cast<std::uint16_t>(piece.offset + part);
            piece.length = static_cast<std::uint16_t>(piece.length - part);
        }
    }
}

void NetbackLanes::copy_out(const Lane& lane, Leaving& leaving) {
    const rte_mbuf* from = leaving.packet;
    std::uint16_t at = 0;
    leaving.segments_count = 0;
    for (unsigned i = 0; i < leaving.frame.pieces_count; ++i) {
        Piece piece = leaving.frame.pieces[i];
        while (piece.length != 0) {
            while (at == from->data_len) {
                from = from->next;
                at = 0;
            }
            const auto part = std::min<std::uint16_t>(
                piece.length, static_cast<std::uint16_t>(from->data_len - at));
            const Piece target{piece.grant, piece.offset, part};
            const unsigned segment = batch_.to_guest(lane.queue->domain.value, target,
                                                     rte_pktmbuf_mtod_offset(from, void*, at));
            if (leaving.segments_count == 0) leaving.first_segment = segment;
            leaving.segments_count += 1;
            at = static_cast<std::uint16_t>(at + part);
            piece.offset = static_cast<std::uint16_t>(piece.offset + part);
            piece.length = static_cast<std::uint16_t>(piece.length - part);
        }
    }
}

void NetbackLanes::run_copies() {
    batch_.run(copier_);
    copies_.set(batch_.runs());
    segments_.set(batch_.segments());
    for_each_lane([&](unsigned index, Lane& lane) {
        if (lane.queue == nullptr) return;
        settle_leaving(lane, counters_[index]);
        settle_arriving(lane, counters_[index]);
    });
    batch_.clear();
}

bool NetbackLanes::arrived(unsigned first, unsigned count, LaneCounters& counters) const {
    bool refused = false;
    bool all = true;
    for (unsigned i = first; i < first + count; ++i) {
        refused = refused || batch_.refused(i);
        all = all && batch_.arrived(i);
    }
    if (refused) {
        counters.refused_grants.add(1);
    } else if (!all) {
        counters.failed_copies.add(1);
    }
    return all;
}

void NetbackLanes::settle_arriving(Lane& lane, LaneCounters& counters) {
    if (lane.arriving_count == 0) return;
    lane.arrived_next = lane.arrived_count = 0;
    for (unsigned i = 0; i < lane.arriving_count; ++i) {
        const Arriving& arriving = lane.arriving[i];
        const xen::netback::FrameFromGuest& frame = lane.frames[i];
        bool good = frame.pieces_count == 0;
        if (arriving.packet != nullptr) {
            good = arrived(arriving.first_segment, arriving.segments_count, counters) &&
                   arriving.whole;
            if (good) {
                if (mark_to_be_cut(arriving.packet, frame.segmentation)) {
                    counters.to_be_cut.add(1);  // who cuts it sums it
                } else if (frame.checksum_blank) {
                    fill_in_checksum(arriving.packet, counters);
                }
                lane.arrived[lane.arrived_count++] = arriving.packet;
            } else {
                rte_pktmbuf_free(arriving.packet);
            }
        }
        lane.queue->tx.answer(frame, good);
    }
    counters.frames_in.add(lane.arrived_count);
    lane.arriving_count = 0;
    lane.idle_wakes = 0;
    if (lane.muted) lane.queue->channels->listen();
    lane.muted = false;
    crash_point(CrashPoint::written);
    if (lane.queue->tx.publish()) lane.queue->channels->notify_tx();
}

void NetbackLanes::settle_leaving(Lane& lane, LaneCounters& counters) {
    if (lane.leaving_count == 0) return;
    std::array<rte_mbuf*, pending_max> done;
    for (unsigned i = 0; i < lane.leaving_count; ++i) {
        const Leaving& leaving = lane.leaving[i];
        const bool good = arrived(leaving.first_segment, leaving.segments_count, counters);
        lane.queue->rx.answer(leaving.frame, good, false);
        done[i] = leaving.packet;
    }
    counters.frames_out.add(lane.leaving_count);
    rte_pktmbuf_free_bulk(done.data(), lane.leaving_count);
    lane.leaving_count = 0;
    crash_point(CrashPoint::written);
    if (lane.queue->rx.publish()) lane.queue->channels->notify_rx();
}

std::uint16_t NetbackLanes::receive(unsigned index, rte_mbuf** packets, std::uint16_t count) {
    Lane* lane = lanes_[index].get();
    if (lane == nullptr) return 0;
    const auto taken = static_cast<std::uint16_t>(
        std::min<unsigned>(count, lane->arrived_count - lane->arrived_next));
    std::copy_n(lane->arrived.begin() + lane->arrived_next, taken, packets);
    lane->arrived_next += taken;
    return taken;
}

std::uint16_t NetbackLanes::send(unsigned index, rte_mbuf** packets, std::uint16_t count) {
    Lane* lane = lanes_[index].get();
    if (lane == nullptr || !lane->active || lane->queue == nullptr) return 0;
    Queue& queue = *lane->queue;
    LaneCounters& counters = counters_[index];
    std::uint16_t taken = 0;
    for (; taken < count; ++taken) {
        rte_mbuf* packet = packets[taken];
        const auto* to = rte_pktmbuf_mtod(packet, const rte_ether_addr*);
        const bool filtered = queue.multicast_control && rte_is_multicast_ether_addr(to) &&
                              !rte_is_broadcast_ether_addr(to) &&
                              !queue.tx.wants_multicast(to->addr_bytes);
        if (filtered) {
            counters.unwanted.add(1);
            rte_pktmbuf_free(packet);
            continue;
        }
        if (lane->leaving_count == pending_max ||
            batch_.room() < xen::netback::pieces_max + packet->nb_segs) {
            commit();
        }
        Leaving& leaving = lane->leaving[lane->leaving_count];
        const auto room = queue.rx.take(packet->pkt_len, segmentation_of(packet), leaving.frame);
        if (room == xen::netback::Room::never) {
            counters.unwanted.add(1);
            rte_pktmbuf_free(packet);
            continue;
        }
        if (room == xen::netback::Room::none_now) break;
        leaving.packet = packet;
        copy_out(*lane, leaving);
        lane->leaving_count += 1;
    }
    if (taken < count) counters.no_room.add(count - taken);
    if (queue.rx.broken() != Violation::none) {
        counters.broken.set(static_cast<std::uint64_t>(queue.rx.broken()));
    }
    return taken;
}

bool NetbackLanes::arm() {
    bool waiting = false;
    for_each_lane([&](unsigned, Lane& lane) {
        if (lane.queue != nullptr) waiting = lane.queue->tx.arm() || waiting;
    });
    return waiting;
}

void NetbackLanes::woke() {
    std::uint64_t wakes = 0;
    static_cast<void>(!::read(event_, &wakes, sizeof wakes));
    for_each_lane([&](unsigned index, Lane& lane) {
        if (lane.queue == nullptr || !lane.queue->channels->take_events()) return;
        if (lane.queue->tx.arm()) {
            lane.queue->channels->listen();
            return;
        }
        counters_[index].idle_wakes.add(1);
        lane.idle_wakes += 1;
        lane.muted = lane.idle_wakes >= idle_wakes_max;
        if (!lane.muted) lane.queue->channels->listen();
    });
}

void NetbackLanes::release() {
    commit();
    const unsigned end = lanes_end_.load(std::memory_order_acquire);
    for (unsigned index = 0; index < end; ++index) {
        Lane* lane = lanes_[index].get();
        if (lane == nullptr) continue;
        while (lane->arrived_next < lane->arrived_count) {
            rte_pktmbuf_free(lane->arrived[lane->arrived_next++]);
        }
        lane->queue = nullptr;
        lane->active = false;
        lane->slot->release();
    }
}

}  // namespace proxy
