"""Two workers of the proxy, guests with two processors: each of a guest's interfaces has two queues, one
for each worker, and both carry frames. Three replicas, voting.

Known limit: which queue a frame comes by is the guest's choice, by a hash over addresses and ports: a
number of clients makes both likely, and the count is over all of them.
"""

import unittest

import dom0
import echo_lab
import harness

LAB = ["--image", "echo"]
dom0.enter()

import accounts  # noqa: E402 (dom0 says where it is)

CLIENTS, REQUESTS = 24, 25  # and requests of each
GROUP = """
f = 1
deadline_ms = 5000
suspend = "manual"
"""


class TwoWorkers(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(echo_lab.EchoLab())
        self.client, self.proxy = self.lab.serve("two", GROUP + "".join(
            echo_lab.replica(name, type=kind, vcpus=2)
            for name, kind in (("one", "pv"), ("two", "pvh"), ("three", "pv"))), workers=2)
        self.lab.start_replicas()

    def test_both_queues_of_a_guest_carry_frames(self):
        harness.wait_until(lambda: {one["netback"]["queues"] for one in self.lab.replicas()} == {2}, 60,
                           "each has two queues")
        for replica in self.lab.replicas():
            domain = replica["netback"]["domain"]
            device = f"/local/domain/{domain}/device/vif/0"
            self.assertEqual(dom0.xenstore(f"{device}/multi-queue-num-queues"), "2")
        for number in range(CLIENTS):
            with self.client.socket() as connection:
                connection.settimeout(30)
                for request in range(REQUESTS):
                    question = b"%04d%04d what?" % (number, request)
                    connection.sendto(question, echo_lab.SERVER)
                    self.assertEqual(connection.recv(2048), question)
        accounts.settle(self.proxy.control)  # a ballot is counted once its last reply has come
        status = self.proxy.control.status()
        group = status["groups"][0]
        self.assertEqual((group["agreed"], group["split"]), (CLIENTS * REQUESTS, 0))
        self.assertGreater(status["conservation"]["handed_over"], 0,
                           "a reply came by another worker than its request")


if __name__ == "__main__":
    unittest.main()
