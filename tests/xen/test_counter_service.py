"""The counter behind netback: three PV domains, voted; one lies, one is paused, in turn, and one is
destroyed. No answer of 20,000 may be wrong, and all that came in must have left.

Starts from a layer in which they run already. Known limit: an emulated machine answers some hundred
requests a second; tools/test --long asks a million.
"""

import time
import unittest

import dom0

LAB = ["--appliance", "counter"]
dom0.enter()

import accounts  # noqa: E402 (dom0 says where it is)
import counter  # noqa: E402
import harness  # noqa: E402
import replicas  # noqa: E402

ALL_WELL = dom0.REQUESTS * 2 // 5
SOME = (dom0.REQUESTS - ALL_WELL) // 14  # in each of the steps with a fault or after one
WINDOW = 48
WITHIN_S = 180


class Counter(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.appliance = replicas.Running("counter")
        connection = cls.appliance.client.socket()
        cls.addClassCleanup(connection.close)
        cls.client = counter.Client(connection, cls.appliance.server)

    def setUp(self):
        self.appliance.heal(WITHIN_S)

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            print(self.appliance.report(), flush=True)

    def ask(self, total=SOME):
        """Every request is answered, and no answer contradicts another."""
        began = time.monotonic()
        self.assertEqual(self.client.ask(total, window=WINDOW, timeout=10), total)
        print(f"{total} requests in {time.monotonic() - began:.1f} s", flush=True)
        self.assertEqual(self.client.wrong, [])

    def figures(self, key):
        return {replica["name"]: replica[key] for replica in self.appliance.group_status()["replicas"]}

    def changes(self, key, before):
        now = self.figures(key)
        return {name: now[name] - before[name] for name in now if now[name] != before[name]}

    def standing(self, name):
        return self.figures("standing")[name]

    def test_all_agree(self):
        before = self.figures("dissent")
        self.ask(ALL_WELL)
        accounts.settle(self.appliance)
        self.assertEqual(self.changes("dissent", before), {})

    def test_one_lies_and_another_is_paused_in_turn(self):
        for liar, paused in (("first", "second"), ("second", "third"), ("third", "first")):
            with self.subTest(liar=liar, paused=paused):
                self.lies(liar)
                self.is_paused(paused)

    def lies(self, name):
        """It is outvoted, and stops to vote, since its state may be what its answers say; a restart
        brings it up from the log."""
        before = self.figures("dissent")
        self.assertEqual(self.appliance.tell(name, "lie"), "ok")
        try:
            self.ask()
            self.assertEqual(set(self.changes("dissent", before)), {name})
        finally:
            self.appliance.heal(WITHIN_S)
        before = self.figures("dissent")
        self.ask()
        self.assertEqual(self.changes("dissent", before), {})

    def is_paused(self, name):
        """The others answer; it takes from the log what it missed, and votes again."""
        before = self.figures("dissent")
        number = self.appliance.domain(name)
        dom0.guests.run("xl", "pause", number)
        try:
            self.ask()
        finally:
            dom0.guests.run("xl", "unpause", number)
            self.appliance.heal(WITHIN_S)
        self.ask()
        self.assertEqual(self.changes("dissent", before), {})

    def test_one_destroyed_is_replaced_and_the_others_go_on(self):
        others = {name: self.appliance.domain(name) for name in ("first", "third")}
        dom0.guests.run("xl", "destroy", self.appliance.domain("second"))
        self.ask()
        harness.wait_until(lambda: self.standing("second") != "admitted", WITHIN_S,
                           "the destroyed replica does not vote any more", pause_s=0.2)
        self.appliance.quorate("replica", "restart", "counter/second")
        self.appliance.wait_admitted(WITHIN_S)
        before = self.figures("dissent")
        self.ask()
        self.assertEqual(self.changes("dissent", before), {})
        self.assertEqual({name: self.appliance.domain(name) for name in others}, others)

    def test_when_all_are_stopped_nothing_is_left(self):
        accounts.stop_replicas(self.appliance)


if __name__ == "__main__":
    unittest.main()
