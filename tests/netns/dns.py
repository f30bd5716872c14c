"""DNS as a client sees it, written apart from voter/ so that the two can check each other: queries,
replies in a canonical form, and a client that checks every answer it gets.

Run as a program, it writes a varied set of queries for dnsperf: tests/netns/dns.py 4000 > queries.

Known limit: reads what it needs. A reply that it cannot read is a wrong answer, never an exception.
"""

import collections
import random
import re
import select
import socket
import struct
import sys
import time

TYPES = {"HINFO": 13, "LOC": 29, "A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "RP": 17, "AAAA": 28,
         "SRV": 33, "NAPTR": 35, "DNAME": 39, "DS": 43, "SSHFP": 44, "TLSA": 52, "HTTPS": 65,
         "ANY": 255, "CAA": 257}
# Where names stand in record data (types of RFC 1035 and RP, SRV): offset of the first, how many.
NAMES_IN = {2: (0, 1), 5: (0, 1), 6: (0, 2), 12: (0, 1), 15: (2, 1), 17: (0, 2), 33: (6, 1),
            39: (0, 1)}


class Unreadable(ValueError):
    """Not a DNS message that we can read."""


# --- messages ---------------------------------------------------------------------------------

def query(name, qtype, number, edns=1232, flags=0x0100):
    """A query's bytes; edns is the UDP size we say we take, or 0 for none."""
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    question = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    kind = TYPES.get(qtype) or int(qtype.removeprefix("TYPE"))
    opt = struct.pack("!BHHIH", 0, 41, edns, 0, 0) if edns else b""
    return struct.pack("!6H", number, flags, 1, 0, 0, 1 if edns else 0) + question + \
        struct.pack("!2H", kind, 1) + opt


def query_of_line(line, number=0):
    """A line of tests/data/queries.txt (NAME TYPE [+FLAG...], as dig takes them) as a query's bytes;
    None for a comment."""
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    name, kind, *options = words
    size, edns, flags, rclass, opcode = 1232, False, 0x0100, 1, 0
    extended, inner = 0, b""
    if options[:2] == ["-c", "CH"]:
        rclass, options = 3, options[2:]
    for option in options:
        key, _, value = option.partition("=")
        if key == "+norecurse":
            flags &= ~0x0100
        elif key == "+cdflag":
            flags |= 0x0010
        elif key == "+opcode":
            opcode = {"STATUS": 2}.get(value.upper(), 2)
        else:
            edns = True
            if key == "+bufsize":
                size = int(value)
            elif key == "+dnssec":
                extended |= 0x8000
            elif key == "+ednsversion":
                extended |= int(value) << 16
            elif key == "+cookie":
                inner += struct.pack("!2H", 10, 8) + b"\x01\x02\x03\x04\x05\x06\x07\x08"
            elif key == "+nsid":
                inner += struct.pack("!2H", 3, 0)
            elif key != "+edns":
                raise ValueError(f"{line}: {option}?")
    plain = query(name, kind, number, edns=0, flags=flags | opcode << 11)
    message = plain[:-2] + struct.pack("!H", rclass)
    if edns:
        message = message[:10] + b"\0\1" + message[12:] + \
            struct.pack("!BHHIH", 0, 41, size, extended, len(inner)) + inner
    return message


def _name(message, at):
    """(lower-cased name, where it ends)."""
    labels, end, jumps = [], None, 0
    while True:
        if at >= len(message):
            raise Unreadable("a name runs out")
        length = message[at]
        if length >= 0xC0:
            if at + 1 >= len(message) or jumps > 60:
                raise Unreadable("a bad pointer")
            end = at + 2 if end is None else end
            at, jumps = (length & 0x3F) << 8 | message[at + 1], jumps + 1
        elif length == 0:
            return b".".join(labels).lower(), end if end is not None else at + 1
        else:
            labels.append(message[at + 1:at + 1 + length])
            at += 1 + length


def _data(message, at, length, kind):
    """Record data with its names written out."""
    if kind not in NAMES_IN:
        return message[at:at + length]
    skip, count = NAMES_IN[kind]
    out, end = [message[at:at + skip]], at + skip
    for _ in range(count):
        name, end = _name(message, end)
        out.append(name)
    return b"\0".join(out) + message[end:at + length]


def whole(message):
    """(flags, questions, [answer, authority, additional] as sets): everything in the message."""
    try:
        _, flags, questions, *counts = struct.unpack_from("!6H", message)
        at, asked, sections = 12, [], []
        for _ in range(questions):
            name, at = _name(message, at)
            asked.append((name, message[at:at + 4]))
            at += 4
        for count in counts:
            records = set()
            for _ in range(count):
                owner, at = _name(message, at)
                kind, rclass, ttl, length = struct.unpack_from("!HHIH", message, at)
                if at + 10 + length > len(message):
                    raise Unreadable("record data runs out")
                records.add((owner, kind, rclass, ttl, _data(message, at + 10, length, kind)))
                at += 10 + length
            sections.append(frozenset(records))
        if at != len(message):
            raise Unreadable("more than it says")
        return flags, tuple(asked), sections
    except (struct.error, IndexError) as error:
        raise Unreadable(str(error)) from error


def canonical(message):
    """What a client may rely on: the question, rcode, AA and TC, the answer as a set; the authority
    section where there is no answer; no records of a truncated reply. Equal for honest servers
    whatever they add and in any order."""
    flags, asked, (answer, authority, _) = whole(message)
    if flags & 0x0200:
        answer = authority = frozenset()
    return asked, flags & 0x860F, answer, frozenset() if answer else authority


# --- what to ask ------------------------------------------------------------------------------

