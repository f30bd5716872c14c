"""`quorate replay` through the real proxy and servers: captures written here, figures from --json.

The tests go by what a capture is made of: how many requests, how far apart, and what else is in it.
"""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import unittest

import appliance
import dns
import frames
import harness

harness.enter(servers=["nsd", "knot", "bind9"])

SERVICE = appliance.DNS_ADDRESS[0]
CLIENT = "10.53.0.2"
CAPTOR, CAPTURED = "02:00:00:00:00:01", "02:00:00:00:00:02"  # Ethernet of the captured link
START_NS = 1_700_000_000 * 10**9
# On a busy machine what is due gathers while nobody runs, and goes out at once: then late is better
# than refused for want of room.
BOUNDED = ["--window", "48"]


def frame(payload, number=0, to=SERVICE, port=53, source=CLIENT, vlan=None, **options):
    packet = frames.ipv4(source, to, frames.udp(source, to, 1024 + number % 60000, port, payload,
                                                **options))
    if vlan is None:
        return frames.ethernet(CAPTURED, CAPTOR, packet)
    return frames.ethernet(CAPTURED, CAPTOR, struct.pack("!HH", vlan, 0x0800) + packet, 0x8100)


def queries(questions, **options):
    """A frame for each (name, type), each with an id and port of its own."""
    return [frame(dns.query(name, qtype, 1 + n % 65000), n, **options)
            for n, (name, qtype) in enumerate(questions)]


def frame_v6(payload, number, to="fd53::53", source="fd53::2"):
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, to)
    header = struct.pack("!4H", 1024 + number, 53, 8 + len(payload), 0)
    pseudo = addresses + struct.pack("!II", 8 + len(payload), 17)
    sum_ = frames.checksum(pseudo + header + payload) or 0xFFFF
    datagram = header[:6] + struct.pack("!H", sum_) + payload
    packet = struct.pack("!IHBB", 6 << 28, len(datagram), 17, 64) + addresses + datagram
    return frames.ethernet(CAPTURED, CAPTOR, packet, 0x86DD)


def capture(frames_, gap_ns=0, snap=65535):
    """A pcap file's bytes, times in nanoseconds."""
    out = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, snap, 1)]
    for n, bytes_ in enumerate(frames_):
        seconds, nanoseconds = divmod(START_NS + n * gap_ns, 10**9)
        out.append(struct.pack("<IIII", seconds, nanoseconds, min(len(bytes_), snap), len(bytes_)))
        out.append(bytes_[:snap])
    return b"".join(out)


class Replay(unittest.TestCase):
    changes = (("deadline_ms = 300", "deadline_ms = 1500"),)

    def setUp(self):
        self.lab = self.enterContext(harness.Lab())
        self.service = self.make_service()
        self.config = self.service.config

    def make_service(self):
        return appliance.DnsAppliance(self.lab, self.changes)

    def capture(self, *arguments, name="requests.pcap", **options):
        path = self.lab.directory / name
        path.write_bytes(capture(*arguments, **options))
        return path

    def replay(self, path, *arguments, code=0, **options):
        """The summary, and what was said beside it."""
        result = self.lab.quorate("replay", path, "--config", self.config, "--json", *arguments,
                                  check=False, timeout=90, **options)
        self.assertEqual(result.returncode, code, result.stdout[-2000:] + result.stderr[-2000:])
        summary = json.loads(result.stdout) if result.stdout else None
        return summary, result.stderr

    def refused(self, path, *arguments, code=1):
        result = self.lab.quorate("replay", path, "--config", self.config, *arguments, check=False)
        self.assertEqual((result.returncode, result.stdout), (code, ""), result.stderr)
        complaints = [line for line in result.stderr.splitlines() if "replay" in line]
        self.assertEqual(len(complaints), 1, result.stderr)
        return complaints[0]

    def replicas(self):
        return json.loads(self.lab.quorate("replica", "list", "--json", "--config",
                                           self.config).stdout)["replicas"]

    def assert_nothing_runs(self):
        self.assertEqual([row["process"] for row in self.replicas()], [None] * 3)
        self.assertEqual([row["others"] for row in self.replicas()], [[]] * 3)
        self.assertNotIn("quorate-proxy", harness.processes().values())

    def group(self, summary):
        (group,) = [one for one in summary["groups"] if one["name"] == self.service.group]
        return group

    def faults(self, summary, kind):
        return {one["name"]: one[kind] for one in self.group(summary)["replicas"]}


