"""A client of the counter service (guest/README.md) that checks what it is told.

Each request has a number of its own. However requests are lost on the way, four things must hold for
every answer: no count is told to two requests, none is told for another one later, none is higher than
the number of requests sent so far, and each is higher than all that had been told before its request
was sent. Of requests under way at once, one may overtake another (UDP; a veth queues by processor, and
packets that wait for a link address are passed by the first that needs not wait).

Known limit: one client. With several, only uniqueness can be said of the counts.
"""

import select
import struct
import time


class Client:
    def __init__(self, connection, server):
        self.connection, self.server = connection, server
        self.connection.setblocking(False)
        self.sent = 0            # requests so far; the next has number sent + 1
        self.counts = {}         # number -> count told
        self.numbers = {}        # count -> number it was told to
        self.floors = {}         # number -> the highest count told before it was sent
        self.highest = 0         # count told so far
        self.wrong = []          # everything that contradicts the service's promise; empty is good
        self.latencies = []
        self.unasked = 0

    def ask(self, total, window=16, timeout=1.0, pace=None):
        """Sends `total` more and waits for their answers; returns how many were answered."""
        flying, done, last = {}, 0, self.sent + total
        while self.sent < last or flying:
            while self.sent < last and len(flying) < window:
                try:
                    self.connection.sendto(struct.pack("!Q", self.sent + 1), self.server)
                except BlockingIOError:
                    break
                self.sent += 1
                self.floors[self.sent] = self.highest
                flying[self.sent] = time.monotonic()
                if pace:
                    pace(self.sent)
            select.select([self.connection], [], [], 0.02)
            done += self._receive(flying)
            now = time.monotonic()
            for number in [number for number, when in flying.items() if now - when > timeout]:
                del flying[number]
        return done

    def _receive(self, flying):
        done = 0
        while True:
            try:
                reply, _ = self.connection.recvfrom(2048)
            except BlockingIOError:
                return done
            except ConnectionRefusedError:  # an ICMP error: nobody answers for it
                continue
            if len(reply) != 16:
                self.wrong.append(f"a reply of {len(reply)} bytes")
                continue
            number, count = struct.unpack("!QQ", reply)
            self._check(number, count)
            if number in flying:
                self.latencies.append(time.monotonic() - flying.pop(number))
                done += 1
            else:
                self.unasked += 1

    def _check(self, number, count):
        if not 1 <= number <= self.sent or not 1 <= count <= self.sent:
            self.wrong.append(f"{number}: count {count} after {self.sent} requests")
            return
        if self.counts.setdefault(number, count) != count:
            self.wrong.append(f"{number}: told {self.counts[number]}, then {count}")
        if self.numbers.setdefault(count, number) != number:
            self.wrong.append(f"{count} was told to {self.numbers[count]}, then to {number}")
        if count <= self.floors[number]:
            self.wrong.append(f"{number}: told {count}, and {self.floors[number]} was told before")
        self.highest = max(self.highest, count)

    def percentile(self, share):
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
