"""Twenty thousand requests to three echoing domains (PV and PVH) behind our netback: every answer is
right, nobody is blamed for anything, every packet and every grant is accounted for.

tools/test --long asks a million.
"""

import contextlib
import ctypes
import mmap
import select
import struct
import time
import unittest

import dom0

LAB = ["--appliance", "echo"]
dom0.enter()

import accounts  # noqa: E402 (dom0 says where it is)
import replicas  # noqa: E402

REQUESTS = dom0.REQUESTS
WINDOW = 48
SIZES = (8, 60, 64, 500, 1400, 1472)
AGAIN_S = 10


class ManyRequests(unittest.TestCase):
    def ask(self, connection, server):
        """All of them, in a window; returns (how many had to be asked again, what was wrong)."""
        connection.setblocking(False)
        waiting, sent, again, wrong = {}, 0, 0, []
        end = time.monotonic() + 900 * max(1, REQUESTS // 20_000)
        while (sent < REQUESTS or waiting) and not wrong:
            self.assertLess(time.monotonic(), end, f"{sent} sent, {len(waiting)} unanswered")
            while sent < REQUESTS and len(waiting) < WINDOW:
                sent += 1
                data = struct.pack("!I", sent) * (SIZES[sent % len(SIZES)] // 4)
                waiting[sent] = (data, time.monotonic())
                connection.sendto(data, server)
            select.select([connection], [], [], 0.5)
            while True:
                try:
                    answer = connection.recv(4096)
                except BlockingIOError:
                    break
                number = struct.unpack("!I", answer[:4].ljust(4, b"\0"))[0]
                data, _ = waiting.pop(number, (None, 0))
                if answer != data and data is not None:
                    wrong.append(f"{number}: {answer[:16].hex()}")
            now = time.monotonic()
            for number, (data, when) in list(waiting.items()):
                if now - when > AGAIN_S:
                    again += 1
                    waiting[number] = (data, now)
                    connection.sendto(data, server)
        return again, wrong

    def test_all_are_right_and_nobody_is_blamed(self):
        appliance = replicas.Running("echo")
        appliance.wait_admitted()
        before = appliance.group_status()
        copies = appliance.status()["grant_copies"]
        began = time.monotonic()
        with appliance.client.socket() as connection:
            again, wrong = self.ask(connection, appliance.server)
        spent = time.monotonic() - began
        self.assertEqual(wrong, [])
        accounts.settle(appliance)
        after = appliance.group_status()
        self.assertGreaterEqual(after["agreed"] - before["agreed"], REQUESTS)
        self.assertEqual(after["split"], before["split"])
        for replica, earlier in zip(after["replicas"], before["replicas"]):
            self.assertEqual(replica["dissent"], earlier["dissent"], replica["name"])
            self.assertEqual(replica["standing"], "admitted")
            netback = replica["netback"]
            self.assertIsNone(netback["violation"])
            self.assertEqual((netback["refused_grants"], netback["failed_copies"]), (0, 0))
        now = appliance.status()["grant_copies"]
        calls, segments = (now[key] - copies[key] for key in ("calls", "segments"))
        print(f"{REQUESTS} requests in {spent:.0f} s, {again} asked again; {calls / REQUESTS:.2f} "
              f"copies a request, {segments / calls:.1f} segments a copy")
        # A frame is within one page on both sides: three clones and three replies a request.
        self.assertLess(segments / REQUESTS, 6.5)

    def test_frames_of_several_pages_are_offered_where_they_are_wanted(self):
        appliance = replicas.Running("echo")
        offered = {name: dom0.xenstore(f"/local/domain/0/backend/quorate/{appliance.domain(name)}/0/feature-sg")
                   for name in replicas.REPLICAS}
        self.assertEqual(offered, {name: "1" if name == replicas.SCATTERS else "0"
                                   for name in replicas.REPLICAS})

    def test_pages_that_stay_mapped_are_found(self):
        appliance = replicas.Running("echo")
        appliance.wait_admitted()
        accounts.settle(appliance)
        domain = appliance.domain("third")
        ring = dom0.xenstore(f"/local/domain/{domain}/device/vif/0/tx-ring-ref")
        with mapped(domain, int(ring)):
            self.is_found(appliance, f"3 pages of domain {domain} are mapped, and 2 of its rings")
            appliance.quorate("replica", "stop", "third")
            self.is_found(appliance, f"1 pages of domain {domain} are mapped, and 0 of its rings")
        accounts.settle(appliance)

    def is_found(self, appliance, what):
        with self.assertRaisesRegex(AssertionError, what):
            accounts.wait_for_grants(accounts.rings(appliance.status()), deadline_s=3)


@contextlib.contextmanager
def mapped(domain, reference):
    """A page of a guest, as long as the context lasts."""
    library = ctypes.CDLL("libxengnttab.so.1", use_errno=True)
    pointer, number = ctypes.c_void_p, ctypes.c_uint32
    for name, result, arguments in (("open", pointer, [pointer, ctypes.c_uint]),
                                    ("map_grant_ref", pointer, [pointer, number, number, ctypes.c_int]),
                                    ("unmap", ctypes.c_int, [pointer, pointer, number]),
                                    ("close", ctypes.c_int, [pointer])):
        function = getattr(library, f"xengnttab_{name}")
        function.restype, function.argtypes = result, arguments
    device = library.xengnttab_open(None, 0)
    page = library.xengnttab_map_grant_ref(device, domain, reference, mmap.PROT_READ | mmap.PROT_WRITE)
    if not page:
        raise OSError(ctypes.get_errno(), "mapping a page of a guest")
    try:
        yield
    finally:
        library.xengnttab_unmap(device, page, 1)
        library.xengnttab_close(device)


if __name__ == "__main__":
    unittest.main()
