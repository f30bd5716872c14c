"""`quorate replica ...` with real namespaces: the roster, the processes and the note to the proxy."""

import contextlib
import json
import os
import signal
import socket
import threading
import unittest

import harness
from harness import wait_until

harness.enter()

COUNTER = harness.BUILD / "guest" / "counter"
TELL = harness.TOP / "guest" / "counter" / "tell.py"

CONFIG = """
[appliance]
name = "lab"
state_dir = "{state}"
[client]
ports = ["veth:qc0"]
[[group]]
name = "g"
state = "{kind}"
{replicas}
[[group]]
name = "outside"
f = 0
quorum = 1
[[group.replica]]
name = "box"
place_a = "veth:there"
[[service]]
name = "s"
group = "g"
addresses = ["10.53.0.53", "fd53::53"]
port = 7
matcher = "0:8"
[[service]]
name = "o"
group = "outside"
addresses = ["10.53.0.54"]
port = 7
matcher = "0:8"
"""
REPLICA = """[[group.replica]]
name = "{name}"
[group.replica.netns]
command = {command}
health = ["{tell}", "{{dir}}/control", "state"]
health_timeout_ms = 3000
"""
COMMAND = f'["{COUNTER}", "--port", "7", "--control", "{{dir}}/control"]'


class Quorate:
    """The command, for one configuration."""

    def __init__(self, lab, kind="none", commands=(COMMAND,) * 3):
        self.lab = lab
        self.state = lab.directory / "state"
        self.config = lab.file("config.toml", CONFIG.format(
            state=self.state, kind=kind, replicas="".join(
                REPLICA.format(name=name, command=command, tell=TELL)
                for name, command in zip(("ada", "bob", "cyd"), commands))))
        lab.at_end.append(lambda: self("stop", "--all"))

    def __call__(self, verb, *arguments, status=0):
        result = self.lab.quorate("replica", verb, "--config", self.config, *arguments, check=False)
        if result.returncode != status:
            raise AssertionError(f"{verb} {arguments}: exit {result.returncode}: "
                                 f"{result.stdout}{result.stderr}")
        return result.stdout + result.stderr

    def json(self, verb, *arguments, status=0):
        return json.loads(self(verb, "--json", *arguments, status=status))

    def seats(self):
        """(standing, incarnation, place) by name."""
        return {row["name"]: (row["standing"], row["incarnation"], row["place"])
                for row in self.json("list")["replicas"]}

    def row(self, name):
        return self.json("list", name)["replicas"][0]

    def roster(self):
        return json.loads((self.state / "roster.json").read_text())


class FakeProxy:
    """Listens where the proxy would and remembers what it was asked."""

    def __init__(self, path, answer=None):
        self.asked, self.answer = [], answer or {"ok": True}
        path.parent.mkdir(exist_ok=True)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection, connection.makefile("rw") as stream:
                    for line in stream:
                        self.asked.append(json.loads(line))
                        stream.write(json.dumps(self.answer) + "\n")
                        stream.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


