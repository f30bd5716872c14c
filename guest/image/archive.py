"""The archive that becomes a guest's root: cpio in the format "newc" (Linux,
Documentation/driver-api/early-userspace/buffer-format.rst), compressed by gzip.

Same entries, same bytes: names are sorted, all times are the same, owners are root, and the
compressor's header names no file and no time.
"""

import dataclasses
import stat
import struct
import zlib

COMPRESSION_LEVEL = 9
FILE_TIME = 946_684_800  # 2000-01-01; 0 would be "no such file" to some services (nsd)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file, symbolic link (its target is `data`), directory or character device."""
    mode: int  # type and permissions, as in stat
    data: bytes = b""
    device: tuple = (0, 0)  # major, minor


def file(data, mode=0o644):
    return Entry(stat.S_IFREG | mode, data)


def link(target):
    return Entry(stat.S_IFLNK | 0o777, target.encode())


def directory(mode=0o755):
    return Entry(stat.S_IFDIR | mode)


def character_device(major, minor, mode=0o600):
    return Entry(stat.S_IFCHR | mode, device=(major, minor))


def with_parents(entries):
    """The entries, and the directories above them that nobody mentioned. Paths are absolute."""
    whole = dict(entries)
    for path in entries:
        parts = path.strip("/").split("/")
        for i in range(1, len(parts)):
            whole.setdefault("/" + "/".join(parts[:i]), directory())
    return whole


def padded(data, by=b"\0"):
    return data + by * (-len(data) % 4)


def member(name, entry, inode, padding=b"\0"):
    encoded = name.encode() + b"\0"
    fields = (inode, entry.mode, 0, 0, 1, FILE_TIME, len(entry.data), 0, 0, *entry.device,
              len(encoded), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields)
    return padded(header + encoded, padding) + padded(entry.data)


def pack(entries):
    """The archive's bytes: a multiple of 4 of them, so that another can follow.

    What pads the last member are ones: Xen's domain builder takes the last four bytes of what
    begins like gzip for the size of its content, and tries to unpack it, unless that is over 1 GiB.
    For one joined to a compressed one it would complain, and go on; nobody else looks there.
    """
    whole = with_parents(entries)
    parts = [member(path.strip("/"), whole[path], inode)
             for inode, path in enumerate(sorted(whole), 1)]
    return b"".join(parts) + member("TRAILER!!!", Entry(0), 0, padding=b"\xff")


def compress(data):
    """gzip, filled up with zeros so that another archive can follow (gunzip warns of them)."""
    body = zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream = (b"\x1f\x8b\x08\0\0\0\0\0\x02\xff" + body.compress(data) + body.flush()
              + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF))
    return padded(stream)
