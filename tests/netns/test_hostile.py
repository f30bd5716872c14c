"""Frames that no honest client sends: each ends as a counted drop with its own reason, every packet
stays accounted for, and the service goes on as if nothing had been."""

import json
import socket
import struct
import unittest

import appliance
import dns
import frames
import harness

harness.enter(servers=["nsd", "knot", "bind9"])

CLIENT, (SERVICE, PORT) = "10.53.0.2", appliance.DNS_ADDRESS


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = harness.Lab()
        cls.addClassCleanup(lambda: cls.lab.__exit__(None, None, None))
        cls.client = cls.lab.client()
        cls.appliance = appliance.DnsAppliance(cls.lab)
        cls.appliance.start()
        cls.wire = cls.client.packet_socket()
        cls.addClassCleanup(cls.wire.close)
        cls.ask_rightly()
        cls.here = cls.client.mac()
        neighbours = json.loads(cls.client.run(["ip", "-j", "neigh", "show", SERVICE]).stdout)
        cls.there = neighbours[0]["lladdr"]
        cls.good = dns.query("www.example", "A", 4711)

    @classmethod
    def ask_rightly(cls):
        answer = cls.client.run(["dig", "+short", "+time=2", "+tries=2", f"@{SERVICE}",
                                 "www.example.", "A"]).stdout
        assert "192.0.2.80" in answer, answer

    def drops(self):
        return self.appliance.proxy.control.status()["drops"]

    def expect(self, reason, *packets, deadline_s=5):
        """Sends these frames; one more drop for `reason` must be counted, and the service goes on."""
        reasons = [reason] if isinstance(reason, str) else reason
        before = self.drops()
        for packet in packets:
            self.wire.send(packet)

        def counted():
            now = self.drops()
            return any(now.get(name, 0) > before.get(name, 0) for name in reasons)

        try:
            harness.wait_until(counted, deadline_s, f"a drop for {reason}")
        except AssertionError as error:
            now = self.drops()
            grown = {name: now[name] - before.get(name, 0) for name in now
                     if now[name] != before.get(name, 0)}
            raise AssertionError(f"{error}; counted instead: {grown}") from None
        status = harness.wait_until(
            lambda: (lambda now: now["conservation"]["balanced"] and now)(
                self.appliance.proxy.control.status()), 5, "every packet is accounted for")
        self.assertEqual([one["dissent"] for one in status["groups"][0]["replicas"]], [0, 0, 0])
        self.ask_rightly()

    def ip(self, payload, source=CLIENT, to=SERVICE, **options):
        return frames.ethernet(self.there, self.here, frames.ipv4(source, to, payload, **options))

    def udp(self, payload=None, port=PORT, source=CLIENT, **options):
        return frames.udp(source, SERVICE, 4000, port, self.good if payload is None else payload,
                          **options)

    def test_ethernet(self):
        packet = frames.ipv4(CLIENT, SERVICE, self.udp())
        self.expect("not_for_us", frames.ethernet("02:00:00:00:99:99", self.here, packet))
        self.expect("bad_ethernet", frames.ethernet(self.there, "03:00:00:00:00:01", packet))
        self.expect("unknown_ethertype", frames.ethernet(self.there, self.here, packet, 0x88CC))

    def test_lengths(self):
        self.expect("truncated", self.ip(self.udp(), total=400))
        self.expect(["truncated", "bad_ip_header"], self.ip(b"", total=10))
        self.expect(["bad_ip_header", "bad_l4_header"], self.ip(self.udp(), version=5))
        self.expect(["bad_l4_header", "truncated"], self.ip(self.udp(length=900)))
        self.expect("bad_l4_header", self.ip(self.udp(length=4)))
        self.expect(["bad_l4_header", "truncated"], self.ip(b"\0\0\0"))

    def test_checksums(self):
        self.expect("bad_ip_checksum", self.ip(self.udp(), wrong_sum=True))
        self.expect("bad_l4_checksum", self.ip(self.udp(wrong_sum=True)))

    def test_sources(self):
        for source in ("127.0.0.1", "224.0.0.5", "0.0.0.0", SERVICE, "255.255.255.255"):
            with self.subTest(source):
                self.expect("bad_ip_source", self.ip(self.udp(source=source), source=source))

    def test_options_and_protocols(self):
        self.expect("ip_options", self.ip(self.udp(), options=b"\x01\x01\x01\x00"))
        self.expect("unknown_protocol", self.ip(b"\0" * 32, protocol=132))
        self.expect("no_service", self.ip(self.udp(port=5353)))
        self.expect(["bad_l4_header", "no_service"], self.ip(self.udp(port=0)))

    def test_tcp_is_refused_with_a_reset(self):
        self.expect("tcp_refused", self.ip(frames.tcp_syn(CLIENT, SERVICE, 4001, PORT), protocol=6))
        with self.client.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            with self.assertRaises(ConnectionRefusedError):
                connection.connect((SERVICE, PORT))

    def test_what_is_no_request(self):
        for payload in (b"", b"\x12\x34", b"\xff" * 40, self.good[:2] + b"\x81" + self.good[3:]):
            with self.subTest(payload[:12].hex()):
                self.expect(["not_a_request", "refused_kind"], self.ip(self.udp(payload)))

    def test_requests_that_only_the_servers_can_refuse(self):
        """A name that points to itself, and 65,535 questions: what the three say is voted."""
        for payload in (self.good[:12] + b"\xc0\x0c" + self.good[-4:],
                        struct.pack("!6H", 9, 0x0100, 65535, 0, 0, 0) + b"\0" * 20):
            with self.subTest(payload[:12].hex()):
                self.expect("reply_not_released", self.ip(self.udp(payload)))

    def test_fragments(self):
        whole = self.udp(self.good + b"\0" * 200)
        self.expect("fragment_refused",  # they overlap
                    self.ip(whole[:96], fragment=0x2000, number=77),
                    self.ip(whole[64:160], fragment=0x2000 | 8, number=77),
                    self.ip(whole[160:], fragment=20, number=77))
        self.expect(["fragment_timeout", "fragment_refused"],
                    self.ip(whole[:96], fragment=0x2000, number=78), deadline_s=40)

    def test_arp_that_does_not_parse(self):
        self.expect(["bad_arp", "truncated"], frames.ethernet("ff:ff:ff:ff:ff:ff", self.here, b"\0\1\x08\0\6\4",
                                               0x0806))

    def test_icmp_errors_about_nothing(self):
        quoted = frames.ipv4(SERVICE, CLIENT, frames.udp(SERVICE, CLIENT, 53, 4999, b"x" * 8))
        error = struct.pack("!BBHI", 3, 3, 0, 0) + quoted
        error = error[:2] + struct.pack("!H", frames.checksum(error)) + error[4:]
        self.expect(["icmp_unmatched", "icmp_ignored", "consumed"], self.ip(error, protocol=1))

    def test_a_request_in_honest_fragments_is_answered(self):
        with self.client.socket() as connection:
            connection.settimeout(5)
            padding = 2000
            opt = struct.pack("!BHHIH", 0, 41, 1232, 0, padding + 4) + struct.pack(
                "!2H", 12, padding) + b"\0" * padding
            query = dns.query("www.example", "A", 99, edns=0)
            query = query[:10] + b"\0\1" + query[12:] + opt
            connection.sendto(query, (SERVICE, PORT))
            reply = connection.recv(65535)
        self.assertEqual(len(dns.whole(reply)[2][0]), 3)
