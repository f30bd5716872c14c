"""tools/lab without an emulator: keys, arguments, what is swept, what comes back, both ends of the
conversation. What needs Xen is in tests/xen/."""

import contextlib
import fcntl
import importlib
import io
import json
import os
import pathlib
import select
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import unittest
import unittest.mock

TOP = pathlib.Path(__file__).resolve().parents[2]
LAB = TOP / "tools" / "lab"
LABORATORY = TOP / "tools" / "laboratory"
sys.path[:0] = [str(LABORATORY), str(LABORATORY / "inside")]

agent = importlib.import_module("agent")
channel = importlib.import_module("channel")
dom0 = importlib.import_module("dom0")
jobs = importlib.import_module("jobs")
layers = importlib.import_module("layers")
machine = importlib.import_module("machine")
main = importlib.import_module("main")
runs = importlib.import_module("runs")
store = importlib.import_module("store")
tree = importlib.import_module("tree")


def lab(*words, **options):
    return subprocess.run([LAB, *words], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, **options)


class WithCache(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.cache = pathlib.Path(directory.name).resolve()
        patch = unittest.mock.patch.dict(os.environ, {"QUORATE_CACHE": str(self.cache)})
        patch.start()
        self.addCleanup(patch.stop)


class Arguments(unittest.TestCase):
    def test_help_and_mistakes(self):
        done = lab("--help")
        self.assertEqual(done.returncode, 0)
        for word in ("build", "up", "run", "down", "shell", "status", "125"):
            self.assertIn(word, done.stdout)
        for words in ([], ["walk"], ["run"], ["run", "--timeout", "0", "--", "true"],
                      ["run", "--timeout", "nan", "--", "true"], ["status", "--jsn"]):
            self.assertEqual(lab(*words).returncode, 2, words)

    def test_options_of_the_command_are_its_own(self):
        arguments = main.parse(["run", "--get", "a:b", "--", "ls", "--get", "-l"])
        self.assertEqual(arguments.command, ["ls", "--get", "-l"])
        self.assertEqual(arguments.get, ["a:b"])

    def test_native_says_why_not(self):
        if jobs.is_dom0():
            self.skipTest("this is a Xen Dom0")
        done = lab("run", "--native", "--", "true")
        self.assertEqual(done.returncode, 125)
        self.assertIn("not a Xen Dom0", done.stderr)


class Keys(WithCache):
    def test_every_part_counts_and_order_does_not(self):
        self.assertEqual(store.key_of({"a": 1, "b": [2]}), store.key_of({"b": [2], "a": 1}))
        self.assertNotEqual(store.key_of({"a": 1}), store.key_of({"a": 2}))

    def test_the_machine_is_part_of_a_layers_key(self):
        with unittest.mock.patch.object(dom0, "key", lambda: "0" * 16), \
                unittest.mock.patch.object(machine, "qemu_version", lambda: "7"):
            before = layers.dom0_key()
            with unittest.mock.patch.dict(machine.SETTINGS, {"xen": "dom0_mem=1G"}):
                self.assertNotEqual(layers.dom0_key(), before)
            with unittest.mock.patch.object(machine, "qemu_version", lambda: "8"):
                self.assertNotEqual(layers.dom0_key(), before)
            with unittest.mock.patch.object(dom0, "key", lambda: "1" * 16):
                self.assertNotEqual(layers.dom0_key(), before)
            self.assertEqual(layers.dom0_key(), before)

    def test_versions_are_part_of_the_images_key(self):
        with unittest.mock.patch.object(dom0, "versions", lambda: {"xen": "1"}):
            before = dom0.key()
        with unittest.mock.patch.object(dom0, "versions", lambda: {"xen": "2"}):
            self.assertNotEqual(dom0.key(), before)

    def test_packages_are_sorted_and_told_once(self):
        self.assertEqual(dom0.wanted_packages(), sorted(set(dom0.wanted_packages())))


class Store(WithCache):
    def test_what_was_interrupted_is_not_there(self):
        def half(scratch):
            (scratch / "half").write_text("")
            raise OSError("interrupted")

        with self.assertRaises(OSError):
            store.made("layers", "aa", half, print)
        self.assertEqual(store.contents("layers"), [])
        (store.place("layers", ".making-aa")).mkdir()  # as a kill would leave it
        whole = store.made("layers", "aa", lambda scratch: (scratch / "all").write_text("x") and None,
                           print)
        self.assertEqual((whole / "all").read_text(), "x")
        again = store.made("layers", "aa", lambda scratch: self.fail("made twice"), print)
        self.assertEqual(again, whole)
        self.assertFalse(store.place("layers", ".making-aa").exists())

    def test_what_stands_on_something_else_goes_with_it(self):
        def image():
            return store.made("images", "aa", lambda scratch: None, print)

        times = []

        def layer():
            return store.made("layers", "bb", lambda scratch: times.append(1) or [image()], print)

        layer()
        os.utime(image(), (1, 1))
        layer()
        self.assertEqual(len(times), 1)
        self.assertGreater(image().stat().st_mtime, 1, "a use of the layer is one of the image")
        shutil.rmtree(image())
        image()  # the same key, but not the same bytes
        layer()
        self.assertEqual(len(times), 2)

    def test_old_ones_are_forgotten_but_not_recent_ones(self):
        for number in range(store.KEPT["layers"] + 3):
            directory = store.place("layers", f"{number:04x}")
            directory.mkdir(parents=True)
            age = 10 if number < store.KEPT["layers"] + 2 else 2 * store.FORGET_AFTER_S["layers"]
            os.utime(directory, (directory.stat().st_mtime - age,) * 2)
        store.forget_old("layers")
        self.assertEqual(len(store.contents("layers")), store.KEPT["layers"] + 2)

    def test_runs_of_the_dead_are_swept_and_no_others(self):
        for name in ("dead", "alive"):
            runs.directory_of(name).mkdir(parents=True)
            (runs.directory_of(name) / "lock").write_text("")
        with (runs.directory_of("alive") / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            runs.sweep()
            self.assertFalse(runs.directory_of("dead").exists())
            self.assertTrue(runs.directory_of("alive").exists())


class Console(WithCache):
    def words(self, text):
        (self.cache / machine.CONSOLE).write_bytes(text)
        return machine.last_words(self.cache)

    def test_the_end_of_xen_and_dom0_is_seen(self):
        for line in (b"(XEN) Panic on CPU 0:", b"[    1.2] Kernel panic - not syncing: VFS",
                     b"(XEN) Hardware Dom0 crashed: rebooting machine in 5 seconds.",
                     b"lab: Dom0 cannot start: xenstored"):
            found = self.words(b"(XEN) booting\r\n" + line + b"\r\n(XEN) more\r\n")
            self.assertIn(line.decode(), found or "nothing", line)
            self.assertIn("(XEN) more", found)

    def test_a_guests_end_is_not(self):
        self.assertIsNone(self.words(b"(XEN) booting\n(d3) Kernel panic - not syncing: VFS\n"))
        self.assertIsNone(self.words(b""))

    def test_a_guest_that_the_emulation_failed(self):
        self.words(b"(XEN) d12v0 Triple fault - invoking HVM shutdown action 1\r\n")
        self.assertEqual(machine.emulation_failed(self.cache), "(XEN) d12v0 Triple fault")
        self.assertIsNone(self.words(b"(XEN) d12v0 Triple fault\n"), "the machine goes on")
        self.words(b"(d12) (XEN) d1v0 Triple fault - a guest may say anything\n")
        self.assertIsNone(machine.emulation_failed(self.cache))


class Tree(unittest.TestCase):
    def test_programs_and_sources(self):
        with tempfile.TemporaryDirectory() as directory:
            build = pathlib.Path(directory)
            (build / "proxy").mkdir()
            (build / "meson-private").mkdir()
            for name, data, mode in (("proxy/program", b"\x7fELF...", 0o755),
                                     ("proxy/object", b"\x7fELF...", 0o644),
                                     ("meson-private/check", b"\x7fELF...", 0o755),
                                     ("proxy/script", b"#!/bin/sh", 0o755)):
                (build / name).write_bytes(data)
                (build / name).chmod(mode)
            self.assertEqual(set(tree.programs(build)), {"proxy/program"})
        self.assertIn("tools/lab", tree.sources())

    def test_differences(self):
        with tempfile.TemporaryDirectory() as directory:
            files = {}
            for name in ("same", "changed", "gone"):
                files[name] = pathlib.Path(directory, name)
                files[name].write_text(name)
            before = tree.listing(files)
            self.assertIsNone(tree.differences(before, before, files))
            del files["gone"]
            files["changed"].write_text("longer than before")
            files["link"] = pathlib.Path(directory, "link")
            files["link"].symlink_to("same")
            archive, gone = tree.differences(before, tree.listing(files), files)
            self.assertEqual(gone, ["gone"])
            with tarfile.open(fileobj=archive) as tar:
                self.assertEqual(sorted(tar.getnames()), ["changed", "link"])
                self.assertEqual(tar.extractfile("changed").read(), b"longer than before")


class Bringing(unittest.TestCase):
    def test_nothing_lands_outside(self):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in ("tmp/good", "../evil", "/tmp/absolute"):
                entry = tarfile.TarInfo(name)
                entry.size = 2
                tar.addfile(entry, io.BytesIO(b"ok"))
            link = tarfile.TarInfo("tmp/link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
        archive.seek(0)
        with tarfile.open(fileobj=archive) as tar:
            self.assertEqual([member.name for member in jobs.harmless(tar)],
                             ["tmp/good", "tmp/absolute"])


    def test_a_device_keeps_its_permissions(self):
        before = os.stat("/dev/null").st_mode
        with tempfile.NamedTemporaryFile() as file, \
                unittest.mock.patch.object(jobs.shutil, "copymode") as copymode:
            jobs.place(pathlib.Path(file.name), pathlib.Path("/dev/null"))
            copymode.assert_not_called()
        self.assertEqual(os.stat("/dev/null").st_mode, before)


class Process:
    """Stands for the machine: it runs until it is told to have ended."""

    def __init__(self, directory):
        self.directory = directory
        self.reason = None

    def trouble(self):
        return self.reason


class SocketPort(agent.Port):
    """The agent's end on a socket: the kernel's port without its signals."""

    def __init__(self, connection):
        self.file = connection.fileno()
        self.connection = connection
        connection.setblocking(False)
        self.buffer = b""


class Conversation(unittest.TestCase):
    """The real two ends over a socket, as they talk over a port."""

    def setUp(self):
        self.ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)  # last: the thread uses its number
        patch = unittest.mock.patch.object(agent, "settle", lambda hello: None)
        patch.start()
        self.addCleanup(patch.stop)
        self.thread = threading.Thread(target=self.serve, args=(SocketPort(theirs),), daemon=True)
        self.thread.start()
        self.addCleanup(self.thread.join)
        self.addCleanup(self.ours.close)
        self.process = Process(tempfile.gettempdir())
        self.channel = channel.Channel.__new__(channel.Channel)
        self.channel.machine, self.channel.port = self.process, 0
        self.channel.connection, self.channel.buffer = self.ours, b""
        self.ours.setblocking(False)
        self.channel.heard = 1e18
        self.channel.hello(deadline_s=10)

    def serve(self, port):
        while True:
            try:
                agent.converse(port)
            except agent.HostGone:
                if port.events(select.POLLIN) & select.POLLHUP:
                    return

    def run_job(self, argv, source=None, timeout_s=60, **wanted):
        output = {"O": b"", "E": b""}

        def keep(letter, data):
            output[letter] += data

        code, overdue = self.channel.run({"argv": argv, **wanted}, keep, source, timeout_s)
        return code, overdue, output["O"], output["E"]

    def test_output_errors_and_status(self):
        self.assertEqual(self.run_job(["sh", "-c", "echo out; echo err >&2; exit 7"]),
                         (7, False, b"out\n", b"err\n"))
        self.assertEqual(self.run_job(["sh", "-c", "kill -9 $$"])[0], 137)
        self.assertEqual(self.run_job(["/no/such/program"])[0], 127)
        self.assertEqual(self.run_job(["/etc/passwd"])[0], 126)

    def test_input_larger_than_any_buffer(self):
        with tempfile.TemporaryFile() as file:
            file.write(b"0123456789abcdef" * 60000)
            file.seek(0)
            code, _, output, _ = self.run_job(["sh", "-c", "sleep 0.2; exec md5sum"], file.fileno())
            file.seek(0)
            expected = subprocess.run(["md5sum"], stdin=file, capture_output=True, check=True).stdout
        self.assertEqual((code, output), (0, expected))

    def test_much_output(self):
        self.assertEqual(len(self.run_job(["head", "-c", "3000000", "/dev/zero"])[2]), 3000000)

    def test_overdue_jobs_are_ended(self):
        self.assertEqual(self.run_job(["sleep", "60"], timeout_s=0.3)[:2], (143, True))
        with unittest.mock.patch.object(channel, "KILL_GRACE_S", 0.3):
            stubborn = ["bash", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]
            self.assertEqual(self.run_job(stubborn, timeout_s=0.5)[:2], (137, True))

    def test_a_child_that_keeps_the_output_open_does_not_hold_us(self):
        code, overdue, output, _ = self.run_job(["sh", "-c", "sleep 5 & echo done"], timeout_s=4)
        self.assertEqual((code, overdue, output), (0, False, b"done\n"))

    def test_files_come_back_and_missing_ones_are_named(self):
        with tempfile.TemporaryDirectory() as directory:
            name = os.path.join(directory, "file")
            pathlib.Path(name).write_text("content")
            archive = io.BytesIO()
            self.assertEqual(self.channel.fetch([name, "/no/such"], archive), ["/no/such"])
            archive.seek(0)
            with tarfile.open(fileobj=archive) as tar:
                self.assertEqual(tar.extractfile(name.lstrip("/")).read(), b"content")

    def test_a_machine_that_ends_is_said(self):
        timer = threading.Timer(0.5, lambda: setattr(self.process, "reason", "QEMU ended: test"))
        timer.start()
        self.addCleanup(timer.join)
        with self.assertRaisesRegex(store.Failure, "QEMU ended: test"):
            self.run_job(["sleep", "3"])

    def test_one_that_follows_in_the_middle_of_a_conversation_is_heard(self):
        self.channel.send("J", json.dumps({"argv": ["sleep", "60"]}).encode())
        self.channel.hello(deadline_s=10)
        self.assertEqual(self.run_job(["echo", "second"])[2], b"second\n")


class Help(unittest.TestCase):
    def test_status_is_json(self):
        with tempfile.TemporaryDirectory() as cache:
            done = lab("status", "--json", env={**os.environ, "QUORATE_CACHE": cache})
            found = json.loads(done.stdout)
            self.assertEqual((done.returncode, found["up"], found["layers"]), (1, None, []))
            self.assertIn("current", found)

    def test_down_with_nothing_up(self):
        with tempfile.TemporaryDirectory() as cache, contextlib.suppress(OSError):
            self.assertEqual(lab("down", env={**os.environ, "QUORATE_CACHE": cache}).returncode, 1)


if __name__ == "__main__":
    unittest.main()
