"""Domains of a voting group that crash, are destroyed, reboot and power off under load, by the
product's own commands: no wrong reply, the others go on, each end is told, and what is started anew
votes again. Two PV domains and a PVH one, unmodified kernels, the proxy's own backend.

QUORATE_ROUNDS=N: so many times each.

Known limit: one client with one request at a time; the machine is slow, so only order counts.
"""

import json
import os
import threading
import unittest

import dom0

LAB = ["--appliance", "echo"]
dom0.enter()

import accounts  # noqa: E402 (dom0 says where it is)
import replicas  # noqa: E402
from domains import until  # noqa: E402
from guests import run  # noqa: E402


class Load:
    """A client that asks one thing after the other until it is ended."""

    def __init__(self, connection, server):
        self.connection, self.server = connection, server
        self.right, self.wrong, self.missing = 0, [], 0
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.ask, daemon=True)
        self.thread.start()

    def ask(self):
        self.connection.settimeout(10)
        number, given_up = 0, set()
        while not self.ending.is_set():
            number += 1
            question = b"%04d what?" % (number % 10_000)
            self.connection.sendto(question, self.server)
            try:
                answer = self.connection.recvfrom(2048)[0]
                while answer in given_up:  # late
                    answer = self.connection.recvfrom(2048)[0]
            except TimeoutError:
                self.missing += 1
                given_up.add(question)
                continue
            if answer == question:
                self.right += 1
            else:
                self.wrong.append((question, answer))

    def goes_on(self, count=10):
        before = self.right
        until(lambda: self.right >= before + count, f"{count} more replies", seconds=120)

    def end(self):
        self.ending.set()
        self.thread.join(timeout=30)
        self.connection.close()


class Deaths(unittest.TestCase):
    def setUp(self):
        self.appliance = replicas.Running("echo")
        self.load = Load(self.appliance.client.socket(), self.appliance.server)
        self.addCleanup(self.load.end)

    def row(self, name):
        listed = self.appliance.quorate("replica", "list", name, "--json").stdout
        return json.loads(listed)["replicas"][0]

    def status(self, name):
        replicas_now = self.appliance.group_status()["replicas"]
        return next(replica for replica in replicas_now if replica["name"] == name)

    def dies(self, name, how, detail):
        before = self.row(name)
        run(*[word.format(before["process"]["pid"]) for word in how])
        until(lambda: not self.row(name)["process"]["running"], f"{name} is seen to be dead", 120)
        self.assertIn(detail, self.row(name)["process"]["detail"])
        self.load.goes_on()
        for other in set(replicas.REPLICAS) - {name}:
            self.assertTrue(self.row(other)["process"]["running"])
            self.assertIsNone(self.status(other)["netback"]["violation"])
        return before

    def comes_back(self, name, before):
        self.appliance.quorate("replica", "restart", name)
        after = self.row(name)
        self.assertTrue(after["process"]["running"])
        self.assertGreater(after["incarnation"], before["incarnation"])
        self.assertNotEqual(after["place"], before["place"])
        replies = self.status(name)["replies"]
        until(lambda: self.status(name)["replies"] > replies, f"{name} votes again", 120)
        self.load.goes_on()

    def test_one_after_the_other(self):
        self.load.goes_on()
        domains = dom0.domains()
        rounds = int(os.environ.get("QUORATE_ROUNDS", 1))
        for name, how, detail in rounds * (
                ("first", ["xl", "sysrq", "{}", "c"], "crashed"),
                ("second", ["xl", "destroy", "{}"], "destroyed by somebody else"),
                ("third", ["xl", "reboot", "{}"], "rebooted from inside"),
                ("first", ["xl", "sysrq", "{}", "o"], "powered off")):
            with self.subTest(name=name, detail=detail):
                try:
                    self.comes_back(name, self.dies(name, how, detail))
                except AssertionError:
                    print(self.appliance.report())
                    print(f"client: {self.load.thread.is_alive()}, {self.load.right} right, "
                          f"{self.load.missing} missing")
                    raise
        self.load.end()
        self.assertEqual(self.load.wrong, [])
        self.assertEqual(len(dom0.domains()), len(domains), "nothing is left of those that ended")
        group = self.appliance.group_status()
        self.assertEqual(group["split"], 0)
        self.assertEqual(sum(replica["dissent"] for replica in group["replicas"]), 0)
        print(f"{self.load.right} right replies, {self.load.missing} missing", flush=True)
        accounts.settle(self.appliance)
        accounts.stop_replicas(self.appliance)


if __name__ == "__main__":
    unittest.main()