class Speeds(Replay):
    def test_top_speed_from_nothing(self):
        """Replicas are started, every request is answered, everything is gone afterwards."""
        questions = dns.varied(self.service.zone, 3000)
        summary, _ = self.replay(self.capture(queries(questions)), "--topspeed")
        group = self.group(summary)
        self.assertEqual(summary["taken"], {"dns": 3000})
        self.assertEqual(summary["skipped"], {})
        self.assertEqual(summary["actual"]["packets"], 3000)
        self.assertEqual(summary["actual"]["bytes"], sum(map(len, queries(questions))))
        self.assertEqual((summary["answered"], summary["unanswered"]), (3000, 0), summary)
        self.assertEqual((group["requests"], group["agreed"]), (3000, 3000), summary)
        self.assertEqual((summary["refused"], group["split"], group["expired"]), ({}, 0, 0))
        self.assertEqual(sum(self.faults(summary, "dissent").values()), 0)
        rated, actual, latency = summary["rated"], summary["actual"], group["latency_us"]
        self.assertAlmostEqual(rated["pps"], 3000 / actual["seconds"], delta=1)
        self.assertAlmostEqual(rated["bytes_per_s"], actual["bytes"] / actual["seconds"], delta=100)
        self.assertGreater(latency["p50"], 0)
        self.assertEqual(sorted(latency.values()), list(latency.values()))
        print(f"top speed: {rated['pps']:.0f} a second, {latency}")
        self.assert_nothing_runs()

    def test_the_speed_that_was_asked_for(self):
        """All over one group of replicas that runs already, and goes on running."""
        self.lab.quorate("replica", "start", "--all", "--config", self.config, timeout=60)
        before = [(row["incarnation"], row["process"]["pid"]) for row in self.replicas()]
        path = self.capture(queries(dns.varied(self.service.zone, 600)), gap_ns=5_000_000)
        span = 599 * 0.005
        for arguments, seconds in ((["--pps", "400"], 599 / 400), ([], span),
                                   (["--multiplier", "4"], span / 4),
                                   (["--multiplier", "4", "--loop", "2"],
                                    (2 * span + 0.005) / 4)):
            with self.subTest(arguments=arguments):
                summary, _ = self.replay(path, *arguments, *BOUNDED)
                passes = 2 if "--loop" in arguments else 1
                self.assertEqual((summary["passes"], summary["actual"]["packets"]),
                                 (passes, 600 * passes))
                self.assertEqual(summary["answered"], 600 * passes, summary)
                # Never early, and late only as far as a busy machine is.
                self.assertGreater(summary["actual"]["seconds"], seconds - 0.005)
                self.assertLess(summary["actual"]["seconds"], seconds + 1)
        self.assertEqual([(row["incarnation"], row["process"]["pid"]) for row in self.replicas()],
                         before)

    def test_a_liar_is_seen_and_outvoted(self):
        lying = re.sub(r"(\sA\s+)\d+\.\d+\.\d+\.\d+", rf"\g<1>{self.service.LIE}",
                       self.service.zone)
        self.lab.file("knot.zone", lying)
        path = self.capture(queries([("www.example", "A")] * 800))
        summary, _ = self.replay(path, "--pps", "800", *BOUNDED)
        self.assertEqual(summary["answered"], 800, summary)
        self.assertEqual(self.group(summary)["agreed"], 800)
        self.assertEqual(self.faults(summary, "dissent"), {"nsd": 0, "knot": 800, "named": 0})
        self.assertEqual(sum(self.faults(summary, "silence").values()), 0)
        evidence, comment = self.service.evidence()
        self.assertEqual(str(evidence), summary["evidence"]["file"])
        self.assertGreater(summary["evidence"]["records"], 700)
        self.assertIn("knot", comment)
        text = self.lab.quorate("replay", path, "--config", self.config, "--topspeed").stdout
        for words in ("Actual: 800 packets (", "Rated: ", "800 agreed", "knot", "evidence: "):
            self.assertIn(words, text)
        print(text)


