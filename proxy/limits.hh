// Every bound of the data plane, in one place, and what happens when it is reached.
#pragma once

#include <cstdint>

#include "voter/types.hh"

namespace proxy {

// Packets taken from a port at once.
constexpr std::uint16_t burst_len_max = 32;
// Packets gathered for a port before they are sent; a full buffer is sent at once.
constexpr std::uint16_t tx_buffer_len_max = 64;

constexpr unsigned workers_max = 16;
constexpr unsigned groups_max = 8;
constexpr unsigned services_max = 64;  // one per address
constexpr unsigned client_ports_max = 2;
// Both places of every slot of every group, and the client ports.
constexpr unsigned ports_max = client_ports_max + groups_max * voter::replicas_max * 2;
static_assert(ports_max <= UINT16_MAX);

// How far a lookup goes before the table counts as full for that key (drop: ballots_full). It also
// bounds what a client can cost who has guessed the keyed hash.
constexpr unsigned probes_max = 64;

// Released replies kept for late votes and evidence, per worker; above it their fingerprint is
// kept.
constexpr std::uint32_t retained_replies_max = 2048;

// Ballots that may run out of time in one turn of the loop; the rest waits for the next turn.
constexpr unsigned expiries_per_turn_max = 64;

// Between two workers, each way (drop: handoff_full).
constexpr unsigned handoff_len = 1024;

// Stateful groups: how many of the last requests are remembered to absorb a repetition (beyond it a
// repetition is a new request), and for how long, in deadlines of a vote.
constexpr std::uint32_t repeats_max = 32'768;
constexpr std::uint64_t repeats_for_deadlines = 10;
// Requests given from the log to one replica and not answered yet; for how many deadlines an answer
// is waited for; after how many a replica that is still being fed from the log is reported.
constexpr unsigned catch_up_window = 32;
constexpr std::uint64_t catch_up_deadlines = 4;
constexpr std::uint64_t behind_deadlines = 10;
// A replica that differs so often, and never agrees in between, does not have the group's state.
constexpr std::uint8_t differences_in_a_row_max = 8;

// Requests that wait for room at one replica (a power of two); beyond it they are skipped there.
constexpr std::uint32_t deferred_max = 1024;

// From a worker to the control thread (beyond it: counted, forgotten).
constexpr unsigned events_len = 1024;
constexpr unsigned evidence_queue_len = 256;

// Sources with recently agreed replies, per worker: sets of four, the least deserving replaced.
constexpr std::uint32_t known_source_sets = 4096;
constexpr unsigned known_source_ways = 4;
constexpr std::uint32_t known_for_ms = 60'000;

// Reassembly: flows at a time per worker; DPDK's library takes 8 fragments a packet.
constexpr std::uint32_t reassembly_flows_max = 512;
constexpr std::uint32_t replica_reassembly_flows_max = 64;  // each
constexpr std::uint32_t fragment_bucket_entries = 16;
constexpr std::uint16_t fragments_max = 8;
constexpr std::uint32_t reassembly_timeout_ms = 1'000;
// Bytes of IP payload that so many fragments can take to a replica (IPv6's are the smaller ones;
// drop: oversized).
constexpr std::uint16_t datagram_len_max = fragments_max * 1448;

// What the appliance answers by itself in a second (ARP, echo, RST, refusals), per worker.
constexpr std::uint32_t own_answers_per_second_max = 100'000;
constexpr std::size_t own_headers_len_max = 18 + 40 + 8;
constexpr std::size_t own_error_len_max = 512;

// Mbuf data room without headroom; a frame longer than this is refused.
constexpr std::uint16_t frame_len_max = 2048;
constexpr std::uint16_t jumbo_len_max = 12 * 1024;  // a reassembled datagram, in one piece
constexpr std::uint32_t jumbo_packets = 512;
// Bytes of an ICMP error that are voted: type and code.
constexpr std::uint16_t icmp_voted_len = 2;
constexpr std::uint16_t mtu_default = 1500;

}  // namespace proxy
