"""A guest's disk: a squashfs, which is compressed and cannot be written to, of archive.Entry's.

Same entries, same bytes, by the same mksquashfs: owners are root, and all times are the same.
"""

import pathlib
import stat
import subprocess
import tempfile

import archive
from packages import Failure

COMMAND = ("mksquashfs", "{tree}", "{target}", "-quiet", "-no-progress", "-noappend", "-all-root",
           "-no-xattrs", "-no-exports", "-comp", "zstd", "-mkfs-time", str(archive.FILE_TIME),
           "-all-time", str(archive.FILE_TIME))


def lay_out(entries, tree):
    """The entries as files; what is no file, link or directory does not belong on a disk."""
    for path, entry in sorted(archive.with_parents(entries).items()):
        place = tree / path.strip("/")
        if stat.S_ISDIR(entry.mode):
            place.mkdir(exist_ok=True)
        elif stat.S_ISLNK(entry.mode):
            place.symlink_to(entry.data.decode())
        elif stat.S_ISREG(entry.mode):
            place.write_bytes(entry.data)
        else:
            raise Failure(f"{path} cannot be on a disk: it is a device")
        if not stat.S_ISLNK(entry.mode):
            place.chmod(stat.S_IMODE(entry.mode))


def write(entries, target):
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        tree = pathlib.Path(scratch)
        tree.chmod(0o755)  # it becomes the disk's root
        lay_out(entries, tree)
        command = [word.format(tree=tree, target=target) for word in COMMAND]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False,
                                  stdin=subprocess.DEVNULL)
        except FileNotFoundError:
            raise Failure("mksquashfs is not there: apt-get install squashfs-tools") from None
    if done.returncode != 0:
        raise Failure(f"mksquashfs: {done.stderr.strip()[-800:]}")
