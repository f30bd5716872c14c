"""Layers: a machine that ran up to some point, frozen, so that every start continues there.

A layer is the machine's whole state in one file (QEMU's migration stream) and what its root disk
had become (a qcow2 overlay upon the layer below, and at last upon the Dom0 image). Its key holds
everything that it is made of. Restoring neither copies nor changes it: each run has an overlay of
its own.
"""

import json
import os
import pathlib
import shutil
import subprocess
import time

import channel as channels
import dom0
import machine as machines
import packages
import store
from store import Failure

TREE_DISK_MB = 768       # of every machine; what is on it comes and goes
BOOT_SECONDS_MAX = 600


class Layer:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.disk = self.directory / "root.qcow2"
        self.state = self.directory / "state"

    def about(self):
        return json.loads((self.directory / "about.json").read_text())


def overlay(path, backing, kind):
    """A disk in which only what differs from `backing` is kept."""
    done = subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b",
                           str(backing), str(path)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"qemu-img: {done.stderr.strip()}")


def empty_disk(path, megabytes):
    with open(path, "wb") as file:
        file.truncate(megabytes << 20)


def machine_key():
    return {"qemu": machines.qemu_version(), "settings": machines.SETTINGS, "tree": TREE_DISK_MB}


def dom0_key():
    return store.key_of({"image": dom0.key(), "machine": machine_key()})


def dom0_layer(say):
    """Xen and Dom0, with the agent waiting. Built first if need be."""
    key = dom0_key()

    def make(scratch):
        image = dom0.image(say)
        hypervisor, kernel = packages.hypervisor(), packages.kernel()
        begin = time.monotonic()
        overlay(scratch / "root.qcow2", image / "root.img", "raw")
        empty_disk(scratch / "tree.img", TREE_DISK_MB)
        disks = [(scratch / "root.qcow2", "qcow2"), (scratch / "tree.img", "raw")]
        say("layer: booting Xen and Dom0 (emulated: about half a minute)")
        machine = machines.Machine(scratch, disks, boot=(hypervisor.elf, kernel.vmlinux,
                                                         image / "initramfs.img"))
        try:
            with channels.Channel(machine) as channel:
                channel.hello(deadline_s=BOOT_SECONDS_MAX)
            freeze(machine, scratch, say)
        finally:
            machine.stop()
        describe(scratch, "dom0", None, time.monotonic() - begin,
                 {"xen": hypervisor.version, "kernel": kernel.version, "image": dom0.key()})

    return Layer(store.made("layers", key, make, say))


def freeze(machine, scratch, say):
    """The machine's state into scratch/state; the machine ends."""
    say("layer: writing the state")
    monitor = machine.monitor()
    monitor.save(scratch / "state")
    monitor.execute("quit")
    machine.process.wait(30)
    for name in ("tree.img", "monitor", "pid", *(f"port{n}" for n in range(4))):
        (scratch / name).unlink(missing_ok=True)


def describe(scratch, name, below, seconds, made_of):
    (scratch / "about.json").write_text(json.dumps(
        {"name": name, "below": below, "seconds": round(seconds, 1), "made_of": made_of,
         "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}, indent=1) + "\n")
