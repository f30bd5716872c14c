// TCP segments longer than a frame ("GSO", "TSO"), between a guest's rings and packets. A packet
// that is to be cut says so as DPDK has it: RTE_MBUF_F_TX_TCP_SEG, tso_segsz and the lengths of its
// headers, which a device with that offload, librte_gso and the ring of another guest understand.
// Its checksum is the pseudo header's, as guests and devices both have it.
//
// Known limit: no VLAN tag, no IP options or extension headers.
#pragma once

#include "xen/netback/guest_tx.hh"

struct rte_mbuf;

namespace proxy {

// Marks a packet of a guest that is to be cut as `how` says. False, and nothing is marked: what it
// begins with is not what the guest says, or `how` says nothing.
bool mark_to_be_cut(rte_mbuf* packet, const xen::netback::Segmentation& how);

// How a packet wants to be cut; type none: not at all.
xen::netback::Segmentation segmentation_of(const rte_mbuf* packet);

}  // namespace proxy