class Commands(unittest.TestCase):
    def test_from_start_to_stop(self):
        with harness.Lab() as lab:
            quorate = Quorate(lab)
            self.assertEqual(set(quorate.seats().values()), {("absent", 0, "a")})
            text = quorate("start", "g/ada", "1", "g/2")
            self.assertEqual(text.count("admitted; no proxy runs"), 3, text)
            seats = quorate.seats()
            self.assertEqual({seats[name][0] for name in ("ada", "bob", "cyd")}, {"admitted"})
            self.assertEqual({seats[name][1] for name in ("ada", "bob", "cyd")}, {1, 2, 3})
            self.assertEqual(quorate.roster()["next_incarnation"], 4)
            row = quorate.row("bob")
            self.assertTrue(row["process"]["running"])
            self.assertEqual(row["port"], row["process"]["port"])
            self.assertIn(row["port"].removeprefix("veth:"), harness.interfaces())
            table = quorate("list").splitlines()
            self.assertRegex(table[0], "^REPLICA +SLOT +STANDING")
            self.assertRegex(table[2], r"^g/bob +1 +admitted +\d +a +veth:\w+ +healthy since")
            self.assertRegex(table[4], r"^outside/box +0 +absent .*run by somebody else$")

            self.assertIn("is there already", quorate("start", "ada", status=1))

            quorate("restart", "bob")
            self.assertEqual(quorate.seats()["bob"], ("admitted", 4, "b"))
            quorate("restart", "bob")
            self.assertEqual(quorate.seats()["bob"], ("admitted", 5, "a"))
            quorate("stop", "bob")
            self.assertEqual(quorate.seats()["bob"], ("absent", 5, "a"))
            self.assertIsNone(quorate.row("ada")["others"] or None)
            self.assertIn("did not run", quorate("stop", "bob"))
            self.assertIn("stopped", quorate("stop", "--all"))
            self.assertEqual([path.name for path in (quorate.state / "replicas").iterdir()
                              if path.suffix != ".log"], ["lock"])

    def test_suspend_and_admit_without_a_proxy(self):
        with harness.Lab() as lab:
            quorate = Quorate(lab)
            self.assertIn("start it first", quorate("suspend", "ada", status=1))
            quorate("start", "ada")
            self.assertIn("suspended, written to the roster; no proxy runs",
                          quorate("suspend", "ada"))
            self.assertEqual(quorate.seats()["ada"], ("suspended", 1, "a"))
            self.assertTrue(quorate.row("ada")["process"]["running"])
            self.assertIn("admitted, written", quorate("admit", "ada"))
            self.assertEqual(quorate.seats()["ada"], ("admitted", 1, "a"))

    def test_pause_and_resume(self):
        with harness.Lab() as lab:
            quorate = Quorate(lab)
            self.assertIn("not paused: it is not there", quorate("pause", "ada", status=1))
            quorate("start", "ada", "bob")
            self.assertIn("incarnation", quorate("pause", "ada"))
            detail = quorate.row("ada")["process"]["detail"]
            self.assertTrue(detail.startswith("paused"), detail)
            self.assertNotIn("paused", quorate.row("bob")["process"]["detail"])
            self.assertIn("is paused", quorate("pause", "ada"), "once more")
            self.assertEqual(quorate.seats()["ada"][0], "admitted", "the votes are as they were")
            said = quorate.json("resume", "ada")["replicas"][0]
            self.assertEqual((said["ok"], said["standing"]), (True, "admitted"))
            self.assertNotIn("paused", quorate.row("ada")["process"]["detail"])
            quorate("pause", "bob")
            quorate("stop", "bob")
            self.assertIn("not resumed: it is not there", quorate("resume", "bob", status=1))

    def test_group_with_a_log(self):
        with harness.Lab() as lab:
            quorate = Quorate(lab, kind="log")
            quorate("start", "ada")
            self.assertEqual(quorate.seats()["ada"][0], "admitted")  # nothing was asked yet
            lab.file("state/requests-g", "")
            quorate("start", "bob")
            self.assertEqual(quorate.seats()["bob"][0], "lagging")
            quorate("suspend", "ada")
            quorate("admit", "ada")
            self.assertEqual(quorate.seats()["ada"][0], "lagging")  # who knows what it missed

    def test_external_replicas_are_seated(self):
        with harness.Lab() as lab:
            quorate = Quorate(lab)
            quorate("start", "box")
            row = quorate.row("box")
            self.assertEqual((row["standing"], row["port"], row["external"], row["process"]),
                             ("admitted", "veth:there", True, None))
            self.assertIn("is there already", quorate("start", "box", status=1))
            quorate("restart", "box")
            self.assertEqual(quorate.seats()["box"], ("admitted", 2, "a"))
            self.assertIn("run by somebody else", quorate("stop", "box"))

    def test_one_of_several_does_not_start(self):
        with harness.Lab() as lab:
            quorate = Quorate(lab, commands=(COMMAND, '["sh", "-c", "echo no zone; exit 1"]',
                                             COMMAND))
            answer = quorate.json("start", "g/0", "g/1", "g/2", status=1)
            self.assertFalse(answer["ok"])
            self.assertEqual([one["ok"] for one in answer["replicas"]], [True, False, True])
            self.assertIn("exited with status 1 before it was healthy",
                          answer["replicas"][1]["what"])
            self.assertIn("no zone", answer["replicas"][1]["what"])
            self.assertEqual({name: seat[0] for name, seat in quorate.seats().items()},
                             {"ada": "admitted", "bob": "absent", "cyd": "admitted",
                              "box": "absent"})
            self.assertEqual(len([name for name in harness.interfaces() if name != "lo"]), 2)

    def test_a_crash_shows_and_start_takes_the_other_place(self):
        with harness.Lab() as lab:
            quorate = Quorate(lab)
            quorate("start", "ada")
            os.kill(quorate.row("ada")["process"]["pid"], signal.SIGKILL)
            wait_until(lambda: not quorate.row("ada")["process"]["running"], 5, "the crash shows")
            self.assertIn("was killed", quorate("list"))
            quorate("start", "ada")
            row = quorate.row("ada")
            self.assertEqual((row["standing"], row["incarnation"], row["place"]),
                             ("admitted", 2, "b"))
            self.assertEqual([other["incarnation"] for other in row["others"]], [1])
            self.assertIn("not seated", quorate("list"))
            self.assertEqual(quorate.json("clean"), {"ok": True, "removed": 1})
            self.assertEqual(quorate.row("ada")["others"], [])

    def test_which_replica(self):
        with harness.Lab() as lab:
            quorate = Quorate(lab)
            self.assertIn("0 is in several groups; write one of g/ada, outside/box",
                          quorate("start", "0", status=2))
            self.assertIn("there is no replica dan; there are g/ada, g/bob, g/cyd, outside/box",
                          quorate("stop", "dan", status=2))
            self.assertIn("there is no replica h/ada", quorate("stop", "h/ada", status=2))
            self.assertIn("say which", quorate("start", status=2))
            self.assertIn("not both", quorate("start", "--all", "ada", status=2))
            self.assertEqual(len(quorate.json("list", "g/0", "ada")["replicas"]), 1)
            self.assertFalse(quorate.state.exists())

    def test_configuration_that_is_wrong(self):
        with harness.Lab() as lab:
            quorate = Quorate(lab)
            quorate.config.write_text("nonsense = 1\n")
            self.assertIn("config.toml:1", quorate("list", status=2))
            lab.at_end.clear()


