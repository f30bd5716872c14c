"""`quorate compare` over captures written here: three servers, one of which lies once and hangs once."""

import json
import pathlib
import struct
import subprocess
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
QUORATE = TOP / "build" / "release" / "tools" / "quorate" / "quorate"


def question(name):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return labels + b"\0" + struct.pack(">HH", 1, 1)


def query(number, name):
    return struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + question(name)


def answer(number, name, address):
    record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 300, 4) + bytes(address)
    return struct.pack(">6H", number, 0x8580, 1, 1, 0, 0) + question(name) + record


def checksum(header):
    total = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def datagram(source, source_port, destination, destination_port, payload):
    udp = struct.pack(">4H", source_port, destination_port, 8 + len(payload), 0) + payload
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, bytes(source),
                     bytes(destination))
    ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
    return b"\x02\0\0\0\0\1" + b"\x02\0\0\0\0\2" + b"\x08\0" + ip + udp


CLIENT, SERVER = (10, 0, 0, 1), (10, 0, 0, 53)


def capture(path, first_id, lie_at=None, hang_at=None, requests=5):
    """Ids and ports differ from capture to capture, as with real clients."""
    frames = []
    for i in range(requests):
        name = f"host{i % 3}.example"  # asked more than once
        number, port = first_id + i, 20000 + first_id + i
        frames.append(datagram(CLIENT, port, SERVER, 53, query(number, name)))
        if i == hang_at:
            continue
        address = (6, 6, 6, 6) if i == lie_at else (192, 0, 2, i % 3)
        frames.append(datagram(SERVER, 53, CLIENT, port, answer(number, name, address)))
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for at, frame in enumerate(frames):
        data += struct.pack("<4I", 1_700_000_000, at, len(frame), len(frame)) + frame
    path.write_bytes(data)
    return path


class Compare(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.directory = pathlib.Path(holder.name)

    def run_tool(self, *argv):
        return subprocess.run([str(QUORATE), "compare", *map(str, argv)], capture_output=True, text=True,
                              check=False, timeout=30, stdin=subprocess.DEVNULL)

    def files(self, **third):
        return [capture(self.directory / "a.pcap", 100), capture(self.directory / "b.pcap", 200),
                capture(self.directory / "c.pcap", 300, **third)]

    def test_three_that_agree(self):
        done = self.run_tool(*self.files(), "--service", "dns", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)
        self.assertEqual((found["requests"], found["agreed"], found["differences"]), (5, 5, []))

    def test_who_lies_and_who_hangs_and_where(self):
        evidence = self.directory / "evidence.pcapng"
        done = self.run_tool(*self.files(lie_at=1, hang_at=3), "--json", "--evidence", evidence)
        self.assertEqual(done.returncode, 1, done.stderr)
        found = json.loads(done.stdout)
        self.assertEqual((found["requests"], found["agreed"]), (5, 5))
        self.assertEqual([c["dissent"] for c in found["captures"]], [0, 0, 1])
        self.assertEqual([c["silence"] for c in found["captures"]], [0, 0, 1])
        lie = next(d for d in found["differences"] if d["dissent"])
        self.assertIn("DNS answer", lie["dissent"][0]["where"])
        shown = subprocess.run(["tshark", "-r", str(evidence), "-T", "fields", "-e", "frame.comment"],
                               capture_output=True, text=True, check=True, timeout=60)
        self.assertIn("DISSENT", shown.stdout)

    def test_two_that_differ_split(self):
        a = capture(self.directory / "a.pcap", 1)
        b = capture(self.directory / "b.pcap", 9, lie_at=0)
        done = self.run_tool(a, b)
        self.assertEqual(done.returncode, 1)
        self.assertIn("1 split", done.stdout)

    def test_what_cannot_be_compared_is_said(self):
        a, b, c = self.files()
        for argv, code, text in (
                ((a,), 2, ""),
                ((a, b, c, "--quorum", 1), 1, "more than half"),
                ((a, b, "--service", "http"), 2, "--config"),
                ((a, b, "--port", 99), 1, "--port"),
                ((a, self.directory / "none.pcap"), 1, "none.pcap")):
            done = self.run_tool(*argv)
            self.assertEqual(done.returncode, code, f"{argv}: {done.stderr}")
            self.assertIn(text, done.stderr)


if __name__ == "__main__":
    unittest.main()
