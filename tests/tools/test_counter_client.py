"""What the counter's client takes for right and for wrong, against services that say so."""

import contextlib
import pathlib
import socket
import struct
import sys
import threading
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "netns"))

import counter  # noqa: E402 (its place is tests/netns)


class Client(unittest.TestCase):
    def asked(self, answers, total, window):
        """The client after its requests, each `window` of which got `answers(numbers)`: (number, count)s."""
        with contextlib.ExitStack() as stack:
            service, own = (stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                            for _ in range(2))
            service.bind(("127.0.0.1", 0))
            service.settimeout(5)

            def serve():
                for first in range(1, total + 1, window):
                    for _ in range(window):
                        _, peer = service.recvfrom(64)
                    for number, count in answers(range(first, first + window)):
                        service.sendto(struct.pack("!QQ", number, count), peer)

            thread = threading.Thread(target=serve)
            thread.start()
            client = counter.Client(own, service.getsockname())
            for _ in range(0, total, window):
                client.ask(window, window=window, timeout=0.3)
            thread.join()
            return client

    def test_in_order(self):
        client = self.asked(lambda numbers: [(number, number) for number in numbers], 12, 4)
        self.assertEqual((client.wrong, client.highest, len(client.counts)), ([], 12, 12))

    def test_what_is_under_way_at_once_may_overtake(self):
        client = self.asked(lambda numbers: zip(numbers, reversed(numbers)), 12, 4)
        self.assertEqual((client.wrong, client.highest, len(client.counts)), ([], 12, 12))

    def test_what_is_wrong(self):
        for name, answers, said in (
                ("told again", lambda numbers: [(number, 1) for number in numbers],
                 "1 was told to 1, then to 2"),
                ("another one later", lambda numbers: [(numbers[0], 1), (numbers[0], 2)],
                 "1: told 1, then 2"),
                ("forgotten", lambda numbers: [(number, number - numbers[0] + 1) for number in numbers],
                 "3: told 1, and 2 was told before"),
                ("too high", lambda numbers: [(number, number + 7) for number in numbers],
                 "1: count 8 after 2 requests"),
                ("never asked", lambda numbers: [(number + 7, number) for number in numbers],
                 "8: count 1 after 2 requests")):
            with self.subTest(name):
                self.assertIn(said, self.asked(answers, 4, 2).wrong)


if __name__ == "__main__":
    unittest.main()
