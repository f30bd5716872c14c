"""Which shared libraries a program needs, read from the file itself: ldd would run the loader of
this machine and find this machine's libraries.

Known limit: 64-bit little-endian ELF; libraries that a program opens by itself (dlopen) are not
seen, and are named in an image's description.
"""

import dataclasses
import pathlib
import struct

MAGIC = b"\x7fELF\x02\x01"
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_STRTAB = 1, 5
DYNAMIC_MAX = 4096


class NotElf(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class Needs:
    interpreter: str | None  # path of the loader, as the program says it
    libraries: tuple  # names, in the program's order


def text_at(data, offset):
    end = data.index(b"\0", offset)
    return data[offset:end].decode()


def needs(path):
    """What the ELF file at `path` asks for. Raises NotElf."""
    data = pathlib.Path(path).read_bytes()
    if data[:6] != MAGIC:
        raise NotElf(f"{path} is not a 64-bit ELF file")
    try:
        return needs_of(data)
    except (struct.error, ValueError, StopIteration) as error:
        raise NotElf(f"{path} is a broken ELF file ({error})") from None


def needs_of(data):
    header_offset, = struct.unpack_from("<Q", data, 32)
    entry_bytes, count = struct.unpack_from("<HH", data, 54)
    segments = []  # (type, offset, address, bytes in the file)
    for i in range(count):
        kind, _, offset, address, _, size = struct.unpack_from(
            "<IIQQQQ", data, header_offset + i * entry_bytes)
        segments.append((kind, offset, address, size))

    def offset_of(address):
        return next(offset + address - start for kind, offset, start, size in segments
                    if kind == PT_LOAD and start <= address < start + size)

    interpreter, entries = None, []
    for kind, offset, _, size in segments:
        if kind == PT_INTERP:
            interpreter = text_at(data, offset)
        elif kind == PT_DYNAMIC:
            entries = [struct.unpack_from("<QQ", data, offset + 16 * i)
                       for i in range(min(size // 16, DYNAMIC_MAX))]
    table = next((value for tag, value in entries if tag == DT_STRTAB), None)
    if table is None:
        return Needs(interpreter, ())
    start = offset_of(table)
    return Needs(interpreter, tuple(text_at(data, start + value) for tag, value in entries
                                    if tag == DT_NEEDED))
