"""Compatibility: a domain that xl made with a `vif` of its own, as an existing installation has them,
behind our netback by `netback:NAME,type=vif`. libxl writes the nodes and waits for the backend; the proxy is
that backend, in the kernel driver's place.

Known limit: one domain with one interface, and a script that does nothing: Linux' own would want an
interface in Dom0 to put into a bridge.
"""

import json
import unittest

import dom0
import echo_lab
import harness

LAB = ["--image", "echo"]
dom0.enter()

from guests import ADDRESSES, MAC, Guest, domains, run, xenstore  # noqa: E402 (dom0 says where it is)

NAME = "lab-libxl"
GROUP = f"""
f = 0
quorum = 1
deadline_ms = 5000
[[group.replica]]
name = "box"
place_a = "netback:{NAME},type=vif"
"""
REQUESTS = 500


class LibxlGuest(Guest):
    def config(self, ramdisk, kind, memory_mb):
        vif = json.dumps([f"mac={MAC},script=/bin/true"])
        return super().config(ramdisk, kind, memory_mb) + f"vif = {vif}\n"

    def write_device(self):
        pass  # libxl has


class LibxlVif(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(echo_lab.EchoLab())
        self.client, self.proxy = self.lab.serve("libxl", GROUP)

    def make(self):
        guest = LibxlGuest("echo", name=NAME, addresses=ADDRESSES)
        self.addCleanup(guest.destroy)
        guest.wait_healthy()
        return guest

    def ask(self, count):
        """How many of them are answered, all rightly."""
        right = 0
        with self.client.socket() as connection:
            connection.settimeout(10)
            for number in range(count):
                question = b"%04d of them" % number
                connection.sendto(question, echo_lab.SERVER)
                self.assertEqual(connection.recv(2048), question)
                right += 1
        return right

    def replica(self):
        return self.lab.replicas()[0]

    def test_it_is_served_and_so_is_its_successor(self):
        for _ in range(2):
            guest = self.make()
            harness.wait_until(lambda: self.replica()["standing"] == "admitted", 60, "it is admitted")
            self.assertEqual(self.ask(REQUESTS), REQUESTS)
            status = self.replica()["netback"]
            self.assertEqual((status["domain"], status["queues"], status["violation"]),
                             (guest.domid, 1, None))
            self.assertEqual(xenstore(f"/local/domain/0/backend/vif/{guest.domid}/0/state"), "4")
            run("xl", "destroy", NAME)
            harness.wait_until(lambda: self.replica()["netback"]["domain"] is None, 60,
                               "the proxy has let go of it")
            harness.wait_until(lambda: set(domains()) == {"Domain-0"}, 60, "nothing of it is left")


if __name__ == "__main__":
    unittest.main()
