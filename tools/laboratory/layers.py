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
import sys
import time

import channel as channels
import dom0
import images
import machine as machines
import packages
import store
import tree
from store import Failure

BOOT_SECONDS_MAX = 600
PREPARE_SECONDS_MAX = 900
PREPARATIONS_MAX = 3     # where the emulation fails (machine.py)
PREPARED = "/prepared"   # where a preparation finds its files, and leaves them
PREPARED_ENVIRONMENT = {
    "QUORATE_DOM0": "1", "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb",
    "PATH": ":".join([*(f"{PREPARED}/build/release/{name}" for name in
                        ("tools/quorate", "proxy", "guest")),
                      "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])}


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
    return {"qemu": machines.qemu_version(), "settings": machines.SETTINGS, "tree": tree.DISK_MB}


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
        empty_disk(scratch / "tree.img", tree.DISK_MB)
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
        return [image]

    return Layer(store.made("layers", key, make, say))


# --- upon Dom0's

def prepared_key(below, command, marks):
    return store.key_of({"below": below, "command": command, "files": marks})


def prepared_layer(command, inputs, image_names, say, name=None):
    """Dom0's layer after a shell command that ran there, with its files in /prepared: the inputs (of
    the checkout) and the images. Whatever it started goes on running in every restored machine. The
    key is the command and the contents of the files."""
    files = tree.named(inputs) | images.files(image_names, PREPARED)
    marks = {inside: [store.digest_of(path), path.stat().st_mode] for inside, path in files.items()}
    key = prepared_key(dom0_key(), command, marks)

    def make(scratch):
        below = dom0_layer(say)
        source = tree.disk(tree.listing(files), files, say)
        begin = time.monotonic()
        for left in reversed(range(PREPARATIONS_MAX)):
            say(f"layer: {name or command}")
            try:
                _prepared_machine(below, source, scratch, command, say)
                break
            except Failure:
                fault = machines.emulation_failed(scratch)
                if not fault or not left:
                    raise
                say(f"layer: once more, since QEMU failed a guest: {fault}")
        describe(scratch, name or "prepared", below.directory.name, time.monotonic() - begin,
                 {"command": command, "files": sorted(marks)})
        return [below.directory]

    return Layer(store.made("layers", key, make, say))


def _prepared_machine(below, source, scratch, command, say):
    overlay(scratch / "root.qcow2", below.disk, "qcow2")
    overlay(scratch / "tree.qcow2", source, "raw")
    machine = machines.Machine(scratch, [(scratch / "root.qcow2", "qcow2"),
                                         (scratch / "tree.qcow2", "qcow2")], state=below.state)
    try:
        machine.resume()
        with channels.Channel(machine) as channel:
            channel.hello(tree=tree.DEVICE)
            _prepare(channel, command)
        freeze(machine, scratch, say)
    finally:
        machine.stop()


def _prepare(channel, command):
    """The files move to the root disk, since the tree's is another one at each start."""
    steps = [(["sh", "-c", f"mkdir {PREPARED} && cp -a /quorate/. {PREPARED}/ && umount /quorate"], "/"),
             (["sh", "-c", command], PREPARED)]
    for argv, directory in steps:
        code, overdue = channel.run(
            {"argv": argv, "directory": directory, "leave": True,
             "environment": PREPARED_ENVIRONMENT},
            lambda _, data: sys.stderr.buffer.write(data), timeout_s=PREPARE_SECONDS_MAX)
        sys.stderr.flush()
        if overdue:
            raise Failure(f"the preparation was not done within {PREPARE_SECONDS_MAX} s: {command}")
        if code != 0:
            raise Failure(f"the preparation failed with status {code}: {command}")


def freeze(machine, scratch, say):
    """The machine's state into scratch/state; the machine ends."""
    say("layer: writing the state")
    monitor = machine.monitor()
    monitor.save(scratch / "state")
    monitor.execute("quit")
    machine.process.wait(30)
    for name in ("tree.img", "tree.qcow2", "qemu.log", "monitor", "pid", *(f"port{n}" for n in range(4))):
        (scratch / name).unlink(missing_ok=True)


def describe(scratch, name, below, seconds, made_of):
    (scratch / "about.json").write_text(json.dumps(
        {"name": name, "below": below, "seconds": round(seconds, 1), "made_of": made_of,
         "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}, indent=1) + "\n")
