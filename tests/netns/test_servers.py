"""The three DNS servers as the example configures them, without Quorate: they load the zone, and
all of them say the same to each question that tests and demo load them with, so that a
dissent seen there is one that was provoked. (tests/golden/dns has the questions where they differ.)"""

import collections
import tomllib
import unittest

import dns
import harness

harness.enter(servers=["nsd", "knot", "bind9"])

EXAMPLE = harness.TOP / "examples" / "dns" / "quorate.toml"
ZONE = (harness.TOP / "tests" / "data" / "example.zone").read_text()
SERVER = ("10.53.0.53", 53)


class Servers(unittest.TestCase):
    def test_they_agree_on_the_varied_set(self):
        questions = dns.varied(ZONE, 3000)
        replicas = tomllib.loads(EXAMPLE.read_text())["group"][0]["replica"]
        answers = {}
        with harness.Lab() as lab:
            for replica in replicas:
                name = replica["name"]
                client, _ = lab.lone_server(replica, EXAMPLE, name)
                with client.socket() as connection:
                    tally, answers[name] = dns.ask_all(connection, SERVER, questions)
                self.assertEqual((tally.right, tally.lost), (3000, 0), f"{name}: {tally}")
                found = client.run(["dig", "+short", "@fd53::53", "www.example.", "AAAA"]).stdout
                self.assertIn("2001:db8::80", found)
        odd = collections.Counter()
        split = []
        for name, qtype in questions:
            key = (name.lower(), qtype)
            votes = collections.Counter(answers[server][key] for server in answers)
            winner, count = votes.most_common(1)[0]
            if count < 2:
                split.append(key)
            odd.update(server for server in answers if answers[server][key] != winner)
        print(f"odd one out of {len(questions)}: {dict(odd)}; no two agree on {len(split)}")
        self.assertEqual(split, [])
        self.assertEqual(odd.total(), 0, odd)
