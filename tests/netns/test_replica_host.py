"""The namespace replica host with real namespaces: what it makes, and that it leaves nothing."""

import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

import harness
from harness import wait_until

harness.enter()

DRIVER = harness.BUILD / "tests" / "netns" / "host_driver"
COUNTER = harness.BUILD / "guest" / "counter"
TELL = harness.TOP / "guest" / "counter" / "tell.py"
STAYS = {"lock"}  # and logs
ALL_NAMESPACES = ["-m", "-u", "-i", "-n", "-p"]
V4, V6 = "10.53.0.53", "fd53::53"

CONFIG = """
[appliance]
name = "lab"
state_dir = "{state}"
[client]
ports = ["veth:qc0"]
[[group]]
name = "g"
f = 0
quorum = 1
[[group.replica]]
name = "one"
[group.replica.netns]
{replica}
[[service]]
name = "s"
group = "g"
addresses = {addresses}
port = 7
matcher = "0:8"
"""

COUNTER_REPLICA = f"""
command = ["{COUNTER}", "--port", "7", "--control", "{{dir}}/control"]
health = ["{TELL}", "{{dir}}/control", "state"]
"""


def words(argv):
    return json.dumps([str(word) for word in argv])


class Host:
    """A configuration with one replica, and the driver for it."""

    def __init__(self, lab, replica=COUNTER_REPLICA, addresses=(V4, V6), prefix=()):
        self.lab = lab
        self.state = lab.directory / "state"
        self.prefix = list(prefix)
        self.config = lab.file("config.toml", CONFIG.format(
            state=self.state, replica=replica, addresses=words(addresses)))

    def call(self, *arguments, ok=True, **options):
        result = self.lab.run([*self.prefix, DRIVER, self.config, *arguments], check=False,
                              **options)
        try:
            answer = json.loads(result.stdout)
        except ValueError:
            raise AssertionError(f"{arguments}: {result.stdout}{result.stderr}") from None
        if ok is not None and answer["ok"] != ok:
            raise AssertionError(f"{arguments}: {answer}")
        return answer

    def start(self, incarnation=1, place="a", ok=True):
        answer = self.call("start", "g", 0, place, incarnation, ok=ok)
        return answer["replica"] if ok else answer["error"]

    def stop(self, incarnation=1, place="a"):
        self.call("stop", "g", 0, place, incarnation)

    def inspect(self):
        return self.call("inspect")["replicas"]

    def one(self):
        found = self.inspect()
        assert len(found) == 1, found
        return found[0]

    def record(self, place="a"):
        return json.loads((self.state / f"replicas/g-0-{place}.json").read_text())

    def directory(self, place="a"):
        return self.state / f"replicas/g-0-{place}"

    def log(self, place="a"):
        return (self.state / f"replicas/g-0-{place}.log").read_text()

    def files(self):
        """What is there that should not stay."""
        if not self.state.is_dir():
            return []
        return sorted(str(path.relative_to(self.state)) for path in self.state.rglob("*")
                      if path.name not in STAYS and ".log" not in path.name
                      and path.name != "replicas")

    def inside(self, argv, place="a", **options):
        """Runs in all namespaces of the replica."""
        return self.lab.run(["nsenter", "-t", self.record(place)["inside"]["pid"], *ALL_NAMESPACES, *argv],
                            **options).stdout


