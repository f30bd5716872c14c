"""Machines that run: restored from a layer, each in a directory of its own, gone afterwards.

    CACHE/lab/runs/NAME/    lock, pid, monitor, port0.., console.log, qemu.log, root.qcow2, tree.qcow2

The lock is held by the command that made the machine and by QEMU itself, so whose lock is free is
dead, and is swept away by whoever comes next. A machine that stays (`lab up`) has the name of this
checkout; others find it by that.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time

import channel as channels
import images
import layers
import machine as machines
import store
import tree
from store import TOP, Failure

ENVIRONMENT = {name: value.replace(layers.PREPARED, "/quorate")
               for name, value in layers.PREPARED_ENVIRONMENT.items()}


def standing_name():
    """The name of the machine that `lab up` keeps for this checkout."""
    return "up-" + hashlib.sha256(str(TOP).encode()).hexdigest()[:8]


def directory_of(name):
    return store.home() / "runs" / name


def _take_lock(directory):
    """The lock's descriptor, or None if somebody has it."""
    file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file
    except BlockingIOError:
        os.close(file)
        return None


def sweep():
    """Removes what dead machines left."""
    for directory in (store.home() / "runs").glob("*"):
        with contextlib.suppress(OSError):
            lock = _take_lock(directory)
            if lock is not None:
                shutil.rmtree(directory, ignore_errors=True)
                os.close(lock)


def whole_tree(image_names):
    return tree.files() | images.files(image_names, "/quorate")


class Run:
    """A restored machine: `with Run(layer, say) as run: run.job([...])`."""

    def __init__(self, layer, say, image_names=(), name=None, stay=False):
        sweep()
        self.image_names = sorted(set(image_names))
        found = whole_tree(self.image_names)
        self.marks = tree.listing(found)
        source = tree.disk(self.marks, found, say)
        self.directory = directory_of(name or f"run-{os.getpid()}-{secrets.token_hex(3)}")
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.directory.mkdir(mode=0o700)
        except FileExistsError:
            raise Failure(f"{self.directory.name} is there already") from None
        self.machine = None
        lock = _take_lock(self.directory)
        try:
            begin = time.monotonic()
            layers.overlay(self.directory / "root.qcow2", layer.disk, "qcow2")
            layers.overlay(self.directory / "tree.qcow2", source, "raw")
            self.note(layer)
            disks = [(self.directory / "root.qcow2", "qcow2"),
                     (self.directory / "tree.qcow2", "qcow2")]
            self.machine = machines.Machine(self.directory, disks, state=layer.state, stay=stay,
                                            keep_open=[lock])
            self.machine.resume()
            self.seconds = time.monotonic() - begin
        except BaseException:
            self.end()
            raise
        finally:
            os.close(lock)  # QEMU has its own

    def note(self, layer):
        (self.directory / "about.json").write_text(json.dumps(
            {"layer": layer.directory.name, "since": time.time(), "checkout": str(TOP),
             "images": self.image_names}))
        (self.directory / "tree.json").write_text(json.dumps(self.marks))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def channel(self):
        return _greeted(channels.Channel(self.machine))

    def end(self):
        if self.machine:
            self.machine.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class Standing:
    """The machine that `lab up` left running."""

    def __init__(self):
        self.directory = directory_of(standing_name())
        if not self.directory.is_dir():
            raise Failure("no machine of this checkout is up: tools/lab up")
        self.machine = machines.Found(self.directory)
        self.about = json.loads((self.directory / "about.json").read_text())

    def channel(self):
        """A conversation on the first port that nobody uses; the tree is brought up to date."""
        for number in range(machines.SETTINGS["ports"]):
            lock = os.open(self.directory / f"port{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            channel = _greeted(channels.Channel(self.machine, number))
            channel.lock = lock  # until this process ends
            self.refresh(channel)
            return channel
        raise Failure("every port of the machine is in use; end another lab run or shell")

    def refresh(self, channel):
        """Brings what changed in the checkout since the machine last saw it."""
        kept = self.directory / "tree.json"
        found = whole_tree(self.about["images"])
        marks = tree.listing(found)
        difference = tree.differences(json.loads(kept.read_text()), marks, found)
        if difference is None:
            return
        archive, gone = difference
        channel.put(archive)
        if gone:
            channel.run({"argv": ["rm", "-f", "--", *gone], "directory": "/quorate"},
                        lambda *_: None, timeout_s=60)
        fresh = kept.with_suffix(".new")
        fresh.write_text(json.dumps(marks))
        fresh.replace(kept)

    def end(self):
        self.machine.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def _greeted(channel):
    channel.hello(tree=tree.DEVICE)
    return channel


def standing():
    """The machine of this checkout that is up, or None."""
    if not (directory_of(standing_name()) / "pid").exists():
        return None
    try:
        return Standing()
    except Failure:
        return None
