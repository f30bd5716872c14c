"""The Xen host on real Xen: replicas as domains, without a proxy.

Known limit: an emulated machine is slow, so nothing here is about time but the deadlines.
"""

import os
import signal
import stat
import unittest

import dom0
from dom0 import xenstore

LAB = ["--image", "echo"]
dom0.enter()

import accounts  # noqa: E402 (dom0 says where it is)
import domains  # noqa: E402
from domains import BACKENDS, names_below, run, until  # noqa: E402


class DomainTest(domains.DomainTest):
    def tearDown(self):
        super().tearDown()
        accounts.wait_for_grants({})


class Life(DomainTest):
    replicas = [{"cpus": "[1]", "cap_percent": "80"}, {"type": '"pvh"'}, {}]

    def test_from_start_to_stop(self):
        started = self.lab.replica("start", "a")["replicas"][0]
        self.assertEqual(started["standing"], "admitted")
        name = f"quorate-domtest-g-0-a-{started['incarnation']}"
        self.assertEqual(started["port"], f"netback:{name}")
        seat = self.lab.seat("a")
        number = domains.domains()[name]
        self.assertEqual(seat["process"]["pid"], number)
        self.assertTrue(seat["process"]["running"])
        self.assertIn("healthy since", seat["process"]["detail"])

        # What it may have, and what it can see.
        vcpus = run("xl", "vcpu-list", name).stdout.splitlines()[1]
        self.assertEqual(vcpus.split()[-3:], ["1", "/", "all"])
        shares = run("xl", "sched-credit2", "-d", name).stdout.splitlines()[-1]
        self.assertEqual(shares.split()[-1], "80")
        backend = f"{BACKENDS}/{number}/0"
        self.assertEqual(xenstore(f"{backend}/frontend"), f"/local/domain/{number}/device/vif/0")
        self.assertEqual(xenstore(f"/local/domain/{number}/device/vif/0/backend"), backend)
        self.assertEqual(xenstore(f"{backend}/incarnation"), str(started["incarnation"]))
        self.assertEqual(xenstore(f"/local/domain/{number}/quorate/appliance"), "domtest")
        until(lambda: f"hello from group g slot 0 incarnation {started['incarnation']}"
              in self.lab.log(0, "a"), "its console is in the log")
        until(lambda: "seeded by 32 octets" in self.lab.log(0, "a"), "randomness came with it")
        log = self.lab.records / "g-0-a.log"
        self.assertEqual(stat.S_IMODE(log.stat().st_mode), 0o600)

        # Paused, it stands still.
        self.lab.replica("pause", "a")
        self.lab.replica("pause", "a")
        self.assertIn("paused", self.lab.seat("a")["process"]["detail"])
        self.lab.order(seat, "crash")
        self.assertTrue(self.lab.seat("a")["process"]["running"])
        run("xenstore-rm", f"/local/domain/{number}/data/quorate/order")
        self.lab.replica("resume", "a")
        self.lab.replica("resume", "a")
        self.assertNotIn("paused", self.lab.seat("a")["process"]["detail"])

        self.lab.replica("stop", "a")
        self.assertNotIn(name, domains.domains())
        self.assertEqual(names_below(BACKENDS), [])
        self.assertIn("was stopped", self.lab.log(0, "a"))

    def test_pv_and_pvh_together_and_in_the_other_place(self):
        self.lab.replica("start", "a", "b")
        self.assertEqual(len(domains.domains()) - len(self.before), 2)
        first = self.lab.seat("b")
        self.lab.replica("restart", "b")
        second = self.lab.seat("b")
        self.assertEqual((first["place"], second["place"]), ("a", "b"))
        self.assertNotEqual(first["process"]["pid"], second["process"]["pid"])
        self.assertTrue(second["process"]["running"])
        self.assertEqual(len(domains.domains()) - len(self.before), 2)

    def test_memory_on_request(self):
        self.lab.replica("start", "a")
        file = self.lab.path / "memory"
        self.lab.replica("dump", "a", "--file", file)
        self.assertEqual(file.read_bytes()[:4], b"\x7fELF")
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        self.assertGreater(file.stat().st_size, 90 << 20)
        self.assertLess(file.stat().st_size, 100 << 20)
        self.lab.replica("dump", "a", "--file", file, ok=False)  # it is there already
        file.unlink()


