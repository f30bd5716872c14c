#!/usr/bin/python3
"""Replica images as domains, made with xl in Dom0: for layers of the lab (`tools/lab run --guests`)
and for tests of what is below `quorate replica`.

    guests.py IMAGE[:paused]...    domains lab-0, lab-1, ...

An image alone gets no network and is waited for until it says it is healthy. One that is `paused`
has its network device's nodes (as xen/domain writes them, with addresses from ADDRESSES) and has not
run yet: start a proxy, then `xl unpause`. Images are in images/NAME beside or above this tree.

Known limit: xl, not libxl; one device for each domain.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time
import uuid

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "guest" / "image"))

import archive  # noqa: E402 (its place is guest/image)

MAC = "02:51:00:00:00:02"
ADDRESSES = ("10.53.0.53/32", "fd53::53/128")
GATEWAYS = ("169.254.1.1", "fe80::1")
HEALTHY_SECONDS_MAX = 300


def run(*argv, check=True, timeout=180):
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=timeout)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, argv))}: exit {done.returncode}\n"
                             f"{done.stdout[-800:]}{done.stderr[-800:]}")
    return done


def hypervisor_log():
    return run("xl", "dmesg").stdout


def manifest(name):
    """What there is to know of an image. The lab brings it (--image); elsewhere it is built."""
    brought = TOP / "images" / name / "manifest.json"
    if brought.exists():
        return json.loads(brought.read_text())
    return json.loads(run(TOP / "guest" / "image" / "build", "--json", name, timeout=900).stdout)


def domains():
    """{name: domid} of what runs, Domain-0 included."""
    lines = run("xl", "list").stdout.splitlines()[1:]
    return {line.split()[0]: int(line.split()[1]) for line in lines}


def xenstore(path):
    """The value of a node, or None."""
    done = run("xenstore-read", path, check=False)
    return done.stdout.rstrip("\n") if done.returncode == 0 else None


def backends():
    """Directories of our backends that are there: DOMID/DEVICE."""
    home = "/local/domain/0/backend/quorate"
    found = []
    for domid in run("xenstore-list", home, check=False).stdout.split():
        found += [f"{domid}/{device}" for device in
                  run("xenstore-list", f"{home}/{domid}", check=False).stdout.split()]
    return found


def network_text(addresses=ADDRESSES, mac=MAC, gateways=GATEWAYS):
    lines = [f"mac {mac}", *(f"address {address}" for address in addresses),
             f"gateway {gateways[0]}", f"gateway6 {gateways[1]}"]
    return "\n".join(lines) + "\n"


def load_disk_backend():
    """Without pages of guests that stay mapped when nothing is read."""
    run("modprobe", "loop")
    run("modprobe", "xen-blkback", "feature_persistent=0")


def boot_keys(image):
    """What [group.replica.xen] has of an image's manifest: its files and their hashes."""
    return {key: image[key] for kind in ("kernel", "ramdisk", "disk") if kind in image
            for key in (kind, f"{kind}_sha256")}


class Guest:
    """A domain; `files` are {path in the guest: bytes} besides what the network needs. With
    `addresses` it has a network device whose backend is of our kind, and is created paused."""

    mac, gateways = MAC, GATEWAYS

    def __init__(self, image, name=None, addresses=(), files=None, kind="pv", memory_mb=None,
                 start=True):
        self.image = manifest(image)
        self.uuid = str(uuid.uuid4())
        self.name = name or f"lab-{self.uuid[:8]}"
        handed_in = dict(files or {})
        if addresses:
            handed_in["/etc/quorate/network"] = network_text(addresses, self.mac, self.gateways).encode()
        with tempfile.TemporaryDirectory(dir="/run") as directory:
            ramdisk = pathlib.Path(directory, "ramdisk")
            data = pathlib.Path(self.image["ramdisk"]).read_bytes()
            if handed_in:
                entries = {path: archive.file(content) for path, content in handed_in.items()}
                data = archive.padded(data) + archive.pack(archive.with_parents(entries))
            ramdisk.write_bytes(data)
            config = pathlib.Path(directory, "config")
            config.write_text(self.config(ramdisk, kind, memory_mb or self.image["memory_mib"]))
            if "disk" in self.image:
                load_disk_backend()
            run("xl", "create", "-p", "-q", config)
        self.domid = int(run("xl", "domid", self.name).stdout)
        if addresses:
            self.write_device()
        if start:
            self.unpause()

    def config(self, ramdisk, kind, memory_mb):
        values = {"name": self.name, "uuid": self.uuid, "type": kind, "kernel": self.image["kernel"],
                  "ramdisk": str(ramdisk), "memory": memory_mb, "maxmem": memory_mb, "vcpus": 1,
                  "extra": f"{self.image['command_line']} mitigations=off", "tsc_mode": "native",
                  "on_poweroff": "preserve", "on_reboot": "preserve", "on_crash": "preserve"}
        if "disk" in self.image:
            values["disk"] = [f"format=raw,vdev=xvda,access=ro,target={self.image['disk']}"]
        return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())

    def write_device(self):
        """Both ends' nodes, as xen/domain writes them, before the domain runs."""
        back = f"/local/domain/0/backend/quorate/{self.domid}/0"
        front = f"/local/domain/{self.domid}/device/vif/0"
        shared = {"state": 1, "handle": 0, "mac": self.mac}
        nodes = {back: {**shared, "frontend": front, "frontend-id": self.domid, "online": 1,
                        "uuid": self.uuid, "incarnation": 1},
                 front: {**shared, "backend": back, "backend-id": 0}}
        for where, values in nodes.items():
            run("xenstore-write", where, "", *(word for name, value in values.items()
                                               for word in (f"{where}/{name}", value)))
        run("xenstore-chmod", "-r", back, "n0", f"r{self.domid}")
        run("xenstore-chmod", "-r", front, f"n{self.domid}", "r0")

    def unpause(self):
        run("xl", "unpause", self.name)

    def pause(self):
        run("xl", "pause", self.name)

    def health(self):
        return xenstore(f"/local/domain/{self.domid}/data/quorate/health")

    def wait_healthy(self, deadline_s=HEALTHY_SECONDS_MAX):
        end = time.monotonic() + deadline_s
        while self.health() != "healthy":
            if (self.health() or "").startswith("failed") or time.monotonic() > end:
                raise AssertionError(f"{self.name} is not healthy: {self.health()}\n{self.console()}")
            time.sleep(0.2)  # pause: between two looks, until the deadline

    def console(self, lines=15):
        path = pathlib.Path(f"/var/log/xen/console/guest-{self.name}.log")
        if not path.exists():
            return "(it has said nothing)"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

    def destroy(self):
        """It, and what we wrote into xenstore for it."""
        run("xl", "destroy", self.name, check=False)
        run("xenstore-rm", f"/local/domain/0/backend/quorate/{self.domid}", check=False)


def main(words):
    made = []
    for number, word in enumerate(words):
        image, _, state = word.partition(":")
        paused = state == "paused"
        made.append((Guest(image, name=f"lab-{number}", addresses=ADDRESSES if paused else (),
                           start=not paused), paused))
        print(f"lab-{number}: {image}, domain {made[-1][0].domid}", flush=True)
    for guest, paused in made:
        if not paused:
            guest.wait_healthy()
            print(f"{guest.name}: healthy", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
