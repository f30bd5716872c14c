"""The replica images on real Xen: they boot, as PV and as PVH, serve, take what Dom0 hands in, say
how they are, and are gone when their service is. No network: the services answer to their own check.
"""

import pathlib
import unittest

import dom0
import harness
from guests import archive, run

LAB = ["--image", "counter,counter-python,echo,knot,memcached,named,nsd"]
dom0.enter()

ZONE = (dom0.TOP / "examples" / "dns" / "example.zone").read_bytes()
SECONDS_MAX = 240


class Images(unittest.TestCase):
    def setUp(self):
        self.lab = dom0.Lab()
        self.lab.__enter__()
        self.addCleanup(self.lab.__exit__, None, None, None)

    def boot(self, image, **options):
        guest = self.lab.guest(image, **options)
        guest.wait_healthy(SECONDS_MAX)
        return guest

    def wait(self, condition, what):
        return harness.wait_until(condition, SECONDS_MAX, what, pause_s=0.3)

    def tell(self, guest, number, command):
        """What the service replies to a command of its own."""
        home = f"/local/domain/{guest.domid}/data/quorate"
        run("xenstore-write", f"{home}/tell", f"{number} {command}")
        self.wait(lambda: (dom0.xenstore(f"{home}/told") or "").startswith(f"{number} "),
                  f"the reply to {command}")
        return dom0.xenstore(f"{home}/told").split(" ", 1)[1]

    def health(self, guest, beginning):
        self.wait(lambda: (guest.health() or "").startswith(beginning),
                  f"health '{beginning}...', not '{guest.health()}'")
        return guest.health()

    def test_a_counter_that_is_told_what_to_do(self):
        guest = self.boot("counter", files={
            "/etc/quorate/arguments": b"--behave\nlate 100\n",
            "/etc/quorate/seed": bytes(range(64)),
            "/etc/quorate/health": b"[ ! -e /etc/quorate/seed ] && agent listening udp 7000\n"})
        self.assertEqual(self.tell(guest, 1, "state"), "0")
        self.assertEqual(self.tell(guest, 2, "lie 5"), "ok")
        self.assertIn("unknown command", self.tell(guest, 3, "dance"))
        self.assertIn("quorate: counter: healthy", guest.console())

    def test_as_pvh(self):
        self.boot("echo", kind="pvh")

    def test_name_servers_and_memcached(self):
        zone = {"/etc/quorate/files/example.zone": ZONE}
        guests = [self.lab.guest(image, files=files)
                  for image, files in (("nsd", zone), ("knot", zone), ("memcached", {}))]
        for guest in guests:
            guest.wait_healthy(SECONDS_MAX)

    def test_large_ones(self):
        guests = [self.lab.guest("named", files={"/etc/quorate/files/example.zone": ZONE}),
                  self.lab.guest("counter-python",
                                 files={"/etc/quorate/arguments": b"--behave\nlie 2\n"})]
        for guest in guests:
            guest.wait_healthy(SECONDS_MAX)
        self.assertEqual(self.tell(guests[1], 1, "state"), "0")

    def test_one_that_does_not_get_healthy_says_why(self):
        guest = self.lab.guest("echo", files={
            "/etc/quorate/health": b"[ $(cut -d. -f1 /proc/uptime) -gt 3600 ] || { echo not yet; false; }"})
        self.assertIn("not yet", self.health(guest, "failed: not healthy after 30 s"))

    def test_the_machine_ends_with_its_service(self):
        guest = self.lab.guest("counter", files={"/etc/quorate/arguments": b"--port\n99999\n"})
        self.assertIn("ended with status 1", self.health(guest, "failed: the service"))
        self.wait(lambda: self.state(guest)[3] == "s", "the domain has shut down")

    def state(self, guest):
        """Running, blocked, paused, shut down, crashed, dying: a letter each, or '-'."""
        return run("xl", "list", guest.name).stdout.splitlines()[1].split()[-2]

    def test_a_network_that_is_said_wrong(self):
        guest = self.lab.guest("echo", files={"/etc/quorate/network": b"mac 02:51:00:00:00:02\n"})
        self.assertIn("no network device", self.health(guest, "failed: there is"))

    def test_configuration_on_a_disk(self):
        modules = run("modprobe", "-a", "loop", "xen-blkback", check=False)
        if modules.returncode != 0:
            self.skipTest("Dom0 has no xen-blkback: " + modules.stderr.strip())
        disk = pathlib.Path(self.lab.directory, "configuration")
        disk.write_bytes(archive.pack({
            "/etc/quorate/arguments": archive.file(b"--behave\nlie 7\n"),
            "/etc/quorate/health": archive.file(b"test -e /etc/quorate/arguments")}).ljust(1 << 20))
        guest = self.lab.guest("counter", start=False)
        run("xl", "block-attach", guest.name, f"format=raw,vdev=xvda,access=ro,target={disk}")
        guest.unpause()
        guest.wait_healthy(SECONDS_MAX)


if __name__ == "__main__":
    unittest.main()
