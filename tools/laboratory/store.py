"""Where the lab keeps what it made, under keys that say of what it was made.

    CACHE/lab/images/KEY/    a Dom0: root disk, initramfs        } a directory that is there is whole
    CACHE/lab/layers/KEY/    a running machine: state, its disk  }
    CACHE/lab/trees/KEY/     the project's tree as a disk        }
    CACHE/lab/runs/NAME/     one machine that runs now

CACHE is that of guest/image/packages.py, outside the repository. A key is the hash of everything
that matters to what is behind it, so nothing is ever out of date: it is only unused, and of each
kind only the latest few are kept. What stands on something else (a layer on another, or on an image)
keeps that in use, and is worth nothing without exactly that: the same key built again is another.

Known limit: two that build the same thing at once do it one after the other, and the second finds it
done; an unused thing can be forgotten while a process still computes with its name (it is kept for
some minutes at least).
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
FORGET_AFTER_S = {"images": 3600, "layers": 3600, "trees": 600}
FORMAT = 2  # of what is in these directories; part of every key
STANDS_ON = "stands_on.json"  # {path of a directory: its identity}


class Failure(Exception):
    """The lab cannot do what it was asked; the text says why and what to do."""


def home():
    return packages.cache_directory() / "lab"


def key_of(parts):
    """The key of something made of these parts (anything JSON can say)."""
    text = json.dumps([FORMAT, parts], sort_keys=True, separators=(",", ":"))
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
    """The directory of this key; make(scratch directory) fills it if it is not there, and returns
    the directories that it stands on, if any."""
    target = place(kind, key)
    if not in_use(target):
        lock = target.parent / f".lock-{key}"
        with locked(lock, lambda: say(f"another process is making {kind[:-1]} {key}; waiting")):
            scratch = target.parent / f".making-{key}"
            shutil.rmtree(scratch, ignore_errors=True)  # of one that was interrupted
            if not in_use(target):
                shutil.rmtree(target, ignore_errors=True)  # what it stood on has gone
                scratch.mkdir()
                try:
                    below = make(scratch) or []
                    (scratch / "id").write_text(os.urandom(16).hex())
                    (scratch / STANDS_ON).write_text(json.dumps(
                        {str(path): identity(path) for path in below}))
                    scratch.rename(target)
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
        forget_old(kind)
    return target


def identity(directory):
    """Tells what was built here from what is built here another time; None where nothing is."""
    try:
        return (pathlib.Path(directory) / "id").read_text()
    except OSError:
        return None


def in_use(directory):
    """Whether it is there, with all that it stands on; that is used now, all of it."""
    try:
        below = json.loads((directory / STANDS_ON).read_text())
        if any(identity(path) != known for path, known in below.items()):
            return False
        os.utime(directory)
    except (OSError, ValueError):
        return False
    return all(in_use(pathlib.Path(path)) for path in below)


def contents(kind):
    """(directory, time of its last use), the latest first."""
    found = [(path, path.stat().st_mtime) for path in (home() / kind).glob("[0-9a-f]*")]
    return sorted(found, key=lambda one: one[1], reverse=True)


def forget_old(kind):
    for path, used in contents(kind)[KEPT[kind]:]:
        if time.time() - used > FORGET_AFTER_S[kind]:
            shutil.rmtree(path, ignore_errors=True)


def disk_bytes(directory):
    """What it takes on the disk; holes are not counted."""
    return sum(path.lstat().st_blocks * 512 for path in pathlib.Path(directory).rglob("*"))