class Refusals(DomainTest):
    def refused(self, *pieces):
        said = self.lab.replica("start", "a", ok=False)["replicas"][0]
        for piece in pieces:
            self.assertIn(piece, said["what"])
        self.assertEqual(said["standing"], "absent")
        self.nothing_is_left()

    def nothing_is_left(self):
        self.assertEqual(domains.domains(), self.before)
        self.assertEqual(names_below(BACKENDS), [])
        self.assertEqual([file.name for file in self.lab.records.glob("*.json")], [])

    def test_an_image_that_was_changed(self):
        self.lab.configure([{"kernel_sha256": f'"{"0" * 64}"'}, {}, {}])
        self.refused("SHA-256", "find out who changed it")

    def test_a_kernel_that_is_none(self):
        ramdisk, sha256 = self.lab.manifest["ramdisk"], self.lab.manifest["ramdisk_sha256"]
        self.lab.configure([{"kernel": f'"{ramdisk}"', "kernel_sha256": f'"{sha256}"'}, {}, {}])
        self.refused("libxl cannot build the domain")

    def test_more_memory_than_there_is(self):
        self.lab.configure([{"memory_mb": "60000"}, {}, {}])
        self.refused("Xen has", "memory_mb")

    def test_more_vcpus_than_there_are(self):
        self.lab.configure([{"vcpus": "64"}, {}, {}])
        self.refused("64 vcpus")

    def test_guests_that_fail_and_crash_while_they_boot(self):
        self.lab.configure([{"behaviour": "echo about to fail; agent health 'failed: no zone'\n"},
                            {"behaviour": "echo c >/proc/sysrq-trigger\n"}, {}])
        fails, crashes = self.lab.replica("start", "a", "b", ok=False)["replicas"]
        for piece in ("it says failed: no zone", "last lines", "about to fail"):
            self.assertIn(piece, fails["what"])
        self.assertIn("crashed before it was healthy", crashes["what"])
        self.nothing_is_left()


class Deaths(DomainTest):
    replicas = [{}, {"type": '"pvh"'}, {}]

    def is_seen_dead(self, name, before, detail):
        until(lambda: not self.lab.seat(name)["process"]["running"], "it is seen to be dead")
        self.assertIn(detail, self.lab.seat(name)["process"]["detail"])
        until(lambda: f"domain {before['process']['pid']} " in
              self.lab.log(before["slot"], before["place"]), "the log says so")

    def test_each_end_from_inside_is_told_and_cleaned(self):
        self.lab.replica("start", "--all")
        ends = {"a": ("crash", "crashed"), "b": ("poweroff", "powered off"),
                "c": ("reboot", "rebooted from inside")}
        seats = {name: self.lab.seat(name) for name in ends}
        self.assertEqual(self.lab.replica("clean")["removed"], 0)
        for name, (order, _) in ends.items():
            self.lab.order(seats[name], order)
        for name, (_, detail) in ends.items():
            self.is_seen_dead(name, seats[name], detail)
        until(lambda: not domains.keepers(), "their keepers end")
        self.assertEqual(self.lab.replica("clean")["removed"], 3)
        self.assertEqual(domains.domains(), self.before)
        self.assertEqual(names_below(BACKENDS), [])

    def test_destroyed_by_somebody_else_and_started_anew(self):
        self.lab.replica("start", "a")
        seat = self.lab.seat("a")
        run("xl", "destroy", seat["process"]["pid"])
        self.is_seen_dead("a", seat, "destroyed by somebody else")
        until(lambda: not domains.keepers(), "its keeper ends")
        self.assertEqual(names_below(BACKENDS), [], "the keeper removes them")
        again = self.lab.replica("start", "a")["replicas"][0]
        self.assertNotEqual(again["incarnation"], seat["incarnation"])
        self.assertTrue(self.lab.seat("a")["process"]["running"])
        self.assertEqual(len(domains.domains()) - len(self.before), 1)

    def test_a_flood_on_the_console_is_bounded(self):
        self.lab.replica("start", "a")
        seat = self.lab.seat("a")
        self.lab.order(seat, "flood")
        until(lambda: "all work and no play" in self.lab.log(0, "a"), "the flood is in the log")
        sizes = [file.stat().st_size for file in self.lab.records.glob("g-0-a.log*")]
        self.assertLessEqual(sum(sizes), 2 << 20)


class Kills(DomainTest):
    def is_clean_after(self):
        self.assertFalse(self.lab.seat("a")["process"]["running"])
        self.assertGreaterEqual(self.lab.replica("clean")["removed"], 1)
        self.assertEqual(domains.domains(), self.before)
        self.assertEqual(names_below(BACKENDS), [])

    def test_killed_while_the_domain_is_built(self):
        self.lab.kill_start("a", lambda: domains.domains() != self.before, "Xen has a domain more")
        self.is_clean_after()

    def test_killed_while_it_boots(self):
        self.lab.kill_start("a", domains.keepers, "it has a keeper")
        self.is_clean_after()
        self.lab.replica("start", "a")
        self.assertTrue(self.lab.seat("a")["process"]["running"])

    def test_a_killed_keeper_costs_nothing_but_the_log(self):
        self.lab.replica("start", "a")
        for pid in domains.keepers():
            os.kill(pid, signal.SIGKILL)
        self.assertTrue(self.lab.seat("a")["process"]["running"])
        self.assertEqual(self.lab.replica("clean")["removed"], 0)
        self.lab.replica("stop", "a")
        self.assertEqual(domains.domains(), self.before)

    def test_foreign_domains_are_not_touched(self):
        foreign = self.lab.path / "foreign"
        kernel = self.lab.manifest["kernel"]
        foreign.write_text(f'name = "foreign"\nkernel = "{kernel}"\nmemory = 80\n')
        run("xl", "create", "-p", foreign)
        try:
            with_foreign = domains.domains()
            self.assertEqual(self.lab.replica("clean")["removed"], 0)
            self.lab.replica("start", "a")
            self.lab.replica("stop", "--all")
            self.lab.replica("clean")
            self.assertEqual(domains.domains(), with_foreign)
        finally:
            run("xl", "destroy", "foreign")


if __name__ == "__main__":
    unittest.main()
