"""Where the lab keeps what it made, under keys that say of what it was made.

    CACHE/lab/images/KEY/    a Dom0: root disk, initramfs        } a directory that is there is whole
    CACHE/lab/layers/KEY/    a running machine: state, its disk  }
    CACHE/lab/trees/KEY/     the project's tree as a disk        }
    CACHE/lab/runs/NAME/     one machine that runs now

CACHE is that of guest/image/packages.py, outside the repository. A key is the hash of everything
that matters to what is behind it, so nothing is ever out of date: it is only unused, and of each
kind only the latest few are kept.

Known limit: two that build the same thing at once do it one after the other, and the second finds it
done; an unused thing can be forgotten while a process still computes with its name (it is kept for
an hour at least).
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "guest" / "image"))

import packages  # noqa: E402 (its place is guest/image)

KEPT = {"images": 2, "layers": 6, "trees": 4}
FORGET_AFTER_S = 3600


class Failure(Exception):
    """The lab cannot do what it was asked; the text says why and what to do."""


def home():
    return packages.cache_directory() / "lab"


def key_of(parts):
    """The key of something made of these parts (anything JSON can say)."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place(kind, key):
    return home() / kind / key


@contextlib.contextmanager
def locked(path, say_waiting=None):
    """Alone among the processes that lock this path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if say_waiting:
                say_waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made(kind, key, make, say):
    """The directory of this key; make(scratch directory) fills it if it is not there."""
    target = place(kind, key)
    if not target.is_dir():
        lock = target.parent / f".lock-{key}"
        with locked(lock, lambda: say(f"another process is making {kind[:-1]} {key}; waiting")):
            scratch = target.parent / f".making-{key}"
            shutil.rmtree(scratch, ignore_errors=True)  # of one that was interrupted
            if not target.is_dir():
                scratch.mkdir()
                try:
                    make(scratch)
                    scratch.rename(target)
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
        forget_old(kind)
    os.utime(target)  # its last use
    return target


def contents(kind):
    """(directory, time of its last use), the latest first."""
    found = [(path, path.stat().st_mtime) for path in (home() / kind).glob("[0-9a-f]*")]
    return sorted(found, key=lambda one: one[1], reverse=True)


def forget_old(kind):
    for path, used in contents(kind)[KEPT[kind]:]:
        if time.time() - used > FORGET_AFTER_S:
            shutil.rmtree(path, ignore_errors=True)


def disk_bytes(directory):
    """What it takes on the disk; holes are not counted."""
    return sum(path.lstat().st_blocks * 512 for path in pathlib.Path(directory).rglob("*"))
