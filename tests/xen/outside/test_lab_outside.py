"""tools/lab from outside: what comes back from Dom0, and what is said when QEMU, Xen or Dom0 goes down.
Needs the emulator; the layer is built if it is not there."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time
import unittest

TOP = pathlib.Path(__file__).resolve().parents[3]
LAB = TOP / "tools" / "lab"
ALONE = True  # it changes what every machine gets
SECONDS_MAX = 240


def setUpModule():  # noqa: N802 (unittest's name)
    done = subprocess.run([LAB, "build"], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL)
    if "needs root" in done.stderr:
        raise unittest.SkipTest("Dom0 is not built, and building it needs root")
    assert done.returncode == 0, done.stderr


def lab(*words, **options):
    return subprocess.run([LAB, *words], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=SECONDS_MAX, **options)


def in_dom0(*command, options=(), **more):
    return lab("run", "--fresh", *options, "--", *command, **more)


def children(pid):
    """Processes that this one started: QEMU among them."""
    found = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found
            if "qemu" in pathlib.Path(f"/proc/{child}/comm").read_text()]


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return pathlib.Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"


def eventually(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)  # pause: between two looks, until the deadline


class Back(unittest.TestCase):
    def test_output_status_and_files(self):
        with tempfile.TemporaryDirectory() as directory:
            done = in_dom0("sh", "-c", "echo out; echo err >&2; mkdir -p /tmp/d; date +%s >/tmp/d/now; "
                           "exit 7", options=["--get", "/tmp/d", "--get", "/tmp/d/now:then"],
                           cwd=directory)
            self.assertEqual((done.returncode, done.stdout), (7, "out\n"), done.stderr)
            self.assertIn("err\n", done.stderr)
            self.assertLess(abs(time.time() - int(pathlib.Path(directory, "then").read_text())), 60)
            self.assertEqual(pathlib.Path(directory, "d", "now").read_text(),
                             pathlib.Path(directory, "then").read_text())
            self.assertEqual(sorted(os.listdir(directory)), ["d", "then"])

    def test_time_is_up(self):
        began = time.monotonic()
        done = in_dom0("sleep", "1000", options=["--timeout", "1"])
        self.assertEqual(done.returncode, 124)
        self.assertLess(time.monotonic() - began, SECONDS_MAX / 2)

    def test_two_machines_have_nothing_in_common(self):
        command = ["sh", "-c", "test ! -e /etc/mark && touch /etc/mark && head -c 16 /dev/urandom | md5sum"]
        first, second = in_dom0(*command), in_dom0(*command)
        self.assertEqual((first.returncode, second.returncode), (0, 0), first.stderr + second.stderr)
        self.assertNotEqual(first.stdout, second.stdout)


class Down(unittest.TestCase):
    def start(self, *command):
        process = subprocess.Popen([LAB, "run", "--fresh", "--", *command], text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        return process

    def test_a_killed_qemu_is_reported(self):
        process = self.start("sh", "-c", "echo begun; exec sleep 1000")
        self.assertEqual(process.stdout.readline(), "begun\n")
        os.kill(children(process.pid)[0], signal.SIGKILL)
        self.assertEqual(process.wait(SECONDS_MAX), 125)
        self.assertIn("killed by SIGKILL", process.stderr.read())

    def test_a_panic_of_dom0_is_reported_with_the_consoles_end(self):
        done = in_dom0("sh", "-c", "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 99")
        self.assertEqual(done.returncode, 125)
        self.assertIn("Xen or Dom0 went down", done.stderr)
        self.assertIn("sysrq triggered crash", done.stderr)

    def test_xen_leaving_is_reported(self):
        done = in_dom0("sh", "-c", "xl debug-keys R; sleep 99")  # "reboot machine"
        self.assertEqual(done.returncode, 125)
        self.assertIn("QEMU ended", done.stderr)
        self.assertIn("the console's end", done.stderr)

    def test_nothing_outlives_a_killed_command(self):
        process = self.start("sh", "-c", "echo begun; exec sleep 1000")
        self.assertEqual(process.stdout.readline(), "begun\n")
        qemu = children(process.pid)[0]
        where = pathlib.Path(os.readlink(f"/proc/{qemu}/cwd"))
        process.kill()
        process.wait()
        eventually(lambda: gone(qemu), "QEMU has ended")
        # Whoever comes next sweeps it away, unless a thread of QEMU is still about to end.
        eventually(lambda: in_dom0("true").returncode == 0 and not where.exists(), "its files are gone")


class Standing(unittest.TestCase):
    """A machine that stays. Where this checkout has one already, it is somebody's: left alone."""

    def setUp(self):
        if json.loads(lab("status", "--json").stdout)["up"]:
            self.skipTest("a machine of this checkout is up already")
        self.addCleanup(lab, "down")
        self.assertEqual(lab("up", "--quiet").returncode, 0)

    def test_it_stays_is_seen_and_goes(self):
        self.assertEqual(lab("run", "--", "touch", "/etc/mark").returncode, 0)
        self.assertEqual(lab("run", "--", "test", "-e", "/etc/mark").returncode, 0)
        status = lab("status", "--json")
        found = json.loads(status.stdout)["up"]
        self.assertEqual((status.returncode, found["trouble"]), (0, None))
        self.assertEqual(lab("up").returncode, 0)
        self.assertEqual(lab("down").returncode, 0)
        eventually(lambda: gone(found["pid"]), "QEMU has ended")
        self.assertEqual(lab("status").returncode, 1)

    def test_several_commands_at_once(self):
        results = []
        threads = [threading.Thread(target=lambda number=number: results.append(
            lab("run", "--", "sh", "-c", f"sleep 1; echo {number}").stdout)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(results), ["0\n", "1\n", "2\n"])

    def test_what_changes_here_changes_there(self):
        name = TOP / "build" / "release" / "lab-test-program"
        name.write_bytes(pathlib.Path("/bin/true").read_bytes())
        try:
            name.chmod(0o755)
            inside = "/quorate/build/release/lab-test-program"
            self.assertEqual(lab("run", "--", inside).returncode, 0)
        finally:
            name.unlink()
        self.assertEqual(lab("run", "--", "test", "-e", inside).returncode, 1)

    def test_a_killed_qemu_is_said_and_swept(self):
        found = json.loads(lab("status", "--json").stdout)["up"]
        os.kill(found["pid"], signal.SIGKILL)
        eventually(lambda: gone(found["pid"]), "QEMU has ended")
        self.assertEqual(lab("status").returncode, 1)
        self.assertEqual(lab("up", "--quiet").returncode, 0)


class Layers(unittest.TestCase):
    def test_what_a_preparation_started_goes_on_and_is_not_done_again(self):
        options = ["--input", "tests/README.md", "--prepare", "test -e tests/README.md && "
                   "(while :; do date +%s.%N >/run/ticks; sleep 0.1; done) >/dev/null 2>&1 </dev/null &"]
        command = ["sh", "-c", "a=$(cat /run/ticks); while [ \"$(cat /run/ticks)\" = \"$a\" ]; do "
                   "sleep 0.1; done; test -e /prepared/tests/README.md && test -e tools/lab"]
        first = in_dom0(*command, options=options)
        self.assertEqual(first.returncode, 0, first.stderr)
        second = in_dom0(*command, options=options)
        self.assertEqual(second.returncode, 0, second.stderr)
        self.assertNotIn("layer", second.stderr)

    def test_one_that_fails_leaves_no_layer(self):
        done = in_dom0("true", options=["--prepare", "echo why >&2; exit 3"])
        self.assertEqual(done.returncode, 125)
        self.assertIn("why\n", done.stderr)
        self.assertIn("failed with status 3", done.stderr)


if __name__ == "__main__":
    unittest.main()
