"""Replica domains through the product's own host, for tests in Dom0: a configuration of three
replicas whose guests do as they are told, and what Xen and the process table say of them.

The guests boot a replica image with an /init of their own, which needs no network: so these tests
need no proxy.
"""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import textwrap
import time
import unittest

import dom0
import guests
import harness
from guests import run

QUORATE = harness.BUILD / "tools" / "quorate" / "quorate"
APPLIANCE = "domtest"
BOOT_SECONDS = 180  # on an emulated machine that others use, too
BACKENDS = "/local/domain/0/backend/quorate"

# What `order` says in its data part of xenstore, the guest does.
INIT = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin
/usr/bin/busybox mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
ln -s /proc/self/fd /dev/fd
echo "hello from $(tr '\\n' ' ' </etc/quorate/name)"
agent seed /etc/quorate/seed && echo "seeded by $(wc -c </etc/quorate/seed) octets"
. /etc/quorate/files/behaviour
while :; do
    case $(agent read data/quorate/order 2>/dev/null) in
    crash) echo c >/proc/sysrq-trigger ;;
    poweroff) poweroff -f ;;
    reboot) reboot -f ;;
    flood)
        agent write data/quorate/flooding yes
        yes "all work and no play" | head -c 4000000
        agent write data/quorate/order flooded
        ;;
    esac
    usleep 100000
done
"""
HEALTHY = "agent health healthy\n"


def until(condition, what, seconds=BOOT_SECONDS):
    """Asks until it is true, and gives back what it says."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)  # pause: of a loop with a deadline


def domains():
    """{name: domain number} of all but Dom0; one that is half built has no name yet."""
    found = {}
    for line in run("xl", "list").stdout.splitlines()[1:]:
        words = line.split()
        number = int(words[-5])  # Name ID Mem VCPUs State Time(s)
        if number != 0:
            found[" ".join(words[:-5]) or f"({number})"] = number
    return found


def names_below(path):
    return run("xenstore-list", path, check=False).stdout.split()


def keepers():
    """Process numbers of console keepers."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"replica-console" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            pass  # it has ended meanwhile
    return found


class Replicas:
    """A state directory, a configuration, and the commands on it."""

    def __init__(self, replicas, image="echo"):
        self.directory = tempfile.TemporaryDirectory(prefix="quorate-domains-")
        self.path = pathlib.Path(self.directory.name)
        self.manifest = dom0.manifest(image)
        self.records = self.path / "state" / "domains"
        self.config = self.path / "config.toml"
        (self.path / "init").write_text(INIT)
        (self.path / "init").chmod(0o755)
        self.configure(replicas)

    def configure(self, replicas):
        """Each replica: {behaviour, and any key of [group.replica.xen] as TOML text}."""
        manifest = self.manifest
        groups = f'[[group]]\nname = "g"\nquorum = {len(replicas) // 2 + 1}\n'
        for slot, replica in enumerate(replicas):
            behaviour = json.dumps(replica.get("behaviour", HEALTHY))
            keys = {"type": '"pv"', "memory_mb": "96",
                    "health_timeout_ms": str(BOOT_SECONDS * 1000),
                    "command_line": json.dumps(manifest["command_line"] + " mitigations=off"),
                    **{key: f'"{value}"' for key, value in guests.boot_keys(manifest).items()},
                    "files": f"{{ behaviour = {behaviour} }}",
                    "copies": '{ "/init" = "init" }',
                    **{key: value for key, value in replica.items() if key != "behaviour"}}
            groups += (f'[[group.replica]]\nname = "{"abc"[slot]}"\n[group.replica.xen]\n' +
                       "".join(f"{key} = {value}\n" for key, value in keys.items()))
        self.config.write_text(textwrap.dedent(f"""\
            [appliance]
            name = "{APPLIANCE}"
            state_dir = "{self.path}/state"
            [client]
            ports = ["veth:none"]
            """) + groups + textwrap.dedent("""\
            [[service]]
            name = "s"
            group = "g"
            addresses = ["192.0.2.7", "2001:db8::7"]
            port = 7
            matcher = "0:4"
            """))

    def replica(self, *words, ok=True):
        """`quorate replica ...`: its JSON."""
        done = run(QUORATE, "replica", *words, "--json", "-c", self.config, check=False,
                   timeout=400)
        if not done.stdout:
            raise AssertionError(f"{words}: {done.returncode}: {done.stderr}")
        said = json.loads(done.stdout)
        if ok is not None and (done.returncode == 0) != ok:
            raise AssertionError(f"{words}: {done.returncode}: {done.stdout}{done.stderr}{self.last_words()}")
        return said

    def last_words(self):
        """Of the consoles, where a start failed."""
        return "".join(f"\n--- {file.name}\n{file.read_text(errors='replace')[-800:]}"
                       for file in sorted(self.records.glob("*.log")))

    def seat(self, name):
        """What `list` says of one replica."""
        return self.replica("list", name)["replicas"][0]

    def log(self, slot, place):
        file = self.records / f"g-{slot}-{place}.log"
        return file.read_text() if file.exists() else ""

    def order(self, seat, what):
        """Has the guest of a seat do something."""
        run("xenstore-write", f"/local/domain/{seat['process']['pid']}/data/quorate/order", what)

    def kill_start(self, name, condition, what):
        """SIGKILL to `quorate replica start` once the condition holds; its helper ends with it."""
        starting = subprocess.Popen([QUORATE, "replica", "start", name, "-c", self.config],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(condition, what)
        finally:
            os.kill(starting.pid, signal.SIGKILL)
            starting.wait(timeout=30)

    def close(self):
        """Nothing of the test may be left; says what was."""
        for words in (("stop", "--all"), ("clean",)):
            run(QUORATE, "replica", *words, "-c", self.config, check=False, timeout=400)
        left = [file.name for file in self.records.glob("*.json")]
        left += [name for name in domains() if name.startswith(f"quorate-{APPLIANCE}-")]
        left += [f"backend {number}" for number in names_below(BACKENDS)]
        until(lambda: not keepers(), "the keepers end")
        self.directory.cleanup()
        return left


class DomainTest(unittest.TestCase):
    """Replicas as `replicas` says, and nothing left of them."""
    replicas = [{}, {}, {}]
    image = "echo"

    def setUp(self):
        self.before = domains()
        self.lab = Replicas(self.replicas, self.image)

    def tearDown(self):
        self.assertEqual(self.lab.close(), [], "left behind")
        self.assertEqual(domains(), self.before)
