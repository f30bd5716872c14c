"""A running appliance with its replicas, as tests and the demo need it: the proxy's figures, and the
replicas as processes.

Everything known here of the form of the proxy's status is in figures() and standings(); everything
done to a replica from outside (a question past the vote, a stop of its heart) goes by the processes
in the replica's namespace.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import time
import tomllib

import dns
import harness


class Appliance:
    def __init__(self, lab, config, state_dir, group, replicas):
        self.lab, self.config, self.state_dir = lab, config, pathlib.Path(state_dir)
        self.group = group
        self.replicas = replicas  # their names
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
        whole = self.proxy.control.status()
        status = next(group for group in whole["groups"] if group["name"] == self.group)
        found = {f"drop {reason}": count for reason, count in whole["drops"].items()}
        found |= {key: status[key] for key in ("requests", "agreed", "split", "expired")}
        for replica in status["replicas"]:
            for key in ("dissent", "silence", "skipped"):
                found[f"{key} {replica['name']}"] = replica[key]
        for key in ("dissent", "silence"):
            found[key] = sum(found[f"{key} {name}"] for name in self.replicas)
        return found

    def settled(self, quiet_s=0.7):
        """The counters once they have stopped moving: every ballot past its deadline."""
        last, seen, since = None, None, time.monotonic()

        def quiet():
            nonlocal last, seen, since
            now = self.figures()
            votes = {key: now[key] for key in now if not key.startswith("drop")}
            if votes != seen:
                seen, since = votes, time.monotonic()
            last = now
            return time.monotonic() - since >= quiet_s

        harness.wait_until(quiet, 15, "the counters come to rest", pause_s=0.1)
        return last

    # --- a replica from outside

    def processes(self, name):
        """The service's processes, the first of them first; none where it does not run."""
        listed = json.loads(self.lab.quorate("replica", "list", f"{self.group}/{name}", "--json",
                                             "--config", self.config).stdout)["replicas"][0]
        if not (listed.get("process") or {}).get("running"):
            return []
        parents = harness.parents()
        # supervisor -> process 1 of its namespaces -> the service and what it started
        found = [pid for pid, parent in parents.items()
                 if parents.get(parent) == listed["process"]["pid"]]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def ask_inside(self, name, argv):
        """Runs a program in the replica's own network namespace: past the vote."""
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
    return {key: after[key] - before.get(key, 0) for key in after}


DNS_ADDRESS = ("10.53.0.53", 53)


class DnsAppliance(Appliance):
    """examples/dns, each server with a zone file of its own, so that one can be altered."""

    LIE = "203.0.113.66"

    def __init__(self, lab, changes=()):
        """`changes`: (old, new) texts in the configuration."""
        source = harness.TOP / "examples" / "dns"
        self.zone = (source / "example.zone").read_text()
        state_dir = lab.directory / "state"
        text = (source / "quorate.toml").read_text()
        text = text.replace("[appliance]", f'[appliance]\nstate_dir = "{state_dir}"', 1)
        for name in ("nsd", "knot", "named"):
            lab.file(f"{name}.zone", self.zone)
            text = re.sub(rf'(name = "{name}".*?"example.zone" = )"example.zone"',
                          rf'\1"{name}.zone"', text, count=1, flags=re.DOTALL)
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        super().__init__(lab, lab.file("quorate.toml", text), state_dir, "dns",
                         ["nsd", "knot", "named"])

    def alter(self, name, zone=None):
        """Gives a server another zone (by default one whose every address is LIE)."""
        if zone is None:
            zone = re.sub(r"(\sA\s+)\d+\.\d+\.\d+\.\d+", rf"\g<1>{self.LIE}", self.zone)
        self.lab.file(f"{name}.zone", zone)
        self.restart(name)

    def heal(self, name):
        self.alter(name, self.zone)

    def truth(self, questions):
        """What nsd says to each by itself, away from Quorate: (name lower-cased, type) -> answer."""
        replica = tomllib.loads(self.config.read_text())["group"][0]["replica"][0]
        beside, program = self.lab.lone_server(replica, self.config, "truth")
        with beside.socket() as connection:
            tally, answers = dns.ask_all(connection, DNS_ADDRESS, questions)
        program.stop()
        assert tally.right == len(questions), str(tally)
        return answers
