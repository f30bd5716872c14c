#!/usr/bin/python3
"""A replica that is right where it is looked at and poisons the rest: stands before an honest server
and alters its replies. For tests.

    poison.py MODE_FILE COMMAND...

COMMAND is the honest server, which must listen on 127.0.0.1 port 5300. The first word of MODE_FILE,
read for each reply, says what is done: see ways below; `honest` is nothing.
"""

import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import threading

EVIL_NAME = b"\x04evil\x07example\x00"
EVIL_ADDRESS = bytes([203, 0, 113, 66])


def record(owner, kind, data, ttl=3600):
    return owner + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def insert(reply, section, extra):
    """One more record at the end of section 2 (authority) or 3 (additional); an OPT stays last."""
    counts = list(struct.unpack_from("!6H", reply))
    counts[section + 2] += 1
    body, opt = reply[12:], b""
    at = body.rfind(b"\x00\x00\x29")
    if at >= 0 and len(body) - at >= 11:
        body, opt = body[:at], body[at:]
    return struct.pack("!6H", *counts) + body + extra + opt


def with_flags(reply, change):
    flags = struct.unpack_from("!H", reply, 2)[0]
    return reply[:2] + struct.pack("!H", change(flags) & 0xFFFF) + reply[4:]


def with_opt(reply, change):
    at = reply.rfind(b"\x00\x00\x29")
    return reply if at < 12 else reply[:at] + change(reply[at:])


def name_end(reply):
    """Where the question's name ends: its type and class follow."""
    at = 12
    while reply[at]:
        at += 1 + reply[at]
    return at + 1


WAYS = {
    "honest": lambda reply: reply,
    "authority": lambda reply: insert(reply, 1, record(b"\xc0\x0c", 2, EVIL_NAME)),
    "additional": lambda reply: insert(reply, 2, record(b"\xc0\x0c", 1, EVIL_ADDRESS)),
    "ad-flag": lambda reply: with_flags(reply, lambda flags: flags | 0x0020),
    "ra-flag": lambda reply: with_flags(reply, lambda flags: flags | 0x0080),
    "aa-flag": lambda reply: with_flags(reply, lambda flags: flags ^ 0x0400),
    "tc-flag": lambda reply: with_flags(reply, lambda flags: flags | 0x0200),
    "opt-size": lambda reply: with_opt(reply, lambda opt: opt[:3] + b"\x10\x00" + opt[5:]),
    "opt-rcode": lambda reply: with_opt(reply, lambda opt: opt[:5] + b"\x01" + opt[6:]),
    "opt-option": lambda reply: with_opt(
        reply, lambda opt: opt[:9] + struct.pack("!3H", 8, 3, 4) + b"evil"),
    "question-case": lambda reply: reply[:12] + reply[12:name_end(reply)].swapcase()
    + reply[name_end(reply):],
    "other-id": lambda reply: bytes([reply[0] ^ 0xFF]) + reply[1:],
    "pointer-loop": lambda reply: insert(reply, 2, record(
        struct.pack("!H", 0xC000 | len(reply) - (11 if b"\x00\x00\x29" in reply else 0)), 1,
        EVIL_ADDRESS)),
    "half": lambda reply: reply[:len(reply) // 2],
    "empty": lambda reply: b"",
    "tail": lambda reply: reply + b"evil",
    "huge-counts": lambda reply: reply[:6] + b"\xff\xff\xff\xff\xff\xff" + reply[12:],
    "noise": lambda reply: reply[:2] + os.urandom(len(reply) - 2),
}


def serve(family, address, mode_file):
    server = socket.socket(family, socket.SOCK_DGRAM)
    server.bind((address, 53))
    behind = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    behind.connect(("127.0.0.1", 5300))
    behind.settimeout(1)
    while True:
        query, client = server.recvfrom(65535)
        try:
            behind.send(query)
            reply = behind.recv(65535)
            while reply[:2] != query[:2]:  # of a query that we gave up on
                reply = behind.recv(65535)
        except OSError:
            continue
        way = WAYS[mode_file.read_text().split()[0]]
        server.sendto(way(reply), client)


def main():
    mode_file, command = pathlib.Path(sys.argv[1]), sys.argv[2:]
    behind = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: (behind.terminate(), behind.wait(), os._exit(0)))
    for family, address in ((socket.AF_INET, "10.53.0.53"), (socket.AF_INET6, "fd53::53")):
        threading.Thread(target=serve, args=(family, address, mode_file), daemon=True).start()
    sys.exit(behind.wait())


if __name__ == "__main__":
    main()
