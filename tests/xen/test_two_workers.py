"""Two workers of the proxy, guests with two processors: each of a guest's interfaces has two queues, one
for each worker, and both carry frames. Three replicas, voting.

Known limit: which queue a frame comes by is the guest's choice, by a hash over addresses and ports: a
number of clients makes both likely, and the count is over all of them.
"""

import unittest

import dom0
import harness

LAB = ["--image", "echo"]
dom0.enter()

import accounts  # noqa: E402 (dom0 says where it is)

SECONDS_MAX = 300
CLIENTS, REQUESTS = 24, 25  # and requests of each
CONFIG = """
[appliance]
name = "two"
state_dir = "{state}"
workers = 2
[client]
ports = ["veth:qc0"]
[[service]]
name = "echo"
group = "echo"
addresses = ["10.53.0.53"]
port = 7
matcher = "0:8"
[[group]]
name = "echo"
f = 1
deadline_ms = 5000
suspend = "manual"
"""
REPLICA = """
[[group.replica]]
name = "{name}"
[group.replica.xen]
type = "{type}"
memory_mb = {memory}
vcpus = 2
kernel = "{kernel}"
kernel_sha256 = "{kernel_sha256}"
ramdisk = "{ramdisk}"
ramdisk_sha256 = "{ramdisk_sha256}"
command_line = "quiet mitigations=off"
health_timeout_ms = {health_ms}
"""


class TwoWorkers(unittest.TestCase):
    def quorate(self, *words, check=True):
        return self.lab.quorate("replica", *words, "--config", self.config, timeout=3 * SECONDS_MAX,
                                check=check)

    def replicas(self):
        return self.proxy.control.status()["groups"][0]["replicas"]

    def setUp(self):
        self.lab = dom0.Lab()
        self.lab.__enter__()
        self.addCleanup(self.lab.__exit__, None, None, None)
        self.client = self.lab.client(addresses=("10.53.0.2/24",))
        state = self.lab.directory / "state"
        about = dom0.manifest("echo")
        self.config = self.lab.file("config.toml", CONFIG.format(state=state) + "".join(
            REPLICA.format(name=name, type=kind, memory=96, health_ms=SECONDS_MAX * 1000, **{
                key: about[key] for key in ("kernel", "kernel_sha256", "ramdisk", "ramdisk_sha256")})
            for name, kind in (("one", "pv"), ("two", "pvh"), ("three", "pv"))))
        self.proxy = self.lab.proxy(self.config, state, deadline_s=60)
        self.lab.at_end.append(lambda: self.quorate("stop", "--all", check=False))
        self.quorate("start", "--all")
        harness.wait_until(lambda: {one["standing"] for one in self.replicas()} == {"admitted"}, 60,
                           "all are admitted")

    def test_both_queues_of_a_guest_carry_frames(self):
        harness.wait_until(lambda: {one["netback"]["queues"] for one in self.replicas()} == {2}, 60,
                           "each has two queues")
        for replica in self.replicas():
            domain = replica["netback"]["domain"]
            device = f"/local/domain/{domain}/device/vif/0"
            self.assertEqual(dom0.xenstore(f"{device}/multi-queue-num-queues"), "2")
        for number in range(CLIENTS):
            with self.client.socket() as connection:
                connection.settimeout(30)
                for request in range(REQUESTS):
                    question = b"%04d%04d what?" % (number, request)
                    connection.sendto(question, ("10.53.0.53", 7))
                    self.assertEqual(connection.recv(2048), question)
        status = self.proxy.control.status()
        group = status["groups"][0]
        self.assertEqual((group["agreed"], group["split"]), (CLIENTS * REQUESTS, 0))
        self.assertGreater(status["conservation"]["handed_over"], 0,
                           "a reply came by another worker than its request")
        accounts.settle(self.proxy.control)


if __name__ == "__main__":
    unittest.main()