class Captures(Replay):
    def test_what_is_no_request_is_named(self):
        """A capture from elsewhere: another server's address, a VLAN, and much besides."""
        query = dns.query("www.example", "A", 7)
        other = "192.0.2.53"
        packets = queries([("www.example", "A")] * 50, to=other)
        packets += queries([("mail.example", "AAAA")] * 50, to=other, vlan=42)
        packets += [frame(query, 9, to=other, port=5353)] * 3
        packets += [frame(query, 9, to=other, wrong_sum=True)] * 4
        packets += [frame(query, 9, to=other, source="127.0.0.1")]
        packets += [frames.ethernet(CAPTURED, CAPTOR, frames.ipv4(CLIENT, other, frames.tcp_syn(
            CLIENT, other, 1025, 53), protocol=6))] * 2
        packets += [frames.ethernet(CAPTURED, CAPTOR, frames.ipv4(CLIENT, other, b"\0" * 64,
                                                                  fragment=0x2000))] * 5
        packets += [b"\0" * 20, frame(query, 9, to=other)[:30]]
        summary, _ = self.replay(self.capture(packets), "--topspeed")
        self.assertEqual(summary["taken"], {"dns": 100})
        self.assertTrue(summary["readdressed"])
        self.assertEqual(summary["skipped"], {"damaged": 1, "no_client": 1, "fragment": 5,
                                              "not_udp": 3, "other_port": 3, "wrong_checksum": 4})
        self.assertEqual(summary["answered"], 100, summary)

    def test_both_address_families(self):
        packets = [frame_v6(dns.query("www.example", "AAAA", n), n) for n in range(1, 101)]
        packets += queries([("www.example", "A")] * 100)
        summary, _ = self.replay(self.capture(packets), "--topspeed")
        self.assertEqual((summary["taken"], summary["answered"]), ({"dns": 200}, 200), summary)
        self.assertEqual(self.group(summary)["agreed"], 200)

    def test_a_capture_that_ends_too_early_is_said(self):
        packets = capture(queries([("www.example", "A")] * 100))
        path = self.lab.directory / "cut.pcap"
        path.write_bytes(packets[:-7])
        summary, said = self.replay(path, "--topspeed", code=1)
        self.assertEqual((summary["taken"], summary["answered"]), ({"dns": 99}, 99))
        self.assertIn("record 100", summary["complaint"])
        self.assertIn("record 100", said)
        self.assert_nothing_runs()

    def test_standard_input(self):
        path = self.capture(queries([("www.example", "A")] * 100))
        with path.open("rb") as source:
            result = subprocess.run(
                [harness.BUILD / "tools" / "quorate" / "quorate", "replay", "-", "--config",
                 self.config, "--json", "--pps", "1000", *BOUNDED], stdin=source, capture_output=True,
                timeout=60, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(result.stdout)["answered"], 100, result.stdout)

    def test_what_cannot_be_is_one_line_and_starts_nothing(self):
        good = self.capture(queries([("www.example", "A")]))
        nothing = self.capture([], name="empty.pcap")
        foreign = self.capture(queries([("www.example", "A")] * 3, port=5353), name="foreign.pcap")
        garbage = self.lab.file("garbage.pcap", "no capture at all\n" * 100)
        for path, words in ((nothing, "no packets"), (garbage, "garbage.pcap"),
                            (self.lab.directory / "nowhere.pcap", "nowhere.pcap"),
                            (foreign, "3 not for a service; where the capture has another port"),
                            (self.lab.directory, "directory")):
            self.assertIn(words, self.refused(path))
        for arguments in (["--pps", "0"], ["--topspeed", "--pps", "3"], ["--multiplier", "-1"],
                          ["--loop", "-1"], ["--service", "nobody"]):
            result = self.lab.quorate("replay", good, "--config", self.config, *arguments,
                                      check=False)
            self.assertEqual((result.returncode, result.stdout), (2, ""), arguments)
        summary, _ = self.replay(foreign, "--service", "dns", "--port", "5353", "--topspeed")
        self.assertEqual(summary["answered"], 3)
        self.assert_nothing_runs()


