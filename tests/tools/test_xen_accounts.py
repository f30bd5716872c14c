"""What the tests on Xen believe of leaks, held against what Xen said once: tests/data/grants.txt is the
debug key "g" of Xen 4.17 with two PV domains (1, 3) and a PVH one (2) behind our netback."""

import copy
import pathlib
import sys
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "xen"), str(TOP / "tests" / "netns")]

import accounts  # noqa: E402 (its place is tests/xen)
import grants  # noqa: E402

TEXT = (TOP / "tests" / "data" / "grants.txt").read_text()
RINGS = {1: 2, 2: 2, 3: 2}
ALIVE = {0, 1, 2, 3}


class Grants(unittest.TestCase):
    def wrong(self, text=TEXT, rings=None, alive=frozenset(ALIVE)):
        return grants.wrong(grants.held(text), RINGS if rings is None else rings, alive)

    def test_two_rings_each_and_the_daemons(self):
        found = grants.held(TEXT)
        self.assertEqual(len(found), 12)
        self.assertEqual(found[2], grants.Held(1, 0x208, 0, 2, 0))
        self.assertEqual(self.wrong(), [])

    def test_the_last_listing_counts(self):
        idle = f"(XEN) {grants.BEGIN}\n(XEN) {grants.END}\n"
        self.assertEqual(grants.held(TEXT + idle), [])
        self.assertEqual(len(grants.held(idle + "(XEN) something else\n" + TEXT)), 12)

    def test_leaks(self):
        for text, rings, alive, said in (
                (TEXT, {1: 2, 2: 2}, ALIVE, "2 pages of domain 3 are mapped, and 0 of its rings"),
                (TEXT, RINGS, {0, 1, 2}, "page 0x0 of domain 3, held by domain 0, which is gone"),
                (TEXT, {**RINGS, 4: 2}, ALIVE, "0 pages of domain 4 are mapped, and 2 of"),
                (TEXT.replace("0x797b5 0x00000002", "0x797b5 0x00000004"), RINGS, ALIVE,
                 "3 pages of domain 1 are mapped"),
                (TEXT.replace("0x797b5 0x00000002", "0x797b5 0x00000001"), RINGS, ALIVE,
                 "page 0x208 of domain 1, held by domain 0: pinned 1 times"),
                (TEXT.replace("0x797b5 0x00000002", "0x797b5 0x01000002"), RINGS, ALIVE,
                 "page 0x208 of domain 1, held by domain 0: a copy")):
            with self.subTest(said):
                self.assertIn(said, "\n".join(self.wrong(text, rings, alive)))

    def test_the_ring_of_a_disk_is_mapped_once(self):
        text = TEXT.replace("0x797b5 0x00000002", "0x797b5 0x00000001")
        held = grants.held(text)
        self.assertEqual(grants.wrong(held, {**RINGS, 1: 1}, ALIVE, disks={(1, 0x208)}), [])
        for disks in ((), {(2, 0x208)}, {(1, 0x209)}):
            self.assertNotEqual(grants.wrong(held, {**RINGS, 1: 1}, ALIVE, disks=disks), [])
        copying = grants.held(TEXT.replace("0x797b5 0x00000002", "0x797b5 0x01000001"))
        self.assertIn("a copy", "".join(grants.wrong(copying, {**RINGS, 1: 1}, ALIVE,
                                                     disks={(1, 0x208)})))

    def test_half_a_listing_is_none(self):
        for text in ("", TEXT[200:], TEXT[:-40], TEXT.replace("grant-table for remote", "?"),
                     TEXT + "x" * grants.TEXT_BYTES_MAX):
            with self.subTest(text[:40]), self.assertRaises(ValueError):
                grants.held(text)


class Status(unittest.TestCase):
    netback = {"domain": 4, "queues": 1, "ring_requests": 70, "ring_responses": 70}
    status = {"conservation": {"balanced": True, "held": 0},
              "packets": {"in_pools": 100, "in_use": 0},
              "groups": [{"name": "g", "requests": 6, "agreed": 3, "split": 2, "expired": 1,
                          "replicas": [{"name": "a", "netback": netback}, {"name": "b"}]}]}

    def changed(self, *path, value):
        status = copy.deepcopy(self.status)
        place = status
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        return accounts.unaccounted(status)

    def test_all_is_told(self):
        self.assertEqual(accounts.unaccounted(self.status), [])
        self.assertEqual(accounts.rings(self.status), {4: 2})
        self.assertEqual(len(self.changed("conservation", "held", value=1)), 1)
        self.assertEqual(len(self.changed("conservation", "balanced", value=False)), 1)
        self.assertIn("7 of 100 packets", self.changed("packets", "in_use", value=7)[0])
        self.assertIn("5 requests, 6 verdicts", self.changed("groups", 0, "requests", value=5)[0])
        self.assertIn("70 requests taken from its rings, 69 answered", self.changed(
            "groups", 0, "replicas", 0, "netback", "ring_responses", value=69)[0])


if __name__ == "__main__":
    unittest.main()
