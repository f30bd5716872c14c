"""tools/bench xen, one short round: every figure is there, and no guest was told less than was counted.
Nothing here asks how fast."""

import json
import pathlib
import subprocess
import unittest

TOP = pathlib.Path(__file__).resolve().parents[3]
SECONDS_MAX = 900
ASKED_FOR = ["ratio_echo_kernel_netback", "ratio_one_way_kernel_netback", "copy_ioctls_per_request",
             "copy_segments_per_ioctl", "cpu_idle_percent", "requests_per_second_voting"]


class Bench(unittest.TestCase):
    def test_one_short_round(self):
        done = subprocess.run([TOP / "benchmarks" / "xen" / "bench_xen.py", "--quick", "--json"],
                              capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                              timeout=SECONDS_MAX)
        if "needs root" in done.stderr:
            self.skipTest("Dom0 is not built, and building it needs root")
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        figures = json.loads(done.stdout)["figures"]
        for name in ASKED_FOR:
            self.assertGreater(figures[name]["value"], 0, name)
            self.assertTrue(figures[name]["how"], name)
        # What is counted on our side as delivered, the guests have received.
        self.assertGreater(figures["guests_received_share"]["value"], 0.9)


if __name__ == "__main__":
    unittest.main()
