#!/usr/bin/python3
"""The two counter services answer alike, and each misbehaves as it is told. Loopback only.

    tests/unit/guest/test_counter.py [--counter PATH-OF-THE-BUILT-ONE] [unittest's arguments]
"""

import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

TOP = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(TOP / "guest" / "counter"))
from tell import tell  # noqa: E402

IMPLEMENTATIONS = {"python": ["/usr/bin/python3", str(TOP / "guest/counter/counter.py")]}
WAIT_S = 5.0  # for what must come; a failing test takes this long
QUIET_S = 0.15  # how long nothing must come


def free_port():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind(("::", 0))
        return probe.getsockname()[1]


class Service:
    """One running counter and a client of it."""

    def __init__(self, implementation, directory, name="c", extra=(), control=None):
        self.port = free_port()
        self.control = control or os.path.join(directory, name)
        self.process = subprocess.Popen(
            [*IMPLEMENTATIONS[implementation], "--port", str(self.port), "--control", self.control,
             *extra], stderr=subprocess.PIPE, text=True)
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.connect(("127.0.0.1", self.port))
        end = time.monotonic() + WAIT_S
        while True:  # until it listens
            try:
                if self.tell("state", 0.2) == "0":
                    return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise AssertionError("the counter did not start: " + self.stop()) from None

    def tell(self, command, seconds=WAIT_S):
        return tell(self.control, command, seconds)

    def send(self, number, extra=b""):
        self.client.send(struct.pack(">Q", number) + extra)

    def receive(self, seconds=WAIT_S):
        """(request, count), or None when nothing comes in time."""
        self.client.settimeout(seconds)
        try:
            return struct.unpack(">QQ", self.client.recv(100))
        except socket.timeout:
            return None

    def ask(self, number):
        self.send(number)
        return self.receive()

    def stop(self):
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, text = self.process.communicate(timeout=WAIT_S)
        return text


