"""The counter behind netback: three PV domains, voted, one of them told to lie.

Starts from a layer in which they run already. Known limit: an emulated machine answers some hundred
requests a second, so 20,000 take minutes; QUORATE_LONG=1 sends a million.
"""

import os
import unittest

import dom0

LAB = ["--appliance", "counter"]
dom0.enter()

import counter  # noqa: E402 (dom0 says where it is)
import harness  # noqa: E402
import replicas  # noqa: E402

REQUESTS = 1_000_000 if os.environ.get("QUORATE_LONG") else 2_000


class Counter(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.appliance = replicas.Running("counter")
        connection = cls.appliance.client.socket()
        cls.addClassCleanup(connection.close)
        cls.client = counter.Client(connection, cls.appliance.server)

    def ask(self, total, **options):
        """Every request is answered, and no answer contradicts another."""
        try:
            self.assertEqual(self.client.ask(total, timeout=30, **options), total)
            self.assertEqual(self.client.wrong(), [])
        except AssertionError as error:
            self.fail(f"{error}\n{self.appliance.report()}")

    def figures(self):
        status = self.appliance.group_status()
        return {replica["name"]: replica for replica in status["replicas"]}

    def test_all_agree(self):
        before = self.figures()
        self.ask(REQUESTS)
        for name, now in self.figures().items():
            self.assertEqual(now["dissent"], before[name]["dissent"], name)


if __name__ == "__main__":
    unittest.main()
