"""Pages of guests that somebody holds, as Xen tells them under the debug key "g": is every one of them
in use?

Xen lists, for each domain that grants pages, the entries that are pinned now: mapped, or being copied
from or to. A domain whose pages somebody still maps stays half alive when it is destroyed, and is in the
list as well. Copies are over when their call returns, so between calls only mappings are there: two
pages for each queue of a connected interface, the ring of a disk, and those of Xen's own daemons.

Known limit: who in Dom0 maps a page is not told, only how often.
"""

import collections
import re

TEXT_BYTES_MAX = 1 << 20
HELD_MAX = 100_000
DAEMONS = (0, 1)  # references of console and xenstore: xenconsoled and xenstored map them
BEGIN, END = "gnttab_usage_print_all [ key 'g' pressed", "gnttab_usage_print_all ] done"

# `mapped`: how often, for writing; `other`: pins of another kind, which no ring has.
Held = collections.namedtuple("Held", "granter reference holder mapped other")


def held(text):
    """What the last listing in `text` says; ValueError where it is not whole."""
    if len(text) > TEXT_BYTES_MAX:
        raise ValueError(f"{len(text)} bytes: more than Xen's console ever holds")
    begin = text.rfind(BEGIN)
    end = text.find(END, begin)
    if begin < 0 or end < 0:
        raise ValueError("no whole listing of grants: Xen's console may be too small "
                         "(conring_size on its command line)")
    found, granter = [], None
    for line in text[begin:end].splitlines():
        if domain := re.search(r"grant-table for remote d(\d+) ", line):
            granter = int(domain.group(1))
        elif entry := re.search(r"\[0x([0-9a-f]+)\] +(\d+) 0x[0-9a-f]+ 0x([0-9a-f]{8}) ", line):
            pins = int(entry.group(3), 16)
            found.append(Held(granter, int(entry.group(1), 16), int(entry.group(2)), pins & 0xFF,
                              pins >> 8))
            if granter is None or len(found) > HELD_MAX:
                raise ValueError(f"not a listing of grants: {line}")
    return found


def wrong(found, rings, alive, pins_per_page=2, disks=()):
    """Every difference between what is held and what is in use; empty is good. `rings`: {domain: ring
    pages the proxy has mapped}; `alive`: domains that run. `pins_per_page`: in a PV Dom0 the kernel's
    page table counts beside the process's. `disks`: {(domain, reference of its disk's ring)}, which the
    kernel's backend maps."""
    out, pages = [], collections.Counter()
    for one in found:
        what = f"page {one.reference:#x} of domain {one.granter}, held by domain {one.holder}"
        if one.granter not in alive:
            out.append(f"{what}, which is gone")
        elif (one.granter, one.reference) in disks and (one.mapped, one.other) == (1, 0):
            pass
        elif one.other:
            out.append(f"{what}: a copy, or a mapping that is no ring's (pins {one.other:#x}00)")
        elif one.mapped % pins_per_page or not one.mapped:
            out.append(f"{what}: pinned {one.mapped} times, half a mapping")
        elif one.reference not in DAEMONS:
            pages[one.granter] += one.mapped // pins_per_page
    for domain in sorted({*pages, *rings}):
        if pages[domain] != rings.get(domain, 0):
            out.append(f"{pages[domain]} pages of domain {domain} are mapped, and "
                       f"{rings.get(domain, 0)} of its rings are in use")
    return out