def members(pid):
    """The processes below one."""
    found, todo = [], [pid]
    while todo:
        for path in pathlib.Path(f"/proc/{todo.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                children = [int(word) for word in path.read_text().split()]
                found += children
                todo += children
    return found


def state_of(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def foreign_link(lab, name):
    lab.run(["ip", "link", "add", "name", name, "type", "veth", "peer", "name", "other-end"])


def gone(pids):
    return not set(pids) & set(harness.processes())


def ours():
    return [name for name in harness.interfaces() if name != "lo"]


class Lifecycle(unittest.TestCase):
    def test_start_and_stop_leave_nothing(self):
        with harness.Lab() as lab:
            host = Host(lab)
            before = harness.interfaces(), harness.processes()
            for incarnation in (1, 2):
                facts = host.start(incarnation)
                self.assertTrue(facts["running"])
                self.assertEqual(host.one(), facts)
                self.assertEqual(ours(), [facts["port"].removeprefix("veth:")])
                self.assertIn("healthy since", facts["detail"])
                self.assertEqual(lab.run([TELL, host.directory() / "control", "state"]).stdout,
                                 "0\n")
                host.stop(incarnation)
                self.assertEqual((harness.interfaces(), harness.processes()), before)
                self.assertEqual(host.files(), [])
                self.assertEqual(host.inspect(), [])
            self.assertEqual(host.log().count("is healthy"), 2)
            host.stop()  # what is not there is no error
            self.assertEqual(host.call("clean")["removed"], 0)

    def test_what_the_service_finds(self):
        with harness.Lab() as lab:
            host = Host(lab)
            port = host.start()["port"].removeprefix("veth:")
            eth0 = json.loads(host.inside(["ip", "-j", "address", "show", "dev", "eth0"]))[0]
            self.assertEqual((eth0["address"], eth0["mtu"]), ("02:51:00:00:00:02", 1500))
            addresses = {(one["local"], one["prefixlen"]) for one in eth0["addr_info"]}
            self.assertEqual(addresses, {(V4, 32), (V6, 128), ("fe80::51:ff:fe00:2", 64)})
            self.assertFalse(any(one.get("tentative") for one in eth0["addr_info"]))
            routes = host.inside(["ip", "route"]) + host.inside(["ip", "-6", "route"])
            self.assertIn("default via 169.254.1.1 dev eth0", routes)
            self.assertIn("default via fe80::1 dev eth0", routes)
            self.assertIn("tx-checksumming: off", host.inside(["ethtool", "-k", "eth0"]))
            self.assertEqual(host.inside(["ip", "neigh", "show", "nud", "permanent"]), "")
            self.assertEqual(host.inside(["hostname"]), "localhost\n")
            processes = host.inside(["ps", "-eo", "args="]).splitlines()
            self.assertEqual(processes[:2], [
                "host_driver replica-supervisor g-0-a",
                f"{COUNTER} --port 7 --control {host.directory()}/control"])
            outer = json.loads(lab.run(["ip", "-j", "link", "show", "dev", port]).stdout)[0]
            self.assertEqual((outer["ifalias"], outer["operstate"]), ("quorate:lab", "UP"))
            address = json.loads(lab.run(["ip", "-j", "address", "show", "dev", port]).stdout)[0]
            self.assertEqual(address["addr_info"], [])
            host.stop()

    def test_one_address_family(self):
        for addresses, absent in (([V4], "inet6"), ([V6], "inet")):
            with self.subTest(addresses=addresses), harness.Lab() as lab:
                host = Host(lab, addresses=addresses)
                host.start()
                eth0 = json.loads(host.inside(["ip", "-j", "address", "show", "dev", "eth0"]))[0]
                self.assertNotIn(absent, {one["family"] for one in eth0["addr_info"]})
                host.stop()

    def test_both_places_at_once(self):
        with harness.Lab() as lab:
            host = Host(lab)
            first = host.start(1, "a")
            second = host.start(2, "b")
            self.assertEqual(sorted(ours()), sorted(facts["port"].removeprefix("veth:")
                                                    for facts in (first, second)))
            self.assertNotEqual(first["port"], second["port"])
            self.assertEqual([facts["incarnation"] for facts in host.inspect()], [1, 2])
            host.stop(1, "a")
            self.assertEqual(host.inspect(), [second])
            host.start(3, "a")
            host.stop(2, "b")
            host.stop(3, "a")
            self.assertEqual(host.files(), [])

    def test_another_incarnation_is_not_stopped(self):
        with harness.Lab() as lab:
            host = Host(lab)
            host.start(5)
            host.stop(4)
            self.assertTrue(host.one()["running"])
            self.assertIn("is there already", host.start(6, ok=False))
            self.assertEqual(host.one()["incarnation"], 5)
            host.stop(5)

    def test_two_starts_of_one_place(self):
        with harness.Lab() as lab:
            host = Host(lab)
            answers = []
            threads = [threading.Thread(
                target=lambda i=i: answers.append(host.call("start", "g", 0, "a", i, ok=None)))
                for i in range(1, 5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            good = [answer for answer in answers if answer["ok"]]
            self.assertEqual(len(good), 1, answers)
            self.assertEqual(host.one(), good[0]["replica"])
            host.stop(good[0]["replica"]["incarnation"])

    def test_pause_and_resume(self):
        with harness.Lab() as lab:
            host = Host(lab, f"""
command = ["sh", "-c", "tail -f /dev/null & exec {COUNTER} --port 7 --control {{dir}}/control"]
health = ["{TELL}", "{{dir}}/control", "state"]""")
            host.start()
            processes = members(host.record()["inside"]["pid"])
            self.assertEqual(len(processes), 2)
            for _ in range(3):
                host.call("pause", "g", 0, "a", 1)
                self.assertIn("paused", host.one()["detail"])
                self.assertTrue(host.one()["running"])
                wait_until(lambda: {state_of(pid) for pid in processes} == {"T"}, 5, "stopped")
                host.call("resume", "g", 0, "a", 1)
                wait_until(lambda: {state_of(pid) for pid in processes} == {"S"}, 5, "going on")
                self.assertEqual(lab.run([TELL, host.directory() / "control", "state"]).stdout,
                                 "0\n")
            host.call("pause", "g", 0, "a", 1)
            before = time.monotonic()
            host.stop()  # SIGTERM reaches a paused one as well
            self.assertLess(time.monotonic() - before, 1.9)
            self.assertIn("does not run", host.call("pause", "g", 0, "a", 1, ok=False)["error"])

    def test_one_that_ignores_sigterm_is_killed(self):
        with harness.Lab() as lab:
            host = Host(lab, 'command = ["sh", "-c", "trap : TERM; while :; do read x; done '
                             '<>{dir}/fifo"]\nfiles = {}\n'
                             'health = ["sh", "-c", "mkfifo {dir}/fifo; test -p {dir}/fifo"]')
            # The fifo must be there first: made by the command itself.
            host.config.write_text(host.config.read_text().replace(
                '"trap : TERM;', '"mkfifo {dir}/fifo; trap : TERM;'))
            host.start()
            processes = members(host.record()["inside"]["pid"])
            before = time.monotonic()
            host.stop()
            self.assertGreater(time.monotonic() - before, 1.9)
            self.assertTrue(gone(processes))
            self.assertEqual(host.files(), [])


class Failures(unittest.TestCase):
    def failing(self, replica, *expected, timeout_ms=1500):
        """Starts what cannot start: the error says why, and nothing is left."""
        with harness.Lab() as lab:
            host = Host(lab, f"{replica}\nhealth_timeout_ms = {timeout_ms}")
            before = harness.interfaces(), harness.processes()
            error = host.start(ok=False)
            for text in expected:
                self.assertIn(text, error)
            self.assertEqual(host.files(), [])
            # The supervisor says why, and then ends.
            wait_until(lambda: (harness.interfaces(), harness.processes()) == before, 5, "the end")
            self.assertEqual(host.inspect(), [])

    def test_never_healthy(self):
        self.failing('command = ["tail", "-f", "/dev/null"]\n'
                     'health = ["sh", "-c", "echo not yet; exit 1"]',
                     "replica g/0 place a", "not healthy within 1500 ms", "its health check said:\nnot yet")

    def test_health_check_says_much(self):
        self.failing('command = ["tail", "-f", "/dev/null"]\nhealth = ["sh", "-c", "yes; exit 1"]',
                     "not healthy within 1500 ms", "its health check said:\ny\ny\n")

    def test_health_check_hangs(self):
        self.failing('command = ["tail", "-f", "/dev/null"]\nhealth = ["tail", "-f", "/dev/null"]',
                     "not healthy within 1500 ms")

    def test_a_hanging_health_check_is_tried_again(self):
        with harness.Lab() as lab:
            host = Host(lab, 'command = ["tail", "-f", "/dev/null"]\nhealth = ["sh", "-c", '
                             '"test -e {dir}/tried || { touch {dir}/tried; tail -f /dev/null; }"]')
            host.start()
            self.assertEqual(len(members(host.record()["inside"]["pid"])), 1)
            host.stop()

    def test_service_ends_before_it_is_healthy(self):
        self.failing('command = ["sh", "-c", "echo my configuration is bad >&2; exit 3"]\n'
                     'health = ["false"]',
                     "the service exited with status 3 before it was healthy",
                     "my configuration is bad", )

    def test_program_is_not_there(self):
        self.failing('command = ["no-such-program"]', "cannot run no-such-program",
                     "No such file")
        self.failing('command = ["tail", "-f", "/dev/null"]\nhealth = ["no-such-program"]',
                     "health: cannot run no-such-program")

    def test_not_in_the_configuration(self):
        with harness.Lab() as lab:
            host = Host(lab)
            self.assertIn("no such slot", host.call("start", "g", 1, "a", 1, ok=False)["error"])
            self.assertIn("no group h", host.call("start", "h", 0, "a", 1, ok=False)["error"])

    def test_state_directory_that_cannot_be(self):
        with harness.Lab() as lab:
            host = Host(lab)
            lab.file("state", "a file")
            self.assertIn("state_dir", host.start(ok=False))

    def test_a_record_that_is_none_stops_everything(self):
        with harness.Lab() as lab:
            host = Host(lab)
            lab.file("state/replicas/g-0-a.json", "{}")
            self.assertIn("g-0-a.json is not a replica's record", host.start(ok=False))
            self.assertIn("g-0-a.json", host.call("clean", ok=False)["error"])
            self.assertEqual(host.files(), ["replicas/g-0-a.json"])

    def test_somebody_answers_for_the_replicas_address(self):
        """Duplicate address detection is really on: an answer to its probe is noticed."""
        with harness.Lab() as lab:
            host = Host(lab, addresses=[V6])
            port = host.start()["port"].removeprefix("veth:")
            host.stop()
            # Bound to no interface, so that it hears the link from its first moment on.
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD)) as link:
                link.settimeout(10)

                def answer():
                    while True:
                        frame = link.recv(200)
                        if len(frame) >= 78 and frame[54] == 135 and \
                                frame[62:78] == socket.inet_pton(socket.AF_INET6, V6):
                            return link.sendto(advertisement(frame[62:78]), (port, 0))

                thread = threading.Thread(target=answer)
                thread.start()
                error = host.start(2, ok=False)
                thread.join()
            self.assertIn("duplicate address detection: somebody on the link answered", error)
            self.assertEqual(host.files(), [])


def advertisement(target):
    """A neighbour advertisement (RFC 4861 4.4) to all nodes."""
    everybody = socket.inet_pton(socket.AF_INET6, "ff02::1")
    message = struct.pack(">BBHI", 136, 0, 0, 0x20000000) + target + bytes.fromhex(
        "0201025100000001")
    pseudo = target + everybody + struct.pack(">II", len(message), 58)
    total = sum(struct.unpack(f">{(len(pseudo) + len(message)) // 2}H", pseudo + message))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    message = message[:2] + struct.pack(">H", ~total & 0xFFFF) + message[4:]
    return (bytes.fromhex("333300000001" "025100000001" "86dd") +
            struct.pack(">IHBB", 0x60000000, len(message), 58, 255) + target + everybody + message)


class Ends(unittest.TestCase):
    def test_supervisor_is_killed(self):
        with harness.Lab() as lab:
            host = Host(lab)
            facts = host.start()
            processes = [facts["pid"], *members(facts["pid"])]
            self.assertEqual(len(processes), 3)
            os.kill(facts["pid"], signal.SIGKILL)
            wait_until(lambda: gone(processes), 5, "all processes gone")
            wait_until(lambda: not ours(), 5, "the link gone with its namespace")
            left = host.one()
            self.assertFalse(left["running"])
            self.assertIn("was killed", left["detail"])
            # The next start cleans up, as does clean().
            facts = host.start(2)
            self.assertEqual(host.one(), facts)
            os.kill(facts["pid"], signal.SIGKILL)
            self.assertEqual(host.call("clean")["removed"], 1)
            self.assertEqual((host.files(), ours()), ([], []))
            self.assertEqual(host.call("clean")["removed"], 0)

    def test_first_process_inside_is_killed(self):
        with harness.Lab() as lab:
            host = Host(lab)
            host.start()
            os.kill(host.record()["inside"]["pid"], signal.SIGKILL)
            wait_until(lambda: not host.one()["running"], 5, "the end recorded")
            self.assertIn("was killed by signal 9", host.one()["detail"])
            self.assertEqual(host.call("clean")["removed"], 1)

    def test_service_dies(self):
        for ending, expected in ((signal.SIGKILL, "the service was killed by signal 9 (Killed)"),
                                 (signal.SIGTERM, "the service exited with status 0")):
            with self.subTest(ending=ending), harness.Lab() as lab:
                host = Host(lab)
                supervisor = host.start()["pid"]
                processes = members(supervisor)
                os.kill(members(host.record()["inside"]["pid"])[0], ending)
                wait_until(lambda: gone([supervisor, *processes]), 5, "all processes gone")
                self.assertEqual(ours(), [])
                ended = host.one()
                self.assertFalse(ended["running"])
                self.assertIn(expected, ended["detail"])
                self.assertIn(expected, host.log())
                self.assertTrue(host.directory().is_dir())  # to be looked at
                host.stop()
                self.assertEqual(host.files(), [])

    def test_a_reused_process_number_is_not_taken_for_ours(self):
        with harness.Lab() as lab:
            host = Host(lab)
            facts = host.start()
            os.kill(facts["pid"], signal.SIGKILL)
            wait_until(lambda: gone([facts["pid"]]), 5, "gone")
            stranger = lab.start(["tail", "-f", "/dev/null"], "stranger")
            record = host.record()
            record["owner"]["pid"] = stranger.pid
            record["inside"]["pid"] = stranger.pid
            lab.file("state/replicas/g-0-a.json", json.dumps(record))
            self.assertFalse(host.one()["running"])
            host.stop()
            self.assertTrue(stranger.alive())
            self.assertEqual(host.files(), [])

    def test_caller_is_killed_while_it_waits(self):
        """Nobody knows of this start any more, so its supervisor undoes it."""
        with harness.Lab() as lab:
            host = Host(lab, 'command = ["tail", "-f", "/dev/null"]\nhealth = ["false"]\n'
                             'health_timeout_ms = 60000')
            caller = lab.start([DRIVER, host.config, "start", "g", 0, "a", 1], "caller")
            wait_until(lambda: host.record()["phase"] == "starting" and ours(), 5, "it starts")
            caller.kill()
            wait_until(lambda: not host.files() and not ours(), 5, "nothing left")
            self.assertIn("whoever started it is gone", host.log())

    def test_caller_is_killed_at_any_instant(self):
        """Whoever starts, and sometimes the supervisor, is killed; clean() finds all of it."""
        chance = random.Random(7)
        with harness.Lab() as lab:
            host = Host(lab)
            before = harness.processes()
            started = 0
            for incarnation in range(1, 31):
                caller = subprocess.Popen(
                    [DRIVER, host.config, "start", "g", "0", "a", str(incarnation)],
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    caller.wait(chance.uniform(0, 0.8))
                supervisors = [pid for pid, name in harness.processes().items()
                               if name == "quorate-replica" and pid not in before]
                if supervisors and chance.random() < 0.5:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(min(supervisors), signal.SIGKILL)
                caller.kill()
                caller.wait()

                def settled():
                    host.call("clean", ok=None)
                    return all(facts["running"] for facts in host.inspect())

                wait_until(settled, 10, f"incarnation {incarnation} started or cleaned up")
                for facts in host.inspect():
                    started += 1
                    host.stop(facts["incarnation"])
                # A supervisor that had hardly begun may still have to see that nobody waits for it.
                wait_until(lambda: not set(harness.processes()) - set(before), 5, "all ended")
                self.assertEqual((host.files(), ours()), ([], []), incarnation)
            self.assertGreater(started, 0)
            self.assertLess(started, 30)


class Foreign(unittest.TestCase):
    def test_interfaces_of_others_are_left_alone(self):
        with harness.Lab() as lab:
            host = Host(lab)
            name = host.start()["port"].removeprefix("veth:")
            host.stop()
            for alias in ("", "quorate:other", "quorate:lab2"):
                foreign_link(lab, name)
                if alias:
                    lab.run(["ip", "link", "set", "dev", name, "alias", alias])
                self.assertIn("that is not ours", host.start(2, ok=False))
                self.assertEqual(host.call("clean")["removed"], 0)
                self.assertEqual(ours(), sorted([name, "other-end"]))
                self.assertEqual(host.files(), [])
                lab.run(["ip", "link", "delete", "dev", name])

    def test_our_own_left_over_is_replaced_or_cleaned(self):
        with harness.Lab() as lab:
            host = Host(lab)
            name = host.start()["port"].removeprefix("veth:")
            host.stop()
            foreign_link(lab, name)
            lab.run(["ip", "link", "set", "dev", name, "alias", "quorate:lab"])
            host.start(2)
            self.assertEqual(host.call("clean")["removed"], 0)
            self.assertTrue(host.one()["running"])
            host.stop(2)
            foreign_link(lab, "left0")
            lab.run(["ip", "link", "set", "dev", "left0", "alias", "quorate:lab"])
            self.assertEqual(host.call("clean")["removed"], 1)
            self.assertEqual(ours(), [])

    def test_files_of_others_are_left_alone(self):
        with harness.Lab() as lab:
            host = Host(lab)
            lab.file("state/replicas/notes/mine", "x")
            lab.file("state/mine", "x")
            host.start()
            host.stop()
            host.call("clean")
            self.assertEqual(host.files(), ["mine", "replicas/notes", "replicas/notes/mine"])

    def test_links_out_of_the_directory_are_not_followed(self):
        with harness.Lab() as lab:
            kept = lab.file("kept/file", "x")
            host = Host(lab, f'command = ["sh", "-c", "ln -s {kept.parent} {{dir}}/out; '
                             'exec tail -f /dev/null"]\nhealth = ["test", "-e", "{dir}/out/file"]')
            host.start()
            host.stop()
            self.assertEqual(kept.read_text(), "x")


class Surroundings(unittest.TestCase):
    def test_files_copies_environment_and_processors(self):
        with harness.Lab() as lab:
            lab.file("data/zone", "the zone\n").chmod(0o644)
            lab.file("data/script", "#!/bin/sh\necho script ran\n").chmod(0o755)
            host = Host(lab, '''
command = ["sh", "-c", "pwd; env; cat conf/a zones/zone; ./script; stat -c '%n %a' conf/a zones/zone script .; exec tail -f /dev/null"]
files = { "conf/a" = "in {dir} twice: {dir}\\n" }
copies = { "zones/zone" = "data/zone", "script" = "data/script" }
environment = { "WHERE" = "{dir}/x", "EMPTY" = "" }
cpus = [0]
health = ["grep", "-q", "^. 700$", "../g-0-a.log"]''')
            os.environ["A_SECRET"] = "do not tell"
            self.addCleanup(os.environ.pop, "A_SECRET")
            host.start()
            log = host.log()
            directory = str(host.directory())
            for line in (directory, f"in {directory} twice: {directory}", "the zone", "script ran",
                         f"WHERE={directory}/x", "EMPTY=", f"HOME={directory}", "conf/a 600",
                         "zones/zone 600", "script 700"):
                self.assertIn("\n" + line + "\n", "\n" + log, line)
            self.assertNotIn("SECRET", log)
            for pid in [host.one()["pid"], *members(host.one()["pid"])]:
                self.assertEqual(os.sched_getaffinity(pid), {0})
            host.stop()

    def test_signals_are_as_by_default(self):
        """Whatever whoever starts it ignores or blocks."""
        with harness.Lab() as lab:
            host = Host(lab, 'command = ["sh", "-c", "grep Sig /proc/self/status; touch told; '
                             'exec tail -f /dev/null"]\nhealth = ["test", "-e", "told"]',
                        prefix=["env", "--ignore-signal=HUP,INT,PIPE,TERM,CHLD,USR1",
                                "--block-signal=TERM,CHLD,USR1,USR2"])
            host.start()
            for kind in ("SigBlk", "SigIgn"):
                mask = int(re.search(rf"{kind}:\s+(\w+)\n", host.log()).group(1), 16)
                self.assertEqual(mask & 0x7FFFFFFF, 0, kind)  # 32 and 33 are the C library's own
            host.stop()

    def test_runs_as_the_user(self):
        if os.environ[harness.INSIDE] != "root":
            self.skipTest("other users are not mapped here")
        with harness.Lab() as lab:
            lab.directory.chmod(0o711)
            host = Host(lab, '''
command = ["sh", "-c", "id; cat /proc/self/status; touch made; exec tail -f /dev/null"]
files = { "deep/file" = "x" }
user = "nobody"
health = ["cat", "made", "deep/file"]''')
            host.start()
            self.assertIn("uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)", host.log())
            self.assertRegex(host.log(), r"CapEff:\s+0+\n")
            self.assertRegex(host.log(), r"NoNewPrivs:\s+1\n")
            host.stop()
            lab.directory.chmod(0o700)
            error = host.start(2, ok=False)
            self.assertIn("as user nobody; may it pass all folders above?", error)

    def test_user_may_take_a_low_port_and_root_may_not_do_all(self):
        if os.environ[harness.INSIDE] != "root":
            self.skipTest("other users are not mapped here")
        with harness.Lab() as lab:
            lab.directory.chmod(0o711)
            host = Host(lab, COUNTER_REPLICA + 'user = "nobody"')
            lab.run(["cp", COUNTER, TELL, "/run"])  # where nobody can reach them
            text = host.config.read_text()
            host.config.write_text(text.replace(str(COUNTER), "/run/counter")
                                   .replace(str(TELL), "/run/tell.py"))
            host.start()
            host.stop()
            rooted = Host(lab, 'command = ["sh", "-c", "ip link set eth0 down; mount -t tmpfs x /mnt;'
                               ' echo both tried; exec tail -f /dev/null"]\n'
                               'health = ["grep", "-q", "both tried", "../g-0-a.log"]')
            rooted.start(2)
            self.assertRegex(rooted.log(), "(?s)not permitted.*(permission denied|must be superuser)")
            rooted.stop(2)

    def test_temporary_files_and_shared_memory_are_its_own(self):
        with harness.Lab() as lab:
            host = Host(lab, """
command = ["sh", "-c", "touch $(mktemp -u here.XXXX) $TMPDIR/there /dev/shm/x; exec tail -f /dev/null"]
health = ["sh", "-c", "test -e /dev/shm/x && mktemp"]""")
            host.start()
            self.assertFalse(os.path.exists("/dev/shm/x"))
            self.assertEqual(len(list(host.directory().iterdir())), 3)
            host.stop()
            self.assertEqual(host.files(), [])

    def test_log_is_bounded(self):
        with harness.Lab() as lab:
            host = Host(lab, 'command = ["sh", "-c", "seq 500000; echo all; exec tail -f '
                             '/dev/null"]\nhealth = ["grep", "-q", "^all$", "../g-0-a.log"]')
            host.start()
            now, before = (host.state / "replicas" / name for name in ("g-0-a.log", "g-0-a.log.1"))
            self.assertEqual(before.stat().st_size, 1 << 20)
            self.assertLess(now.stat().st_size, 1 << 20)
            self.assertEqual(now.stat().st_mode & 0o777, 0o600)
            text = before.read_text() + now.read_text()
            self.assertIn("\n499999\n500000\nall\n", text)
            self.assertEqual(sorted(path.name for path in now.parent.glob("*.log*")),
                             [now.name, before.name])
            host.stop()

    def test_gateway_is_asked_for_not_known(self):
        """ARP and neighbour discovery are for the appliance to answer."""
        with harness.Lab() as lab:
            host = Host(lab)
            port = host.start()["port"].removeprefix("veth:")
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as link:
                link.bind((port, 0))
                link.settimeout(5)
                host.inside(["bash", "-c", "echo >/dev/udp/192.0.2.1/9; echo >/dev/udp/2001:db8::1/9"])
                asked = set()
                while len(asked) < 2:
                    frame = link.recv(200)
                    self.assertEqual(frame[6:12].hex(), "025100000002")
                    if frame[12:14] == b"\x08\x06":
                        asked.add((socket.inet_ntoa(frame[28:32]), socket.inet_ntoa(frame[38:42])))
                    elif frame[20] == 58 and frame[54] == 135:
                        asked.add(socket.inet_ntop(socket.AF_INET6, frame[62:78]))
                self.assertEqual(asked, {(V4, "169.254.1.1"), "fe80::1"})
            host.stop()


class Rootless(unittest.TestCase):
    def test_works_in_a_user_namespace(self):
        """The whole of Lifecycle again, as somebody who is root only in a namespace of their own."""
        if os.environ[harness.INSIDE] != "root":
            self.skipTest("this already is without root")
        with harness.Lab() as lab:
            lab.directory.chmod(0o711)
            home = lab.directory / "home"
            home.mkdir()
            os.chown(home, 65534, 65534)
            for program in (DRIVER, COUNTER, TELL):
                shutil.copy(program, home)
            host = Host(lab, COUNTER_REPLICA)
            text = host.config.read_text().replace(str(COUNTER), f"{home}/counter") \
                .replace(str(TELL), f"{home}/tell.py").replace(str(host.state), f"{home}/state")
            config = home / "config.toml"
            config.write_text(text)
            config.chmod(0o644)
            drive = f"./host_driver {config}"
            script = f"""set -eu
                id -u; cat /proc/self/uid_map
                ! touch /run/quorate-test 2>/dev/null
                {drive} start g 0 a 1; {drive} start g 0 b 2
                ip -br link
                ./tell.py state/replicas/g-0-a/control state
                kill -9 $({drive} inspect | sed 's/.*"pid":\\([0-9]*\\).*/\\1/')
                {drive} stop g 0 a 1; {drive} clean
                {drive} inspect; ip -br link; ls state/replicas"""
            result = lab.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                              "unshare", "-Urnm", "sh", "-c", script], cwd=home, check=False)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            lines = result.stdout.splitlines()
            self.assertRegex(lines[1], r"^\s+0\s+65534\s+1$")
            self.assertIn('"running":true', lines[2])
            self.assertRegex(result.stdout, r'"removed":1.*\n\{"ok":true,"replicas":\[\]\}\nlo ')
            self.assertEqual(lines[-3:], ["g-0-a.log", "g-0-b.log", "lock"])

    def test_without_any_privilege_says_what_to_do(self):
        if os.environ[harness.INSIDE] != "root":
            self.skipTest("this already is without root")
        with harness.Lab() as lab:
            lab.directory.chmod(0o711)
            state = lab.directory / "state"
            state.mkdir()
            os.chown(state, 65534, 65534)
            shutil.copy(DRIVER, lab.directory / "host_driver")
            host = Host(lab, 'command = ["true"]')
            host.config.chmod(0o644)
            result = lab.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                              lab.directory / "host_driver", host.config, "start", "g", "0", "a",
                              "1"], check=False)
            self.assertIn("run as root, or in a user namespace (unshare -Urnm)", result.stdout)
            self.assertEqual(host.files(), [])


if __name__ == "__main__":
    unittest.main()
