"""The project's tree as Dom0 sees it, at /quorate: the files git knows or would add, and the
programs of build/release.

It comes on a disk that is opened only after a restore, and is made once for each state of the tree
(names, sizes, times). A machine that stays gets later differences through its port. Known limit:
programs are found by their ELF header in QUORATE_BUILD (build/release); what they need beside the
libraries of Dom0 (dom0_packages.txt) is missing there.
"""

import io
import os
import pathlib
import shutil
import stat
import subprocess
import tarfile

import store
from store import TOP, Failure

DISK_MB = 768  # of every machine; what is on it comes and goes
DEVICE = "/dev/vdb"
BUILD_INSIDE = "build/release"
PROGRAM_BYTES_MAX = 256 << 20


def build_directory():
    return pathlib.Path(os.environ.get("QUORATE_BUILD", TOP / "build" / "release")).resolve()


def programs(directory):
    """Executables and shared libraries below the build directory, by name relative to it."""
    found = {}
    for base, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith("meson-")
                      and not name.endswith(".p")]
        for name in names:
            path = pathlib.Path(base, name)
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
                continue
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF" and status.st_size <= PROGRAM_BYTES_MAX:
                    found[str(path.relative_to(directory))] = path
    return found


def sources():
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=TOP,
                          capture_output=True, check=False)
    if done.returncode != 0:
        raise Failure(f"git: {done.stderr.decode(errors='replace').strip()}")
    names = [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    return {name: TOP / name for name in names if os.path.lexists(TOP / name)}


def files():
    """{name in the tree: path here} of the whole checkout."""
    found = sources()
    for name, path in programs(build_directory()).items():
        found[f"{BUILD_INSIDE}/{name}"] = path
    return found


def named(names):
    """The same of single files and folders of the checkout, as `files` names them."""
    found, everything = {}, files()
    for name in names:
        name = os.path.normpath(name)
        matching = {other: path for other, path in everything.items()
                    if other == name or other.startswith(f"{name}/")}
        if not matching:
            raise Failure(f"{name} is neither a file of this checkout nor a program in {BUILD_INSIDE}")
        found |= matching
    return found


def listing(found):
    """{name: what tells one state of the file from another}."""
    marks = {}
    for name, path in found.items():
        status = path.lstat()
        marks[name] = [status.st_size, status.st_mtime_ns, status.st_mode]
    return marks


def disk(marks, found, say):
    """A raw ext4 disk with these files; use it through an overlay."""
    key = store.key_of({"files": marks, "from": str(TOP), "build": str(build_directory()),
                        "megabytes": DISK_MB})
    return store.made("trees", key, lambda scratch: _write(scratch, found, say), say) / "tree.img"


def _write(scratch, found, say):
    say(f"tree: {len(found)} files onto a disk")
    root = scratch / "root"
    root.mkdir()
    for name, path in found.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _same(path, target)
    image = scratch / "tree.img"
    with image.open("wb") as file:
        file.truncate(DISK_MB << 20)
    done = subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-E",
                           "lazy_itable_init=1,nodiscard,root_owner=0:0", "-d", root, image],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"mke2fs: {done.stderr.strip()} (the tree's disk has {DISK_MB} MB)")
    shutil.rmtree(root)


def _same(path, target):
    """Another name for the file where that can be, else a copy."""
    try:
        os.link(path, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(path, target, follow_symlinks=False)


def differences(before, after, found):
    """(a tar file of what is new or changed, names of what has gone); None where nothing is."""
    changed = [name for name, mark in after.items() if before.get(name) != mark]
    gone = [name for name in before if name not in after]
    if not changed and not gone:
        return None
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in changed:
            entry = tar.gettarinfo(found[name], arcname=name)
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = "root"
            if entry.isreg():
                with found[name].open("rb") as file:
                    tar.addfile(entry, file)
            elif entry.issym():
                tar.addfile(entry)
    buffer.seek(0)
    return buffer, gone
