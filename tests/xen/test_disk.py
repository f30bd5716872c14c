"""Replicas with a disk, of an image that has one: verified, read-only, gone with its domain, whoever
ends or kills what.

The DNS group's second replica has one, too (test_dns_service.py), and serves from it.
"""

import pathlib
import unittest

import dom0

LAB = ["--image", "knot"]
dom0.enter()

import accounts  # noqa: E402 (dom0 says where it is)
import domains  # noqa: E402
from domains import names_below, run, until  # noqa: E402

DISKS = "/local/domain/0/backend/vbd"
# One word, and the last: `start` fails with it, or with its deadline where there is no disk.
LOOK = """
for module in $(sed -n 's/^xen_blkfront: //p' /usr/lib/modules/needs); do
    insmod "/usr/lib/modules/$module"
done
until [ -b /dev/xvda ]; do usleep 100000; done
if [ "$(cat /sys/block/xvda/ro)" != 1 ]; then
    agent health 'failed: it can be written to'
elif [ "$(head -c 4 /dev/xvda)" != hsqs ]; then
    agent health 'failed: it is another'
elif ! cp /dev/xvda /dev/null; then
    agent health 'failed: it cannot be read'
else
    agent health healthy
fi
"""


def loops():
    """Files that are block devices now, and whether those can only be read."""
    return [tuple(line.split()) for line in
            run("losetup", "-l", "-n", "-O", "BACK-FILE,RO").stdout.splitlines()]


class Disks(domains.DomainTest):
    image = "knot"
    replicas = [{"behaviour": LOOK}, {"behaviour": LOOK, "type": '"pvh"'}, {"behaviour": LOOK}]

    @classmethod
    def setUpClass(cls):
        dom0.guests.load_disk_backend()

    def setUp(self):
        super().setUp()
        self.disk = self.lab.manifest["disk"]

    def tearDown(self):
        super().tearDown()
        self.nothing_is_left()
        accounts.wait_for_grants({})

    def nothing_is_left(self):
        self.assertEqual(domains.domains(), self.before)
        self.assertEqual(names_below(DISKS), [])
        until(lambda: loops() == [], "the block devices go")

    def test_read_only_in_pv_and_pvh_and_gone_with_the_domain(self):
        self.lab.replica("start", "a", "b")
        self.assertEqual(loops(), [(self.disk, "1")] * 2)
        self.lab.replica("stop", "--all")
        self.nothing_is_left()

    def test_it_goes_with_domains_that_crash_or_are_destroyed(self):
        self.lab.replica("start", "a", "b")
        self.lab.order(self.lab.seat("a"), "crash")
        run("xl", "destroy", self.lab.seat("b")["process"]["pid"])
        for name in "ab":
            until(lambda name=name: not self.lab.seat(name)["process"]["running"], "it is seen to be dead")
        self.lab.replica("clean")
        self.nothing_is_left()

    def test_it_goes_with_a_start_that_is_killed(self):
        self.lab.kill_start("a", lambda: domains.domains() != self.before, "Xen has a domain more")
        self.lab.replica("clean")
        self.nothing_is_left()
        self.lab.kill_start("a", lambda: names_below(DISKS), "it has a backend")
        self.lab.replica("clean")
        self.nothing_is_left()

    def test_one_that_was_changed_is_refused(self):
        data = bytearray(pathlib.Path(self.disk).read_bytes())
        data[-1] ^= 1
        changed = self.lab.path / "changed"
        changed.write_bytes(data)
        self.lab.configure([{"disk": f'"{changed}"'}, {}, {}])
        said = self.lab.replica("start", "a", ok=False)["replicas"][0]
        self.assertIn(f"{changed} has the SHA-256", said["what"])
        self.nothing_is_left()

    def test_without_a_backend_for_disks_it_says_what_to_do(self):
        run("modprobe", "-r", "xen-blkback")
        try:
            said = self.lab.replica("start", "a", ok=False)["replicas"][0]
        finally:
            dom0.guests.load_disk_backend()
        self.assertIn("modprobe xen-blkback", said["what"])
        self.nothing_is_left()


if __name__ == "__main__":
    unittest.main()
