"""TCP in segments longer than a frame ("GSO", "TSO"), from one unmodified frontend through our netback to
another, PV and PVH, IPv4 one way and IPv6 the other. The appliance's services do without it before TCP is
spliced, so two guests and a wire between their ports (port_bridge.cc) show it.

Known limit: two guests, one connection at a time.
"""

import json
import subprocess
import unittest

import dom0
import harness

LAB = ["--image", "echo"]
dom0.enter()

from guests import Guest, xenstore  # noqa: E402 (dom0 says where it is)

BRIDGE = harness.BUILD / "tests" / "xen" / "port_bridge"
FRAME_BYTES_MAX = 1514
KIB = 2048
SECONDS_MAX = 240

# Takes what comes to port 9000 and says its digest; makes a file, sends it to the other, says its digest.
WORK = f"""if [ ! -e /run/began ]; then
    : >/run/began
    mkfifo /run/silent # of which nothing is read, not even an end: nc would hang up then
    (
        nc -l -p 9000 <>/run/silent | md5sum >/run/got
        agent write data/quorate/got "$(cat /run/got)"
    ) </dev/null >/dev/null 2>&1 &
    (
        dd if=/dev/urandom of=/run/file bs=1k count={KIB}
        until nc PEER 9000 </run/file; do usleep 200000; done
        agent write data/quorate/sent "$(md5sum </run/file)"
    ) </dev/null >/dev/null 2>&1 &
fi
"""


class Bridge:
    def __init__(self, lab, *ports):
        self.process = subprocess.Popen([BRIDGE, "--state-dir", lab.directory / "bridge", *ports],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        lab.at_end.append(self.process.kill)
        self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"port_bridge ended with {self.process.wait(10)}")
        return json.loads(line)

    def end(self):
        """What each end counted."""
        self.process.stdin.close()
        ends, packets = self.read(), self.read()["packets_missing"]
        if self.process.wait(30) != 0 or packets != 0:
            raise AssertionError(f"exit {self.process.returncode}, {packets} packets are missing")
        return ends


class One(Guest):
    mac, gateways = "02:51:00:00:00:01", ("10.53.0.2", "fe80::51:ff:fe00:2")


class Other(Guest):
    mac, gateways = "02:51:00:00:00:02", ("10.53.0.1", "fe80::51:ff:fe00:1")


class Segmentation(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(dom0.Lab())

    def exchange(self, options):
        """Files both ways between two guests whose backends were opened so; what the ends counted."""
        bridge = Bridge(self.lab, *(f"netback:lab-{name}{options}" for name in ("one", "other")))
        pair = []
        # Emulated, a PVH guest boots safely only beside idle ones: it comes first.
        for make, name, kind, number, peer in ((Other, "other", "pvh", 2, "fd53::1"),
                                               (One, "one", "pv", 1, "10.53.0.2")):
            files = {"/etc/quorate/health": WORK.replace("PEER", peer).encode()}
            pair.append(make("echo", name=f"lab-{name}", kind=kind, files=files,
                             addresses=(f"10.53.0.{number}/32", f"fd53::{number}/128")))
            self.lab.at_end.append(pair[-1].destroy)
            pair[-1].wait_healthy(SECONDS_MAX)

        def digest(guest, which):
            def look():
                return xenstore(f"/local/domain/{guest.domid}/data/quorate/{which}")
            return harness.wait_until(look, SECONDS_MAX, f"what {guest.name} {which}", pause_s=0.3)
        for here, there in (pair, pair[::-1]):
            self.assertEqual(digest(there, "got"), digest(here, "sent"))
        ends = bridge.end()
        print(f"netback:...{options}:", json.dumps(ends), flush=True)
        for guest in pair:
            guest.destroy()
        for end in ends:
            self.assertEqual((end["violation"], end["unwanted"], end["no_memory"]), ("none", 0, 0), ends)
        return ends

    def test_segments_longer_than_a_frame_go_as_they_are(self):
        for end in self.exchange(",segmentation=on"):
            self.assertGreater(end["to_be_cut"], 0)
            self.assertGreater(end["longest"], FRAME_BYTES_MAX)

    def test_and_none_where_it_is_not_offered(self):
        for end in self.exchange(""):
            self.assertEqual(end["to_be_cut"], 0)
            self.assertLessEqual(end["longest"], FRAME_BYTES_MAX)


if __name__ == "__main__":
    unittest.main()
