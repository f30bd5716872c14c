"""The harness itself: what it promises the other system tests."""

import os
import signal
import socket
import subprocess
import unittest

import harness

harness.enter()


class Harness(unittest.TestCase):
    def test_the_machine_is_out_of_reach(self):
        self.assertNotIn("eth0", harness.interfaces())
        self.assertLess(os.getpid(), 50)
        self.assertEqual(os.listdir("/run"), [])

    def test_two_namespaces_speak_with_whole_checksums(self):
        with harness.Lab() as lab:
            server = lab.namespace("server")
            client = lab.namespace("client")
            lab.link(client, ["10.53.0.2/24", "fd53::2/64"], outer="eth0", other=server)
            server.run(["ip", "address", "add", "10.53.0.53/24", "dev", "eth0"])
            there = server.socket()
            there.bind(("10.53.0.53", 53))
            there.settimeout(5)
            here = client.socket()
            here.settimeout(5)
            here.sendto(b"question", ("10.53.0.53", 53))
            data, sender = there.recvfrom(100)
            self.assertEqual((data, sender[0]), (b"question", "10.53.0.2"))
            there.sendto(b"answer", sender)
            self.assertEqual(here.recv(100), b"answer")
            offload = client.run(["ethtool", "-k", "eth0"]).stdout
            self.assertIn("tx-checksumming: off", offload)
            with server.socket(socket.AF_PACKET, socket.SOCK_RAW):
                pass
            for one in (here, there):
                one.close()

    def test_a_program_left_running_is_noticed(self):
        with self.assertRaisesRegex(AssertionError, "left behind.*process.*tail"):
            with harness.Lab(cleanup_s=0.2) as lab:
                # The lab does not know this one.
                lab.run(["sh", "-c", "tail -f /dev/null >/dev/null 2>&1 &"])

    def test_an_interface_left_is_noticed(self):
        with self.assertRaisesRegex(AssertionError, "interface left0"):
            with harness.Lab(cleanup_s=0.2) as lab:
                lab.run("ip link add left0 type veth peer name left1".split())
        subprocess.run(["ip", "link", "del", "left0"], check=True)

    def test_programs_are_logged_and_end(self):
        with harness.Lab() as lab:
            program = lab.start(["sh", "-c", "echo hello; exec tail -f /dev/null"], "greeter")
            harness.wait_until(lambda: "hello" in program.tail(), 5, "its greeting")
            self.assertTrue(program.alive())
            self.assertEqual(program.stop(), -signal.SIGTERM)

    def test_waiting_ends_and_says_for_what(self):
        with self.assertRaisesRegex(AssertionError, "a miracle"):
            harness.wait_until(lambda: False, 0.1, "a miracle")
