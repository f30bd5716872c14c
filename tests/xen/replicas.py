#!/usr/bin/python3
"""An appliance whose replicas are Xen domains behind netback, with a client in a namespace.

    replicas.py start GROUP     counter, echo, or dns: starts proxy and replicas, waits until all are
                                admitted, and leaves them running: a preparation for `tools/lab run`
    replicas.py stop GROUP      ends what is there of that: `tools/lab run --native`
    replicas.py layer GROUP     what `tools/lab run --appliance GROUP` needs to make a layer of that

    LAB = ["--appliance", "counter"]            in a test file
    appliance = replicas.Running("counter")     in its tests: what the layer started

Known limit: one appliance at a time, since interfaces and paths are fixed.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "xen"), str(TOP / "tests" / "netns")]

import harness  # noqa: E402 (its place is the namespaces' tests)
from guests import boot_keys, hypervisor_log, load_disk_backend, manifest, run, xenstore  # noqa: E402

HOME = pathlib.Path("/run/quorate-test")
BUILD = TOP / "build" / "release"
NAME = "labtest"
ADDRESS = "10.53.0.53"
ADDRESS6 = "fd53::53"
CLIENT = ("10.53.0.2/24", "fd53::2/64")
HEALTHY_MS = 240_000
READY_SECONDS = 120

# group: (port, more of the service, state, image and kind of domain of each replica)
GROUPS = {
    "counter": (7000, 'matcher = "0:8"\n', "log", [("counter", "pv")] * 3),
    "echo": (7, 'matcher = "0:4"\n', "none", [("echo", "pv"), ("echo", "pvh"), ("echo", "pv")]),
    "dns": (53, 'matcher = "dns"\nrefuse = ["any", "chaos", "opcodes"]\n', "none",
            [("nsd", "pv"), ("knot", "pv"), ("nsd", "pvh")]),
}
ZONE = TOP / "tests" / "data" / "example.zone"
REPLICAS = ["first", "second", "third"]
SCATTERS = "second"  # its frames may lie in several pages; the others' need not


def zone_of(name):
    """A replica's own zone file, so that one can be given another."""
    return HOME / f"{name}.zone"


def images(group):
    return sorted({image for image, _ in GROUPS[group][3]})


def replica_text(name, image, kind, zone):
    said = manifest(image)
    values = {"type": kind, **boot_keys(said),
              # nsd runs out of 128 MB in a PVH domain
              "memory_mb": said["memory_mib"] + (64 if kind == "pvh" else 0),
              "health_timeout_ms": HEALTHY_MS, "scatter_gather": name == SCATTERS,
              "command_line": f"{said['command_line']} mitigations=off sysrq_always_enabled"}
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    if zone:
        lines.append(f'copies = {{ "example.zone" = {json.dumps(str(zone))} }}')
    return f'[[group.replica]]\nname = "{name}"\n[group.replica.xen]\n' + "\n".join(lines) + "\n"


def configuration(group):
    port, kind, state, members = GROUPS[group]
    head = textwrap.dedent(f"""\
        [appliance]
        name = "{NAME}"
        state_dir = "{HOME}/state"
        ballots_max = 4096
        [client]
        ports = ["veth:qc0"]
        [eal]
        memory_mb = 160
        [[service]]
        name = "{group}"
        group = "{group}"
        addresses = {json.dumps([ADDRESS] if group == "echo" else [ADDRESS, ADDRESS6])}
        port = {port}
        """)
    body = textwrap.dedent(f"""\
        [[group]]
        name = "{group}"
        f = 1
        state = "{state}"
        quorum_lost = "silence"
        deadline_ms = 10000
        suspend = "manual"
        """)
    return head + kind + body + "".join(
        replica_text(name, image, member, zone_of(name) if group == "dns" else None)
        for name, (image, member) in zip(REPLICAS, members))


class Running:
    """What a layer started, or start(): client, proxy, replicas. Nothing is ended with it: the machine is
    thrown away."""

    def __init__(self, group):
        self.group = group
        self.config = HOME / "config.toml"
        self.control = harness.Control(HOME / "state" / "control.sock")
        self.client = ClientNamespace(int((HOME / "client.pid").read_text()))
        self.server = (ADDRESS, GROUPS[group][0])

    def quorate(self, *words, check=True, timeout=400):
        return run(BUILD / "tools" / "quorate" / "quorate", *words, "--config", self.config,
                   check=check, timeout=timeout)

    def status(self):
        return self.control.status()

    def group_status(self):
        return next(one for one in self.status()["groups"] if one["name"] == self.group)

    def standings(self):
        return [replica["standing"] for replica in self.group_status()["replicas"]]

    def wait_admitted(self, deadline_s=READY_SECONDS):
        harness.wait_until(lambda: set(self.standings()) == {"admitted"}, deadline_s,
                           "all replicas are admitted", pause_s=0.2)

    def heal(self, deadline_s=READY_SECONDS):
        """Until all vote: who has lost the thread (a stateful group's) is restarted."""
        def well():
            for replica in self.group_status()["replicas"]:
                if replica["standing"] == "lagging" and replica["lost"]:
                    self.quorate("replica", "restart", f"{self.group}/{replica['name']}")
            return set(self.standings()) == {"admitted"}

        harness.wait_until(well, deadline_s, "all replicas are admitted", pause_s=0.2)

    def domain(self, name):
        """The number of a replica's domain."""
        listed = json.loads(self.quorate("replica", "list", f"{self.group}/{name}", "--json").stdout)
        return listed["replicas"][0]["process"]["pid"]

    def tell(self, name, command, deadline_s=60):
        """A command to a sample service, through the guest's agent; its reply."""
        home = f"/local/domain/{self.domain(name)}/data/quorate"
        number = int((xenstore(f"{home}/told") or "0").split()[0]) + 1
        run("xenstore-write", f"{home}/tell", f"{number} {command}")
        return harness.wait_until(
            lambda: (xenstore(f"{home}/told") or "").removeprefix(f"{number} ")
            if (xenstore(f"{home}/told") or "").startswith(f"{number} ") else None,
            deadline_s, f"{name} replies to {command}", pause_s=0.1)

    def proxy_pid(self):
        return int((HOME / "proxy.pid").read_text())

    def start_proxy(self, **options):
        """Again, after it was killed; returns when it answers."""
        start_proxy(**options)
        harness.wait_until(self.status, READY_SECONDS, "the proxy answers", pause_s=0.1)

    def report(self):
        """What a person wants to read after a failure."""
        tail = (HOME / "proxy.log").read_text(errors="replace").splitlines()[-20:]
        logs = "".join(f"--- {log.name}\n{log.read_text(errors='replace')[-800:]}\n"
                       for log in sorted((HOME / "state" / "domains").glob("*.log")))
        listed = self.quorate("replica", "list", check=False)
        run("xl", "debug-keys", "e", check=False)  # event channels
        return "\n".join(["--- proxy.log", *tail, logs, listed.stdout, listed.stderr,
                          json.dumps(self.status()), run("xl", "vcpu-list", check=False).stdout,
                          hypervisor_log()[-8000:]])