class Behaviour:
    """Run once for each implementation."""

    implementation = ""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="quorate-counter-")
        self.addCleanup(temporary.cleanup)
        self.directory = temporary.name

    def service(self, name="c", implementation=None, **options):
        made = Service(implementation or self.implementation, self.directory, name, **options)
        self.addCleanup(made.stop)
        return made

    def test_counts(self):
        service = self.service()
        self.assertEqual(service.ask(7), (7, 1))
        self.assertEqual(service.ask(7), (7, 2))  # executed again: it knows no repetitions
        self.assertEqual(service.ask(2**64 - 1), (2**64 - 1, 3))
        self.assertEqual(service.tell("state"), "3")
        self.assertEqual(service.tell("last"), f"{2**64 - 1} 3")

    def test_what_follows_the_number_is_ignored(self):
        service = self.service()
        service.send(5, b"x" * 1000)
        self.assertEqual(service.receive(), (5, 1))

    def test_short_datagrams_are_not_requests(self):
        service = self.service()
        for length in range(8):
            service.client.send(b"\0" * length)
        self.assertEqual(service.ask(1), (1, 1))

    def test_both_address_families_share_the_count(self):
        service = self.service()
        self.assertEqual(service.ask(1), (1, 1))
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.settimeout(WAIT_S)
            client.connect(("::1", service.port))
            client.send(struct.pack(">Q", 2))
            self.assertEqual(struct.unpack(">QQ", client.recv(100)), (2, 2))

    def test_answers_from_the_address_that_was_asked(self):
        service = self.service()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(WAIT_S)
            client.bind(("127.0.0.1", 0))
            client.sendto(struct.pack(">Q", 2), ("127.0.0.99", service.port))
            self.assertEqual(client.recvfrom(100)[1], ("127.0.0.99", service.port))

    def test_listens_only_where_told(self):
        service = self.service(extra=["--address", "127.0.0.1"])
        self.assertEqual(service.ask(1), (1, 1))
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.settimeout(WAIT_S)
            client.connect(("::1", service.port))
            client.send(struct.pack(">Q", 2))
            with self.assertRaises(ConnectionRefusedError):
                client.recv(100)

    def test_lies_and_is_honest_again(self):
        service = self.service()
        self.assertEqual(service.tell("lie"), "ok")
        self.assertEqual(service.ask(1), (1, 2))
        self.assertEqual(service.tell("lie 40"), "ok")
        self.assertEqual(service.ask(2), (2, 42))
        self.assertEqual(service.tell("honest"), "ok")
        self.assertEqual(service.ask(3), (3, 3))

    def test_silent_executes_deaf_does_not(self):
        service = self.service()
        service.tell("silent")
        service.send(1)
        self.assertIsNone(service.receive(QUIET_S))
        self.assertEqual(service.tell("state"), "1")
        service.tell("deaf")
        service.send(2)
        self.assertIsNone(service.receive(QUIET_S))
        service.tell("honest")
        self.assertEqual(service.ask(3), (3, 2))

    def test_burns_and_still_answers(self):
        service = self.service()

        def processor_seconds():
            fields = pathlib.Path(f"/proc/{service.process.pid}/stat").read_text().rsplit(")")[-1]
            words = fields.split()
            return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

        self.assertEqual(service.tell("burn"), "ok")
        end = time.monotonic() + WAIT_S
        before = processor_seconds()
        asked = 0
        while processor_seconds() - before < 0.2 and time.monotonic() < end:
            asked += 1
            self.assertEqual(service.ask(asked), (asked, asked))
            self.assertIsNone(service.receive(0.02))
        self.assertGreaterEqual(processor_seconds() - before, 0.2)
        service.tell("honest")
        self.assertIsNone(service.receive(0.01))
        before = processor_seconds()
        self.assertIsNone(service.receive(QUIET_S))
        self.assertLess(processor_seconds() - before, 0.1)

    def test_answers_late_and_in_order(self):
        service = self.service()
        service.tell("late 120")
        start = time.monotonic()
        service.send(1)
        service.send(2)
        self.assertEqual(service.receive(), (1, 1))
        self.assertGreaterEqual(time.monotonic() - start, 0.115)
        self.assertEqual(service.receive(), (2, 2))
        self.assertLess(time.monotonic() - start, 2)

    def test_answers_twice(self):
        service = self.service()
        service.tell("twice")
        self.assertEqual(service.ask(1), (1, 1))
        self.assertEqual(service.receive(), (1, 1))
        self.assertIsNone(service.receive(QUIET_S))

    def test_answers_before_it_is_asked(self):
        service = self.service()
        service.tell("early")
        self.assertEqual(service.ask(9), (9, 1))
        self.assertEqual(service.receive(), (10, 2))
        self.assertEqual(service.ask(10), (10, 2))
        self.assertEqual(service.receive(), (11, 3))

    def test_copies_the_other_ones_answer(self):
        for other in IMPLEMENTATIONS:
            with self.subTest(other=other):
                liar = self.service("liar-" + other, other)
                copier = self.service("copier-" + other)
                liar.tell("lie 100")
                self.assertEqual(copier.tell("copy " + liar.control), "ok")
                self.assertEqual(liar.ask(1), (1, 101))
                self.assertEqual(copier.ask(1), (1, 101))
                # Asked first, it waits for the other.
                copier.send(2)
                self.assertIsNone(copier.receive(0.01))
                liar.send(2)
                self.assertEqual(copier.receive(), (2, 102))
                # The other is gone: nothing to say.
                liar.stop()
                copier.send(3)
                self.assertIsNone(copier.receive(QUIET_S))
                self.assertEqual(copier.tell("state"), "3")

    def test_copies_over_abstract_sockets(self):
        names = [f"@quorate-test-{os.getpid()}-{self.implementation}-{i}" for i in range(2)]
        one, two = (self.service(control=name) for name in names)
        two.tell("copy " + names[0])
        one.tell("lie 5")
        self.assertEqual(one.ask(1), (1, 6))
        self.assertEqual(two.ask(1), (1, 6))

    def test_corrupts_one_in_k(self):
        service = self.service()
        service.tell("corrupt 3")
        self.assertEqual([service.ask(n)[1] for n in range(6)], [1, 2, 3 ^ 0xFF, 4, 5, 6 ^ 0xFF])
        service.tell("corrupt 1 0")
        self.assertEqual(service.ask(1), (0xFF << 56 | 1, 7))

    def test_refuses_what_it_does_not_know(self):
        service = self.service()
        for command in ("", "dance", "honest now", "lie -1", "lie 1 2", "lie x", "late", "late x",
                        "late 60001", "copy", "corrupt", "corrupt 0", "corrupt 3 16", "corrupt x",
                        "corrupt 1 x", "state 1", "lie 99999999999999999999"):
            self.assertRegex(service.tell(command), "^error: ", command)
        self.assertEqual(service.ask(1), (1, 1))

    def test_leaves_nothing_and_starts_over_remains(self):
        service = self.service()
        service.tell("copy " + service.control)
        service.send(1)
        self.assertIsNone(service.receive(QUIET_S))
        service.stop()
        self.assertEqual(service.process.returncode, 0)
        self.assertEqual(os.listdir(self.directory), [])
        service = self.service()
        service.process.kill()
        service.process.wait()
        self.assertEqual(os.listdir(self.directory), ["c"])
        self.assertEqual(self.service().ask(1), (1, 1))

    def test_misbehaves_from_the_start(self):
        service = self.service(extra=["--behave", "lie 5"])
        self.assertEqual(service.ask(1), (1, 6))
        service.tell("honest")
        self.assertEqual(service.ask(2), (2, 2))

    def test_control_socket_is_private(self):
        self.assertEqual(os.stat(self.service().control).st_mode & 0o777, 0o600)

    def test_says_why_it_cannot_start(self):
        service = self.service()
        busy = str(service.port)
        for arguments in (["--port", busy], ["--port", "0"], [], ["--port", "9", "--address", "x"],
                          ["--port", "9", "--colour", "red"], ["--port", "9", "--behave", "dance"],
                          ["--port", "9", "--behave", "state"]):
            result = subprocess.run([*IMPLEMENTATIONS[self.implementation], *arguments],
                                    capture_output=True, text=True, timeout=WAIT_S, check=False)
            self.assertNotEqual(result.returncode, 0, arguments)
            self.assertNotIn("Traceback", result.stderr)
            self.assertNotEqual(result.stderr, "", arguments)


class PythonCounter(Behaviour, unittest.TestCase):
    implementation = "python"


class CppCounter(Behaviour, unittest.TestCase):
    implementation = "c++"

    @classmethod
    def setUpClass(cls):
        if "c++" not in IMPLEMENTATIONS:
            raise unittest.SkipTest("no --counter was given")


class Together(unittest.TestCase):
    def test_they_agree_byte_for_byte(self):
        if len(IMPLEMENTATIONS) < 2:
            raise unittest.SkipTest("no --counter was given")
        with tempfile.TemporaryDirectory(prefix="quorate-counter-") as directory:
            services = [Service(name, directory, name) for name in IMPLEMENTATIONS]
            try:
                for i in range(500):
                    number = i * 0x9E3779B97F4A7C15 % 2**64
                    answers = [service.ask(number) for service in services]
                    self.assertEqual(answers, [(number, i + 1)] * 2)
            finally:
                for service in services:
                    service.stop()


if __name__ == "__main__":
    if "--counter" in sys.argv:
        at = sys.argv.index("--counter")
        IMPLEMENTATIONS["c++"] = [os.path.abspath(sys.argv[at + 1])]
        del sys.argv[at:at + 2]
    unittest.main()