class WithAProxy(unittest.TestCase):
    def test_it_is_told_of_each_change(self):
        with harness.Lab() as lab:
            quorate = Quorate(lab)
            with FakeProxy(quorate.state / "control.sock") as proxy:
                self.assertNotIn("no proxy", quorate("start", "bob"))
                quorate("stop", "bob")
                attach = {"command": "attach", "group": "g", "slot": 1}
                self.assertEqual(proxy.asked, [attach, attach])
                proxy.asked.clear()
                quorate("suspend", "ada")
                quorate("admit", "ada")
                self.assertEqual(proxy.asked, [{"command": "suspend", "group": "g", "slot": 0},
                                               {"command": "admit", "group": "g", "slot": 0}])
            # It, not we, changes the roster for those.
            self.assertEqual(quorate.seats()["ada"], ("absent", 0, "a"))

    def test_it_says_no(self):
        with harness.Lab() as lab:
            quorate = Quorate(lab)
            with FakeProxy(quorate.state / "control.sock",
                           {"ok": False, "error": "not today"}):
                self.assertIn("not today", quorate("suspend", "ada", status=1))
                # It runs all the same; the proxy's trouble is told.
                self.assertIn("the proxy has not taken it: ", quorate("start", "ada"))

    def test_it_answers_nonsense(self):
        with harness.Lab() as lab:
            quorate = Quorate(lab)
            with FakeProxy(quorate.state / "control.sock", ["what?"]):
                quorate("suspend", "ada", status=3)

    def test_the_vote_ends_before_the_replica(self):
        """While the proxy is told of a stop, the roster says absent and the replica still runs."""
        with harness.Lab() as lab:
            quorate = Quorate(lab)
            quorate("start", "ada")
            seen = []

            class Looking(FakeProxy):
                def serve(self):
                    connection, _ = self.listener.accept()
                    with connection, connection.makefile("rw") as stream:
                        stream.readline()
                        row = quorate.row("ada")
                        seen.append((row["standing"], row["process"]["running"]))
                        stream.write('{"ok": true}\n')

            with Looking(quorate.state / "control.sock"):
                quorate("stop", "ada")
            self.assertEqual(seen, [("absent", True)])


if __name__ == "__main__":
    unittest.main()
