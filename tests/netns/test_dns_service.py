"""DNS through the whole appliance: nsd, knot and named, each in turn the odd one out; a liar that is
right in its answers and poisons the rest; a long run with one replica lying throughout.

What is right comes from the servers themselves, asked without Quorate, and is compared by dns.py,
which shares nothing with the voter.
"""

import collections
import contextlib
import os
import pathlib
import socket
import tempfile
import tomllib
import unittest

import appliance
import dns
import harness
import poison

harness.enter(servers=["nsd", "knot", "bind9"])

SERVER = appliance.DNS_ADDRESS
NAMES = ("nsd", "knot", "named")
WAY = pathlib.Path(tempfile.gettempdir(), f"quorate-poison-{os.getpid()}")


def exchange(connection, message, timeout=2.0, server=SERVER):
    """The reply to one query's bytes, or None."""
    connection.settimeout(timeout)
    connection.sendto(message, server)
    try:
        while True:
            reply, _ = connection.recvfrom(65535)
            if reply[:2] == message[:2]:
                return reply
    except TimeoutError:
        return None


def lines():
    """The lines of queries.txt that ask something."""
    text = (harness.TOP / "tests" / "data" / "queries.txt").read_text()
    return [line for line in text.splitlines() if dns.query_of_line(line)]


class Service(unittest.TestCase):
    """One appliance for all tests of a class."""

    changes = ()

    @classmethod
    def setUpClass(cls):
        cls.stack = contextlib.ExitStack()
        cls.addClassCleanup(cls.stack.close)
        cls.lab = cls.stack.enter_context(harness.Lab())
        cls.client = cls.lab.client()
        cls.appliance = appliance.DnsAppliance(cls.lab, cls.changes)
        cls.appliance.start()
        cls.connection = cls.client.socket()
        cls.stack.callback(cls.connection.close)

    def run(self, result=None):
        failures = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > failures:
            print(self.lab.report())
        return result

    def balanced(self):
        return self.appliance.proxy.control.status()["conservation"]["balanced"]

    def tearDown(self):
        harness.wait_until(self.balanced, 5, "every packet is accounted for")


class Voted(Service):
    def test_each_server_as_the_odd_one_out(self):
        """With one server wrong in everything, what the other two agree on is what leaves."""
        honest = {name: self.alone(name) for name in NAMES}
        zone = self.appliance.zone.replace("$TTL 3600", "$TTL 3599").replace(
            "1209600 300", "1209600 299").replace("2024010101", "2024010102")
        self.assertEqual(zone.count("3599") + zone.count(" 299"), 2)
        for liar in NAMES:
            with self.subTest(liar=liar), self.altered(liar, zone):
                one, other = [name for name in NAMES if name != liar]
                agreed = 0
                for number, line in enumerate(lines(), 1):
                    reply = exchange(self.connection, dns.query_of_line(line, number))
                    if honest[one][line] is None or honest[one][line] != honest[other][line]:
                        continue
                    self.assertIsNotNone(reply, line)
                    self.assertEqual(dns.canonical(reply), honest[one][line], line)
                    agreed += 1
                print(f"{liar} lies: {agreed} of {len(lines())} agreed")
                self.assertGreaterEqual(agreed, 54)

    @contextlib.contextmanager
    def altered(self, name, zone=None):
        self.appliance.alter(name, zone)
        try:
            yield
        finally:
            self.appliance.heal(name)

    def alone(self, name):
        """Each line's canonical answer of one server without Quorate."""
        replicas = tomllib.loads(self.appliance.config.read_text())["group"][0]["replica"]
        replica = next(one for one in replicas if one["name"] == name)
        client, program = self.lab.lone_server(replica, self.appliance.config, f"alone-{name}")
        answers = {}
        with client.socket() as connection:
            for number, line in enumerate(lines(), 1):
                if any(word in line for word in (" ANY", "CH", "STATUS")):
                    answers[line] = None
                    continue
                reply = exchange(connection, dns.query_of_line(line, number))
                answers[line] = dns.canonical(reply) if reply else None
        program.stop()
        return answers

    def test_kinds_that_cannot_agree_are_refused_and_accuse_nobody(self):
        before = self.appliance.figures()
        refused = [line for line in lines() if any(word in line for word in (" ANY", " CH", "STATUS"))]
        self.assertEqual(len(refused), 3)
        for number in range(1, 201):
            reply = exchange(self.connection, dns.query_of_line(refused[number % 3], number))
            self.assertIsNotNone(reply)
            self.assertIn(reply[3] & 15, (4, 5), "NOTIMP or REFUSED")
        change = appliance.difference(before, self.appliance.settled())
        self.assertEqual((change["dissent"], change["silence"]), (0, 0))
        self.assertEqual(self.appliance.standings(), ["admitted"] * 3)

    def test_ipv6_as_well(self):
        with self.client.socket(socket.AF_INET6) as connection:
            reply = exchange(connection, dns.query("www.example", "AAAA", 77),
                             server=("fd53::53", 53))
        self.assertIsNotNone(reply)
        self.assertEqual(len(dns.whole(reply)[2][0]), 2)

    def test_a_hundred_thousand_with_a_liar(self):
        questions = dns.varied(self.appliance.zone, 4000)
        expected = self.appliance.truth(questions)
        queries = self.lab.file("queries", "".join(f"{name} {qtype}\n" for name, qtype in questions))
        with self.altered("knot"):
            self.long_run(questions, expected)
            before = self.appliance.figures()
            through = self.dnsperf(self.client, queries)
            change = appliance.difference(before, self.appliance.settled())
            print({key: value for key, value in change.items() if value})
        replica = tomllib.loads(self.appliance.config.read_text())["group"][0]["replica"][0]
        beside, program = self.lab.lone_server(replica, self.appliance.config, "single")
        single = self.dnsperf(beside, queries)
        program.stop()
        print(f"dnsperf through Quorate, one lies: {through}\ndnsperf on nsd alone: {single}")
        self.assertEqual(through["sent"], single["sent"])
        self.assertLessEqual(through["lost"], single["lost"])
        self.assertEqual(through["codes"], single["codes"])

    def long_run(self, questions, expected):
        before = self.appliance.figures()
        tally, _ = dns.ask_all(self.connection, SERVER, questions, expected, total=100_000)
        print(f"checked, one lies: {tally}; p50 {tally.percentile(0.5) * 1e6:.0f} us, "
              f"p99 {tally.percentile(0.99) * 1e6:.0f} us")
        change = appliance.difference(before, self.appliance.settled())
        figures = {key: value for key, value in change.items() if value}
        self.assertEqual((tally.wrong, tally.lost, tally.unasked), (0, 0, 0), tally.wrongs)
        self.assertEqual(tally.right, 100_000, figures)
        self.assertEqual(change["agreed"], 100_000)
        self.assertEqual(change["dissent"], change["dissent knot"])
        self.assertGreater(change["dissent knot"], 5_000)

    def dnsperf(self, client, queries):
        result = client.run(["dnsperf", "-s", SERVER[0], "-d", queries, "-n", "25", "-q", "64"],
                            timeout=120)
        return dns.dnsperf_figures(result.stdout)


