"""A xenstored that hangs, under load: what runs goes on, `list` still tells, what needs xenstored says
so within seconds, and all is well when it answers again.
"""

import os
import pathlib
import signal
import time
import unittest

import dom0

LAB = ["--appliance", "echo"]
dom0.enter()

import harness  # noqa: E402 (dom0 says where it is)
import replicas  # noqa: E402
from test_deaths_under_load import Load  # noqa: E402


def xenstored():
    for entry in pathlib.Path("/proc").glob("[0-9]*/comm"):
        if entry.read_text().strip() in ("xenstored", "oxenstored"):
            return int(entry.parent.name)
    raise AssertionError("there is no xenstored")


class Silence(unittest.TestCase):
    def test_what_runs_goes_on(self):
        appliance = replicas.Running("echo")
        load = Load(appliance.client.socket(), appliance.server)
        self.addCleanup(load.end)
        load.goes_on()
        pid = xenstored()
        os.kill(pid, signal.SIGSTOP)
        try:
            load.goes_on(100)
            listed = appliance.quorate("replica", "list")
            self.assertEqual(listed.stdout.count("healthy since"), 3)
            began = time.monotonic()
            refused = appliance.quorate("replica", "restart", "second", check=False)
            self.assertEqual(refused.returncode, 1)
            self.assertIn("xenstored cannot be reached", refused.stderr)
            self.assertLess(time.monotonic() - began, 40)
            load.goes_on()
        finally:
            os.kill(pid, signal.SIGCONT)
        appliance.quorate("replica", "restart", "second")
        harness.wait_until(lambda: set(appliance.standings()) == {"admitted"}, 120, "all vote again")
        load.goes_on()
        load.end()
        self.assertEqual(load.wrong, [])


if __name__ == "__main__":
    unittest.main()