class ClientNamespace(harness.Namespace):
    """The client's, which outlives whoever made it."""

    def __init__(self, pid):  # not the parent's: that would make one
        self.lab, self.name, self.pid = None, "client", pid


def start_proxy(program="quorate-proxy", **environment):
    """The proxy in a session of its own, so that it outlives us."""
    with (HOME / "proxy.log").open("ab") as log:
        proxy = subprocess.Popen([BUILD / "proxy" / program, "--config", HOME / "config.toml"],
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 env={**os.environ, **environment}, start_new_session=True)
    (HOME / "proxy.pid").write_text(f"{proxy.pid}\n")
    return proxy


def make_client():
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              start_new_session=True)
    own = os.readlink("/proc/self/ns/net")
    harness.wait_until(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own, 20, "a namespace")
    client = ClientNamespace(holder.pid)
    run("ip", "link", "add", "name", "qc0", "type", "veth", "peer", "name", "eth0", "netns", holder.pid)
    client.run(["sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0", "net.ipv6.conf.eth0.accept_dad=0"])
    for address in CLIENT:
        client.run(["ip", "address", "add", address, "dev", "eth0"])
    for words in (["lo", "up"], ["eth0", "up"]):
        client.run(["ip", "link", "set", *words])
    client.run(["ethtool", "-K", "eth0", "tx", "off"])
    run("ip", "link", "set", "qc0", "up")
    run("ethtool", "-K", "qc0", "tx", "off")
    (HOME / "client.pid").write_text(f"{holder.pid}\n")


def start(group):
    """Everything, from nothing; returns Running(group)."""
    HOME.mkdir()
    (HOME / "config.toml").write_text(configuration(group))
    if group == "dns":
        for name in REPLICAS:
            zone_of(name).write_text(ZONE.read_text())
    load_disk_backend()
    make_client()
    proxy = start_proxy()
    running = Running(group)

    def answers():
        if proxy.poll() is not None:
            raise AssertionError(f"the proxy ended with {proxy.returncode}:\n"
                                 + (HOME / "proxy.log").read_text()[-2000:])
        return running.status()

    try:
        harness.wait_until(answers, READY_SECONDS, "the proxy answers", pause_s=0.1)
        for name in REPLICAS:  # in turn: tools/laboratory/machine.py, emulation_failed()
            running.quorate("replica", "start", f"{group}/{name}", timeout=800)
        running.wait_admitted()
    except AssertionError as error:
        raise AssertionError(f"{error}\n{running.report()}") from None
    return running


def stop(group):
    """All of what start() made, or tests after it, however far they came."""
    if (HOME / "client.pid").exists():
        Running(group).quorate("replica", "stop", "--all", check=False)
    for name in ("proxy", "client"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pid = int((HOME / f"{name}.pid").read_text())
            os.kill(pid, signal.SIGTERM)
            harness.wait_until(lambda pid=pid: not pathlib.Path(f"/proc/{pid}").exists(),
                               READY_SECONDS, f"the {name} has ended")
    if (HOME / "config.toml").exists():
        run(BUILD / "tools" / "quorate" / "quorate", "replica", "clean", "--config",
            HOME / "config.toml", check=False)
    shutil.rmtree(HOME, ignore_errors=True)


def layer(group):
    """What tools/lab needs to know of the layer: (command, inputs, images)."""
    folders = ["tests/xen/replicas.py", "tests/xen/guests.py", "tests/netns/harness.py",
               "guest/image/archive.py", "build/release/proxy/quorate-proxy",
               "build/release/tools/quorate/quorate", "tests/data/example.zone"]
    return f"exec python3 tests/xen/replicas.py start {group}", folders, images(group)


def main(words):
    if len(words) != 2 or words[0] not in ("start", "stop", "layer") or words[1] not in GROUPS:
        print(__doc__, file=sys.stderr)
        return 2
    if words[0] == "layer":
        print(json.dumps(layer(words[1])))
    elif words[0] == "stop":
        stop(words[1])
    else:
        start(words[1])
        print(f"{words[1]}: three replicas are admitted")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