class Poisoned(Service):
    """nsd's place is taken by poison.py with nsd behind it."""

    changes = (
        *Service.changes,
        ('command = ["nsd", "-d", "-c", "{dir}/nsd.conf"]',
         f'command = ["{harness.TOP}/tests/netns/poison.py", "{WAY}", "nsd", "-d", "-c", '
         '"{dir}/nsd.conf"]'),
        ("    ip-address: 10.53.0.53\n    ip-address: fd53::53\n",
         "    ip-address: 127.0.0.1@5300\n"),
    )

    @classmethod
    def setUpClass(cls):
        WAY.write_text("honest\n")
        cls.addClassCleanup(WAY.unlink)
        super().setUpClass()

    def test_nothing_of_it_gets_out(self):
        """With the poisoner honest, what leaves for each question is remembered; with poison in any
        part of its replies, exactly the same must leave."""
        asked = [line for line in lines()
                 if not any(word in line for word in (" ANY", " CH", "STATUS"))]
        clean = {}
        for number, line in enumerate(asked, 1):
            clean[line] = exchange(self.connection, dns.query_of_line(line, number))
            self.assertIsNotNone(clean[line], line)
        seen = collections.Counter()
        for way in sorted(poison.WAYS):
            if way == "honest":
                continue
            WAY.write_text(way + "\n")
            before = self.appliance.figures()
            for number, line in enumerate(asked, 1):
                with self.subTest(way=way, line=line):
                    reply = exchange(self.connection, dns.query_of_line(line, number))
                    self.assertIsNotNone(reply)
                    self.assertNotIn(poison.EVIL_NAME[1:5], reply)
                    self.assertNotIn(poison.EVIL_ADDRESS, reply)
                    self.assertEqual(dns.canonical(reply), dns.canonical(clean[line]))
                    flags, _, (_, _, additional) = dns.whole(reply)
                    # CD is the request's or clear: servers differ, and it says nothing.
                    self.assertEqual(flags | 0x10, dns.whole(clean[line])[0] | 0x10)
                    # As it was, or the appliance's own with nothing in it.
                    opt = {entry for entry in additional if entry[1] == 41}
                    self.assertIn(opt, ({entry for entry in dns.whole(clean[line])[2][2]
                                         if entry[1] == 41}, {(b"", 41, 1232, 0, b"")}))
            # Silence is known only when the deadline has passed.
            change = appliance.difference(before, self.appliance.settled())
            seen[way] = change["dissent nsd"] + change["silence nsd"]
            self.assertEqual(change["dissent"] + change["silence"], seen[way], f"{way}: {change}")
        WAY.write_text("honest\n")
        print(f"dissents and silences it was seen with, of {len(asked)} each: {dict(seen)}")
        self.assertEqual(self.appliance.standings(), ["admitted"] * 3)