def names_of(zone_text):
    """The owner names of a zone file with one $ORIGIN, wildcards filled in."""
    names = set()
    for line in zone_text.splitlines():
        match = re.match(r"([A-Za-z0-9_*@][^\s;]*)\s", line)
        if match:
            owner = match.group(1)
            names.add("example" if owner == "@" else owner.replace("*", "anything") + ".example")
    return sorted(names)


def varied(zone_text, count, seed=1):
    """`count` different (name, type), existing and not, in mixed case; the same for the same seed."""
    draw = random.Random(seed)
    names = names_of(zone_text)
    types = ["A", "AAAA", "MX", "TXT", "NS", "SOA", "CNAME", "SRV", "CAA", "PTR"]
    out = {}
    while len(out) < count:
        name = draw.choice(names)
        way = draw.random()
        if way < 0.15:
            name = f"{draw.choice('abcdefgh')}{draw.randrange(10000)}.{name}"
        elif way < 0.30:
            name = f"no{draw.randrange(100000)}.example"
        elif way < 0.55:
            name = "".join(letter.upper() if draw.random() < 0.5 else letter for letter in name)
        elif way < 0.70:
            name = f"host{draw.randrange(10000)}.wild.example"
        out[name, draw.choice(types[:4] if draw.random() < 0.7 else types)] = None
    return list(out)


# --- a client that checks ---------------------------------------------------------------------

class Tally:
    """What a checking client saw."""

    def __init__(self):
        self.sent = self.right = self.wrong = self.refused = self.lost = self.unasked = 0
        self.latencies = []  # seconds, of answered ones
        self.wrongs = []     # the first few: (name, type, reply)
        self.missing = []    # (name, type) of the lost ones

    def percentile(self, share):
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None

    def __str__(self):
        return (f"{self.sent} sent, {self.right} right, {self.wrong} wrong, {self.refused} "
                f"SERVFAIL, {self.lost} lost, {self.unasked} unasked")


def ask_all(connection, server, questions, expected=None, window=64, timeout=2.0, total=None,
            edns=1232, pace=None, rate=None):
    """Asks questions[i mod len] for i below `total`, `window` at a time, and holds each answer
    against expected[name lower-cased, type]. Without `expected`, answers are collected into a
    dictionary of that shape, returned beside the tally. `connection` is a UDP socket; `pace` is
    called now and then (to do something in the middle); `rate` bounds the questions a second.
    Numbers are used again only after their query was answered or lost."""
    tally, collected = Tally(), {}
    total = len(questions) if total is None else total
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    free, flying = collections.deque(range(1, 65536)), {}
    begin = oldest_look = time.monotonic()
    while tally.sent < total or flying:
        while tally.sent < total and len(flying) < window:
            if rate and tally.sent >= (time.monotonic() - begin) * rate:
                break
            name, qtype = questions[tally.sent % len(questions)]
            number = free.popleft()
            try:
                connection.sendto(query(name, qtype, number, edns), server)
            except BlockingIOError:
                free.appendleft(number)
                break
            flying[number] = (name, qtype, time.monotonic())
            tally.sent += 1
            if pace and tally.sent % 64 == 0:
                pace(tally)
        select.select([connection], [], [], 0.002 if rate else 0.05)
        while True:
            try:
                reply, sender = connection.recvfrom(65535)
            except BlockingIOError:
                break
            number = int.from_bytes(reply[:2], "big")
            if number not in flying or sender[:2] != tuple(server[:2]):
                tally.unasked += 1
                continue
            name, qtype, when = flying.pop(number)
            free.append(number)
            tally.latencies.append(time.monotonic() - when)
            key = (name.lower(), qtype)
            try:
                got = canonical(reply)
            except Unreadable:
                got = None
            if expected is None:
                collected[key] = got
                good = got is not None
            else:
                good = got is not None and got == expected[key]
            if not good and len(reply) > 3 and reply[3] & 15 == 2:
                tally.refused += 1  # SERVFAIL claims nothing
            elif good:
                tally.right += 1
            else:
                tally.wrong += 1
                if len(tally.wrongs) < 5:
                    tally.wrongs.append((name, qtype, reply))
        now = time.monotonic()
        if now - oldest_look > timeout / 10:
            oldest_look = now
            for number in [n for n, (_, _, when) in flying.items() if now - when > timeout]:
                tally.missing.append(flying.pop(number)[:2])
                free.append(number)
                tally.lost += 1
    return tally, collected


def dnsperf_figures(output):
    """The figures of dnsperf's summary, and latency percentiles if it ran with -v."""
    def find(pattern, kind=int):
        match = re.search(pattern, output)
        return kind(match.group(1)) if match else None
    figures = {
        "sent": find(r"Queries sent:\s+(\d+)"),
        "completed": find(r"Queries completed:\s+(\d+)"),
        "lost": find(r"Queries lost:\s+(\d+)"),
        "qps": find(r"Queries per second:\s+([\d.]+)", float),
        "codes": dict((code, int(count)) for code, count in
                      re.findall(r"([A-Z]+) (\d+) \([\d.]+%\)",
                                 (re.search(r"Response codes:(.*)", output) or [""])[0])),
    }
    latencies = sorted(float(value) for value in
                       re.findall(r"^> [A-Z0-9]+ \S+ \S+ ([\d.]+)$", output, re.MULTILINE))
    for share in (50, 99):
        figures[f"p{share}_ms"] = latencies[len(latencies) * share // 100] * 1e3 if latencies else None
    return figures


if __name__ == "__main__":
    import pathlib
    text = (pathlib.Path(__file__).parents[1] / "data" / "example.zone").read_text()
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    print("\n".join(f"{name} {qtype}" for name, qtype in varied(text, wanted)))
