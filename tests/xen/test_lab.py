"""The lab itself, seen from inside: a hypervisor, Dom0, this checkout, and guests of our images."""

import os
import pathlib
import subprocess
import unittest

import dom0

LAB = ["--image", "echo"]
dom0.enter()


class Dom0(unittest.TestCase):
    def test_xen_runs_us_as_dom0(self):
        self.assertIn("Domain-0", dom0.domains())
        self.assertIn("control_d", pathlib.Path("/proc/xen/capabilities").read_text())
        self.assertRegex(dom0.guests.run("xl", "info", "xen_version").stdout, r"^4\.\d")

    def test_this_checkout_and_its_programs_are_here(self):
        self.assertEqual(dom0.TOP, pathlib.Path("/quorate"))
        for program in ("quorate", "quorate-proxy"):
            done = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_nothing_misses_a_library(self):
        programs = [path for path in (dom0.TOP / "build" / "release").rglob("*")
                    if path.is_file() and os.access(path, os.X_OK)]
        self.assertTrue(programs)
        for path in programs:
            needs = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
            missing = [line.strip() for line in needs.splitlines() if "not found" in line]
            self.assertEqual(missing, [], f"{path} (dom0_packages.txt says what Dom0 has)")

    def test_on_a_real_dom0_it_runs_natively(self):
        done = subprocess.run([dom0.TOP / "tools" / "lab", "run", "--native", "--", "sh", "-c",
                               "xl list; exit 3"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("Domain-0", done.stdout)

    def test_and_so_do_tests_of_an_appliance(self):
        before = dom0.domains()
        done = subprocess.run(
            [dom0.TOP / "tools" / "lab", "run", "--native", "--appliance", "echo", "--env",
             "QUORATE_REQUESTS=500", "--", "python3", "tests/python_suite.py",
             "tests/xen/test_many_requests.py"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn('RESULT {"passed": 3, "failed": 0, "skipped": 0}', done.stdout)
        self.assertEqual((dom0.domains(), dom0.backends()), (before, []))
        self.assertFalse(pathlib.Path("/run/quorate-test").exists())
        dom0.harness.wait_until(lambda: not pathlib.Path("/sys/class/net/qc0").exists(), 20,
                               "the client's interface is gone")

    def test_random_numbers_and_threads_of_time_are_not_the_snapshots(self):
        # The layer was made before this checkout's disk was, which has the time of its making.
        self.assertNotEqual(os.urandom(16), bytes(16))
        newest = max(path.stat().st_mtime for path in pathlib.Path("/quorate/tests").rglob("*.py"))
        now = pathlib.Path("/run/now")
        now.write_text("")
        self.assertGreater(now.stat().st_mtime, newest - 1)


class Guests(unittest.TestCase):
    def test_one_boots_is_healthy_and_is_gone(self):
        with dom0.Lab() as lab:
            guest = lab.guest("echo")
            self.assertIn(guest.name, dom0.domains())
            guest.wait_healthy()
            self.assertIn("quorate: echo: healthy", guest.console())

    def test_one_left_behind_is_noticed(self):
        lab = dom0.Lab(cleanup_s=2)
        guest = dom0.Guest("echo", start=False)
        self.assertIn(f"domain {guest.name}", lab._end())
        guest.destroy()


if __name__ == "__main__":
    unittest.main()
