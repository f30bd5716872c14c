"""The counter group, with the proxy killed a hundred times under load.

At random instants from outside; after each fourth also at a crash point inside the clone or the
release. After each, either a quorum goes on and whoever missed a request is found, restarted and brought up from
the request log, or the group says that it is halted. Whatever happens, no answer may be wrong: each
request has one count, and the counts rise with the requests. How often each happened is printed.

QUORATE_KILLS sets how many at random (for a quick look, or a long night).
"""

import collections
import contextlib
import os
import random
import signal
import struct
import threading
import time
import unittest

import appliance
import counter
import harness

harness.enter()

KILLS = int(os.environ.get("QUORATE_KILLS", "100"))
SEED = int(os.environ.get("QUORATE_SEED", "1"))
SERVER = ("10.53.0.53", 7000)
POINTS = ("appended", "cloned", "intent", "sent", "delivered", "agreed", "replied", "left",
          "replayed")
# Repetitions are absorbed for ten deadlines: well within that they are asked again here.
REPEAT_WITHIN_S = 1.5


class Load(threading.Thread):
    """A client that never stops, and asks now and then for what it has been told."""

    def __init__(self, connection):
        super().__init__(daemon=True)
        self.client = counter.Client(connection, SERVER)
        self.asked_at = {}
        self.repeated = 0
        self.heavy = False  # as much as goes; else a trickle, or the log would take long to replay
        self.stopping = False
        self.trouble = None

    def pace(self, number):
        self.asked_at[number] = time.monotonic()
        if not self.heavy:
            time.sleep(0.003)  # pause: the rate of the trickle

    def run(self):
        try:
            while not self.stopping:
                self.client.ask(*((64, 64) if self.heavy else (8, 8)), timeout=0.4, pace=self.pace)
                self.repeat()
        except OSError as error:
            self.trouble = error

    def repeat(self):
        now = time.monotonic()
        recent = [number for number, when in self.asked_at.items()
                  if number in self.client.counts and now - when < REPEAT_WITHIN_S]
        for number in recent[-3:]:
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                self.client.connection.sendto(struct.pack("!Q", number), SERVER)
                self.repeated += 1
        self.asked_at = {number: when for number, when in self.asked_at.items()
                         if now - when < REPEAT_WITHIN_S}

    def stop(self):
        self.stopping = True
        self.join()


class Kills(unittest.TestCase):
    def setUp(self):
        self.random = random.Random(SEED)
        self.table = collections.Counter()
        self.restart_s = []

    def test_a_hundred_kills(self):
        with harness.Lab() as lab:
            self.lab = lab
            state_dir = lab.directory / "state"
            text = (harness.TOP / "examples" / "counter" / "quorate.toml").read_text()
            text = text.replace("[appliance]", f'[appliance]\nstate_dir = "{state_dir}"', 1)
            self.client = lab.client()
            self.group = appliance.Appliance(lab, lab.file("quorate.toml", text), state_dir,
                                             "counter", ["first", "second", "third"])
            self.group.start()
            with self.client.socket() as connection:
                load = Load(connection)
                load.start()
                try:
                    for number in range(KILLS):
                        self.kill_at_random(load)
                        if number % 4 == 3:
                            self.kill_at(POINTS[number // 4 % len(POINTS)], load)
                finally:
                    load.stop()
                self.assertIsNone(load.trouble)
                self.settle(load)

    def kill_at_random(self, load):
        load.heavy = True
        time.sleep(self.random.uniform(0.02, 0.1))  # pause: the instant
        self.group.proxy.send_signal(signal.SIGKILL)
        self.group.proxy.process.wait()
        self.go_on("at random", load)

    def kill_at(self, point, load):
        self.start_anew(f"{point}:{self.random.randint(1, 200)}")
        if point == "replayed":  # happens only where somebody is brought up
            self.lab.quorate("replica", "restart", "counter/third", "--config",
                             self.group.config, timeout=60)
        load.heavy = True
        harness.wait_until(lambda: not self.group.proxy.alive(), 20, f"death at {point}")
        self.go_on(f"at {point}", load)

    def go_on(self, kind, load):
        load.heavy = False
        self.start_anew()
        self.heal(kind)

    def start_anew(self, crash_point=None):
        if self.group.proxy.alive():
            self.group.proxy.stop()
        started = time.monotonic()
        options = {"program": "quorate-proxy-crashing",
                   "environment": {"QUORATE_CRASH_POINT": crash_point}} if crash_point else {}
        with contextlib.suppress(harness.ProgramEnded) if crash_point else contextlib.nullcontext():
            self.group.proxy = self.lab.proxy(self.group.config, self.group.state_dir, **options)
        if crash_point:
            self.group.proxy = self.lab.programs["proxy"]
        self.restart_s.append(time.monotonic() - started)

    def heal(self, kind):
        """What the kill has cost: waits until all is well, restarting whoever is lost."""
        lost, doubted, halted = set(), set(), False

        def well():
            nonlocal halted
            group = self.group.group_status()
            halted = halted or group["halted"]
            for replica in group["replicas"]:
                if replica["in_doubt"]:
                    doubted.add(replica["name"])
                if replica["standing"] == "lagging" and replica["lost"]:
                    lost.add(replica["name"])
                    self.lab.quorate("replica", "restart", f"counter/{replica['name']}",
                                     "--config", self.group.config, timeout=60)
                    return False
            return not group["halted"] and not any(
                replica["standing"] != "admitted" or replica["in_doubt"] or replica["lost"]
                for replica in group["replicas"])

        harness.wait_until(well, 60, f"the group is whole again after a kill {kind}")
        self.table[kind, "kills"] += 1
        self.table[kind, "in doubt"] += bool(doubted)
        self.table[kind, f"{len(lost)} lost"] += 1
        self.table[kind, "halted"] += halted

    def settle(self, load):
        """At rest: the counts are exact again, and all three agree."""
        client = load.client
        self.assertEqual(client.ask(1, timeout=5), 1)  # what the load has left is behind us
        before = self.group.settled()
        self.assertEqual(client.ask(100, timeout=3), 100)
        after = self.group.settled()
        change = appliance.difference(before, after)
        self.assertEqual((change["dissent"], change["silence"], change["split"]), (0, 0, 0))
        self.assertEqual(change["agreed"], 100, (before, after))
        last_order = self.group.group_status()["log"]["next_order"] - 1
        self.assertEqual(client.highest, last_order)
        self.show(client, load)
        self.assertEqual(client.wrong, [])
        self.assertTrue(self.group.proxy.control.status()["conservation"]["balanced"])

    def show(self, client, load):
        """In doubt: a delivery was uncertain. Lost: so many had to be restarted and brought up."""
        columns = ["kills", "in doubt", "0 lost", "1 lost", "2 lost", "3 lost", "halted"]
        kinds = sorted({kind for kind, _ in self.table})
        print(f"{'killed':14}" + "".join(f"{column:>10}" for column in columns))
        for kind in [*kinds, "all"]:
            cells = [sum(self.table[one, column] for one in (kinds if kind == "all" else [kind]))
                     for column in columns]
            print(f"{kind:14}" + "".join(f"{cell:10}" for cell in cells))
        self.restart_s.sort()
        print(f"{client.sent} requests, {len(client.counts)} answered, {load.repeated} asked again; "
              f"from start to answering the control socket "
              f"{self.restart_s[len(self.restart_s) // 2]:.2f} s (median)")


if __name__ == "__main__":
    unittest.main()
