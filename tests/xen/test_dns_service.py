"""DNS from three domains behind netback, of two programs and two kinds: nsd in PV, knot in PV, nsd in
PVH. One serves another zone, one is paused, in turn: no answer is wrong.

What is right was said by all three together before; a few answers are known besides. In all, 20,000
questions (tools/test --long: a million).

Known limit: where an emulated machine stands still for the ballots' deadline, a question is not
answered. The proxy must have counted each of these as expired, and there may be few.
"""

import re
import socket
import time
import unittest

import dom0

LAB = ["--appliance", "dns"]
dom0.enter()

import accounts  # noqa: E402 (dom0 says where it is)
import dns  # noqa: E402
import replicas  # noqa: E402

QUESTIONS = 400
TOTAL = dom0.REQUESTS // 7  # in each of the steps: all well, and three for each who lies
WITHIN_S = 180
ROUNDS = 3  # of asking what was not answered
WINDOW = 48
EXPIRED_SHARE_MAX = 0.01
LIE = "203.0.113.66"


class Dns(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.appliance = replicas.Running("dns")
        cls.connection = cls.appliance.client.socket()
        cls.addClassCleanup(cls.connection.close)
        cls.zone = replicas.ZONE.read_text()
        cls.questions = dns.varied(cls.zone, QUESTIONS)
        cls.expected, missing = {}, cls.questions
        for _ in range(ROUNDS):
            tally, answers = cls.ask(missing, None, len(missing))
            assert tally.right + tally.lost == tally.sent, f"{tally}\n{cls.appliance.report()}"
            cls.expected |= answers
            missing = tally.missing
            if not missing:
                break
        assert not missing, f"{tally}\n{cls.appliance.report()}"
        assert set(cls.dissents().values()) == {0}, cls.dissents()

    @classmethod
    def ask(cls, questions, expected, total, server=None, connection=None):
        return dns.ask_all(connection or cls.connection, server or cls.appliance.server, questions,
                           expected, window=WINDOW, timeout=30, total=total)

    @classmethod
    def dissents(cls):
        return {replica["name"]: replica["dissent"]
                for replica in cls.appliance.group_status()["replicas"]}

    def ask_right(self, total, **how):
        """Every answer is as before; a question that has none has expired, and has one when it is asked
        again, as a resolver does."""
        before = self.appliance.group_status()["expired"]
        tally, _ = self.ask(self.questions, self.expected, total, **how)
        expired = self.appliance.group_status()["expired"] - before
        if (tally.wrong, tally.lost, tally.right) != (0, expired, total - expired) or (
                expired > max(WINDOW, total * EXPIRED_SHARE_MAX)):
            self.fail(f"{tally} {tally.wrongs}, {expired} expired\n{self.appliance.report()}")
        if tally.missing:
            again, _ = self.ask(tally.missing, self.expected, expired, **how)
            self.assertEqual(again.right, expired, f"again: {again} {again.wrongs}")

    def right(self):
        """Questions are answered rightly; returns who dissented how often."""
        before = self.dissents()
        began = time.monotonic()
        self.ask_right(TOTAL)
        print(f"{TOTAL} questions in {time.monotonic() - began:.1f} s", flush=True)
        now = self.dissents()
        return {name: now[name] - before[name] for name in now if now[name] != before[name]}

    def test_known_answers(self):
        for words, known in ((["www.example.", "A"], "192.0.2.80\n192.0.2.81\n192.0.2.82"),
                             (["mail.example.", "AAAA"], "2001:db8::10")):
            for server in (replicas.ADDRESS, replicas.ADDRESS6):
                said = self.appliance.client.run(["dig", "+short", "+time=30", f"@{server}", *words])
                self.assertEqual("\n".join(sorted(said.stdout.split())), known)

    def test_all_agree(self):
        self.assertEqual(self.right(), {})
        accounts.settle(self.appliance)

    def test_ipv6_as_well(self):
        with self.appliance.client.socket(socket.AF_INET6) as connection:
            self.ask_right(100, server=(replicas.ADDRESS6, 53), connection=connection)

    def test_one_lies_while_another_is_paused_in_turn(self):
        kinds = {name: dom0.domain_json(self.appliance.domain(name))["config"]["c_info"]["type"]
                 for name in replicas.REPLICAS}
        self.assertEqual(kinds, {"first": "pv", "second": "pv", "third": "pvh"})
        for liar, paused in (("second", "first"), ("third", "second")):
            with self.subTest(liar=liar, paused=paused):
                self.serve(liar, re.sub(r"(\sA\s+)\d+\.\d+\.\d+\.\d+", rf"\g<1>{LIE}", self.zone))
                self.assertEqual(set(self.right()), {liar})
                self.serve(liar, self.zone)
                number = self.appliance.domain(paused)
                dom0.guests.run("xl", "pause", number)
                try:
                    self.assertEqual(self.right(), {})
                finally:
                    dom0.guests.run("xl", "unpause", number)
                self.assertEqual(self.right(), {})

    def test_when_all_are_stopped_nothing_is_left(self):
        accounts.stop_replicas(self.appliance)

    def serve(self, name, zone):
        """Has a replica serve this zone, from now on."""
        replicas.zone_of(name).write_text(zone)
        self.appliance.quorate("replica", "restart", f"dns/{name}")
        self.appliance.wait_admitted(WITHIN_S)


if __name__ == "__main__":
    unittest.main()