class Endings(Replay):
    def endless(self, *arguments):
        path = self.capture(queries(dns.varied(self.service.zone, 200)), gap_ns=1_000_000)
        program = self.lab.start([harness.BUILD / "tools" / "quorate" / "quorate", "replay", path,
                                  "--config", self.config, "--loop", "0", "--json", *BOUNDED, *arguments],
                                 "replay")
        control = harness.Control(self.service.state_dir / "control.sock")
        harness.wait_until(lambda: control.status()["replay"]["sent"] > 500, 30, "it replays")
        return program

    def test_interrupted(self):
        program = self.endless()
        self.assertIn("runs with this configuration", self.refused(
            self.lab.directory / "requests.pcap"))
        self.assertEqual(program.stop(20, signal.SIGINT), 0)
        summary = json.loads(program.log.read_text().splitlines()[-1])
        self.assertTrue(summary["interrupted"])
        self.assertGreater(summary["passes"], 1)
        self.assertGreater(summary["answered"], 500)
        self.assertEqual(summary["unanswered"], 0, summary)
        self.assert_nothing_runs()

    def test_killed(self):
        """The proxy goes with us; the replicas go on, as any others, and the next replay uses
        them."""
        program = self.endless("--topspeed")
        program.kill()
        harness.wait_until(lambda: "quorate-proxy" not in harness.processes().values(), 10,
                           "the proxy ends")
        self.assertTrue(all(row["process"]["running"] for row in self.replicas()))
        summary, said = self.replay(self.lab.directory / "requests.pcap", "--topspeed")
        self.assertNotIn("starting", said)
        self.assertEqual(summary["answered"], 200)

    def test_the_proxy_dies(self):
        program = self.endless()
        proxy, = [pid for pid, name in harness.processes().items() if name == "quorate-proxy"]
        os.kill(proxy, signal.SIGKILL)
        self.assertEqual(program.process.wait(20), 1)
        self.assertIn("quorate-proxy ended early (signal 9)", program.tail(1))
        self.assert_nothing_runs()

    def test_a_proxy_of_the_same_configuration_is_in_the_way(self):
        self.lab.client()
        self.service.start()
        path = self.capture(queries([("www.example", "A")]))
        complaint = self.refused(path)
        self.assertIn(f"process {self.service.proxy.pid}", complaint)
        self.assertIn("stop it", complaint)
        self.assertTrue(self.service.proxy.alive())


class Wide(Replay):
    """Several workers, of which one has the ring, between a client's side and another."""

    changes = (*Replay.changes, ('topology = "vip"', 'topology = "inline"\nworkers = 2'),
               ('ports = ["veth:qc0"]', 'ports = ["veth:qc0", "veth:qc1"]'))

    def test_every_worker_has_its_part(self):
        packets = queries(dns.varied(self.service.zone, 1000))
        packets += [frame(b"a", 9, to="10.53.0.99")] * 10
        summary, _ = self.replay(self.capture(packets), "--topspeed")
        self.assertEqual((summary["taken"], summary["answered"]), ({"dns": 1000}, 1000), summary)
        self.assertEqual(self.group(summary)["agreed"], 1000)


class State(Replay):
    """A group that remembers: what it is asked by a replay is forgotten with it."""

    def make_service(self):
        text = (harness.TOP / "examples" / "counter" / "quorate.toml").read_text()
        state_dir = self.lab.directory / "state"
        text = text.replace("[appliance]", f'[appliance]\nstate_dir = "{state_dir}"', 1)
        config = self.lab.file("quorate.toml", text)
        return appliance.Appliance(self.lab, config, state_dir, "counter",
                                   ["first", "second", "third"])

    def counted(self, requests, begin=1):
        return self.capture([frame(struct.pack("!Q", n), n, port=7000)
                             for n in range(begin, begin + requests)])

    def test_twice_the_same(self):
        path = self.counted(500)
        for _ in range(2):
            summary, _ = self.replay(path, "--topspeed")
            self.assertEqual((summary["answered"], self.group(summary)["agreed"]), (500, 500),
                             summary)
            self.assert_nothing_runs()
            self.assertEqual([name for name in os.listdir(self.service.state_dir)
                              if name.startswith("requests-")], [])

    def test_history_is_not_touched_unless_told(self):
        path = self.counted(100)
        self.lab.quorate("replica", "start", "--all", "--config", self.config, timeout=60)
        self.assertIn("--keep-state", self.refused(path))
        for begin in (1, 1001):  # what repeats a logged request is not asked again
            summary, _ = self.replay(self.counted(100, begin), "--topspeed", "--keep-state")
            self.assertEqual(self.group(summary)["agreed"], 100, summary)
        self.lab.quorate("replica", "stop", "--all", "--config", self.config, timeout=60)
        self.assertIn("history", self.refused(path))
        self.assertIn(f"requests-{self.service.group}", os.listdir(self.service.state_dir))


if __name__ == "__main__":
    unittest.main()
