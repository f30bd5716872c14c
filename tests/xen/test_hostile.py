"""A hostile frontend in a real guest against our netback: three replicas, two that echo and one
whose network driver is the attacker (guest/hostile). Whatever it does, every request is answered,
rightly, by the other two; they stay connected and admitted, and the proxy stays. Attacks that can be seen as
one thing only are seen as that.

Known limit: what the others cost the attacker is printed, not demanded: which of its requests the
backend forgives is the backend's own affair.
"""

import os
import subprocess
import sys
import threading
import unittest

import dom0
import echo_lab
import harness
from guests import run

LAB = ["--image", "echo,hostile"]
dom0.enter()

import accounts  # noqa: E402 (dom0 says where it is)
import domains  # noqa: E402

GROUP = """
f = 1
deadline_ms = 1000
suspend = "manual"
"""
# What the proxy says of the attacker, where an attack can only be seen as one thing.
SEEN_AS = {
    "producer-ahead": "ring_overflow",
    "producer-behind": "ring_overflow",
    "past-page": "crosses_page",
    "far-offset": "crosses_page",
    "size-zero": "frame_too_short",
    "size-mismatch": "sizes_disagree",
    "endless-slots": "slots_exceeded",
    "endless-extras": "extra_info_invalid",
    "unknown-extra": "extra_info_invalid",
    "bad-grant": "grant_refused",
    "lying-refs": "keys_invalid",
    "lying-words": "keys_invalid",
}
HOSTILE = harness.BUILD / "guest" / "hostile" / "hostile"
# In the client's namespace: asks NUMBER times, a request a time, and says how many were answered
# rightly and wrongly. A request that is not answered is asked again, as a resolver would.
CLIENT = """
import socket, sys
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.connect(("10.53.0.53", 7))
asked.settimeout(2)
right = wrong = again = 0
for number in range(int(sys.argv[1])):
    request = b"%08d of " % number + sys.argv[2].encode()
    for _ in range(5):
        asked.send(request)
        try:
            while True:
                answer = asked.recv(2000)
                if answer[:8] == request[:8]:
                    break
        except OSError:
            again += 1
            continue
        right += answer == request
        wrong += answer != request
        break
print(right, wrong, again)
"""


def attacks():
    """Names of all of them, as the program lists them; HOSTILE_ATTACKS picks some. (HOSTILE_TYPE=pvh
    has them come from a PVH domain.)"""
    if os.environ.get("HOSTILE_ATTACKS"):
        return os.environ["HOSTILE_ATTACKS"].split(",")
    listed = subprocess.run([HOSTILE, "--list"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in listed.splitlines()]


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = cls.enterClassContext(echo_lab.EchoLab())
        cls.client, cls.proxy = cls.lab.serve(
            "hostile", GROUP + echo_lab.replica("one") + echo_lab.replica("two")
            + echo_lab.replica("attacker", "hostile", type=os.environ.get("HOSTILE_TYPE", "pv")))
        cls.lab.start_replicas()

    @classmethod
    def domain(cls, name):
        found = [number for each, number in domains.domains().items()
                 if each.startswith(f"quorate-hostile-echo-{name}-")]
        return found[0]

    def ask(self, number, word, deadline_s=240):
        done = self.client.run([sys.executable, "-c", CLIENT, str(number), word],
                               timeout=deadline_s)
        return [int(figure) for figure in done.stdout.split()]

    def attack(self, number, name):
        """Starts it, asks meanwhile, waits for its end; what the proxy saw of it."""
        home = f"/local/domain/{self.domain(2)}/data/quorate"
        seen, ended = set(), threading.Event()

        def look():  # the attacker connects anew after 3 s, and is as good as new
            while not ended.wait(0.2):
                seen.add(self.lab.replicas()[2]["netback"]["violation"])

        def told():
            text = dom0.xenstore(f"{home}/told") or ""
            return text if text.startswith(f"{number} ") else None

        looking = threading.Thread(target=look)
        looking.start()
        try:
            run("xenstore-write", f"{home}/tell", f"{number} {name}")
            right, wrong, again = self.ask(30, name)
            text = harness.wait_until(told, echo_lab.SECONDS_MAX, f"the end of {name}", pause_s=0.3)
        finally:
            ended.set()
            looking.join()
        self.assertEqual((right, wrong), (30, 0), name)
        seen -= {None}
        print(f"{name}: seen as {', '.join(sorted(seen)) or 'nothing'}; {text.split(' ', 1)[1]}; "
              f"{again} asked again", flush=True)
        return seen

    def test_it_harms_nobody_but_itself(self):
        self.assertEqual(self.ask(50, "honest")[:2], [50, 0])
        pid = self.proxy.process.pid
        for number, name in enumerate(attacks(), 1):
            with self.subTest(name):
                seen = self.attack(number, name)
                if name in SEEN_AS:
                    self.assertIn(SEEN_AS[name], seen)
                self.assertTrue(self.proxy.alive())
                self.assertEqual(self.lab.standings()[:2], ["admitted"] * 2)
                for slot in (0, 1):
                    domain = self.domain(slot)
                    self.assertEqual(dom0.xenstore(f"{domains.BACKENDS}/{domain}/0/state"), "4")
        self.assertEqual(self.proxy.process.pid, pid)
        self.assertEqual(self.ask(50, "after")[:2], [50, 0])
        accounts.stop_all(self.proxy.control, lambda: self.lab.replica("stop", "--all"), "quorate-hostile-")


if __name__ == "__main__":
    unittest.main()
