"""The services of the examples as replicas of the namespace host, without the proxy: each answers
inside, over both address families, and is gone afterwards."""

import json
import os
import pathlib
import unittest

import harness

harness.enter(servers=["nsd", "knot", "bind9"])

EXAMPLES = harness.TOP / "examples"


class Services(unittest.TestCase):
    def started(self, lab, example):
        """Starts all of an example's replicas; their rows of `quorate replica list`."""
        config = EXAMPLES / example / "quorate.toml"
        lab.at_end.append(lambda: lab.quorate("replica", "stop", "--all", "--config", config))
        lab.quorate("replica", "start", "--all", "--config", config)
        rows = json.loads(lab.quorate("replica", "list", "--config", config,
                                      "--json").stdout)["replicas"]
        self.assertEqual(len(rows), 3)
        for row in rows:
            self.assertTrue(row["process"]["running"], row)
        return rows

    def inside(self, lab, row, argv):
        record = json.loads(next(pathlib.Path("/run/quorate").glob(
            f"*/replicas/{row['group']}-{row['slot']}-{row['place']}.json")).read_text())
        return lab.run(["nsenter", "-t", record["inside"]["pid"], "-m", "-u", "-i", "-n", "-p",
                        *argv]).stdout

    def test_dns_servers(self):
        with harness.Lab() as lab:
            for row in self.started(lab, "dns"):
                for server, kind, expected in (("10.53.0.53", "A", "192.0.2.80"),
                                               ("fd53::53", "AAAA", "2001:db8::80")):
                    answer = self.inside(lab, row, ["dig", "+short", f"@{server}", "www.example.",
                                                    kind])
                    self.assertIn(expected, answer, row["name"])
        self.assertEqual(os.listdir("/run"), ["quorate"])

    def test_counters(self):
        with harness.Lab() as lab:
            for row in self.started(lab, "counter"):
                control = f"/run/quorate/counter/replicas/{row['group']}-{row['slot']}-a/control"
                self.assertEqual(self.inside(lab, row, ["tell.py", control, "state"]), "0\n")


if __name__ == "__main__":
    unittest.main()
