"""What the demo needs of a running appliance: its figures, and its replicas as processes.

Everything it knows of the form of `quorate status` is in figures(); everything it does to a replica
from outside (a look, a stop of the heart) goes by the processes in the replica's namespace.
"""

import os
import pathlib
import signal
import subprocess
import time

import harness


class Appliance:
    def __init__(self, lab, story, config, state_dir, group, replicas):
        self.lab, self.story = lab, story
        self.config, self.state_dir, self.group = config, pathlib.Path(state_dir), group
        self.replicas = replicas  # name -> process name of its server
        self.proxy = None
        lab.at_end.append(self.stop_replicas)

    # --- starting and stopping

    def start(self):
        self.proxy = self.lab.proxy(self.config, self.state_dir)
        self.lab.quorate("replica", "start", "--all", "--config", self.config, timeout=60)
        self.wait_admitted()

    def wait_admitted(self, deadline_s=20):
        harness.wait_until(lambda: self.standings().count("admitted") == len(self.replicas),
                           deadline_s, "all replicas are admitted")

    def stop_replicas(self):
        for name in self.replicas:
            self.resume(name)
        self.lab.quorate("replica", "stop", "--all", "--config", self.config, check=False, timeout=60)

    def restart(self, name):
        self.lab.quorate("replica", "restart", f"{self.group}/{name}", "--config", self.config,
                         timeout=60)
        self.wait_admitted()

    def group_status(self):
        groups = self.proxy.control.status()["groups"]
        return next(group for group in groups if group["name"] == self.group)

    def standings(self):
        return [replica["standing"] for replica in self.group_status()["replicas"]]

    def figures(self):
        """The group's counters: whole numbers that only grow, by name."""
        status = self.group_status()
        found = {key: status[key] for key in ("requests", "agreed", "split", "expired")}
        for replica in status["replicas"]:
            for key in ("dissent", "silence"):
                found[f"{key} {replica['name']}"] = replica[key]
        for key in ("dissent", "silence"):
            found[key] = sum(found[f"{key} {name}"] for name in self.replicas)
        return found

    def settled(self, quiet_s=0.7):
        """The counters once they have stopped moving: every ballot past its deadline."""
        last, since = None, time.monotonic()

        def quiet():
            nonlocal last, since
            now = self.figures()
            if now != last:
                last, since = now, time.monotonic()
            return time.monotonic() - since >= quiet_s

        harness.wait_until(quiet, 15, "the counters come to rest", pause_s=0.1)
        return last

    # --- a replica from outside

    def processes(self, name):
        """The processes in the replica's network namespace, its server's first."""
        server = next((pid for pid, comm in harness.processes().items()
                       if comm == self.replicas[name]), None)
        if server is None:
            return []
        there = os.readlink(f"/proc/{server}/ns/net")
        found = [server]
        for pid in harness.processes():
            try:
                if pid != server and os.readlink(f"/proc/{pid}/ns/net") == there:
                    found.append(pid)
            except OSError:
                pass
        return found

    def ask_inside(self, name, argv):
        """Runs a program in the replica's own namespace: past the vote."""
        return subprocess.run(["nsenter", "-t", str(self.processes(name)[0]), "-n", "--", *argv],
                              capture_output=True, text=True, check=False, timeout=20).stdout.strip()

    def pause(self, name):
        """Stops every process of it where it stands; it is still there, and says nothing."""
        for pid in self.processes(name):
            os.kill(pid, signal.SIGSTOP)

    def resume(self, name):
        for pid in self.processes(name):
            os.kill(pid, signal.SIGCONT)

    # --- evidence

    def evidence(self):
        """The newest evidence file and its last comment, or (None, '')."""
        files = sorted((self.state_dir / "evidence").glob("*.pcapng"),
                       key=lambda path: path.stat().st_mtime)
        if not files:
            return None, ""
        comments = subprocess.run(
            ["tshark", "-r", str(files[-1]), "-Y", "frame.comment", "-T", "fields", "-e",
             "frame.comment"], capture_output=True, text=True, check=False, timeout=30).stdout
        lines = [line for line in comments.splitlines() if "dissent" in line] or [""]
        return files[-1], lines[-1]


def difference(before, after):
    return {key: after[key] - before[key] for key in after}
