"""A client of the counter service (guest/README.md) that checks what it is told.

Each request has a number of its own, sent in ascending order. However requests are lost on the way,
three things must hold for every answer: the counts rise with the numbers, none is told twice, and
none is higher than the number of requests sent so far. Where nothing was lost, the counts are exact.

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
        self.contradictions = []
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
                self.contradictions.append(f"a reply of {len(reply)} bytes")
                continue
            number, count = struct.unpack("!QQ", reply)
            if self.counts.get(number, count) != count:
                self.contradictions.append(f"{number}: told {self.counts[number]}, then {count}")
            if not 1 <= number <= self.sent or not 1 <= count <= self.sent:
                self.contradictions.append(f"{number}: count {count} after {self.sent} requests")
            self.counts[number] = count
            if number in flying:
                self.latencies.append(time.monotonic() - flying.pop(number))
                done += 1
            else:
                self.unasked += 1

    def wrong(self):
        """Everything that contradicts the service's promise; empty is good."""
        out = list(self.contradictions)
        last_number, last_count = 0, 0
        for number in sorted(self.counts):
            if self.counts[number] <= last_count:
                out.append(f"{last_number} was told {last_count}, and {number} {self.counts[number]}")
            last_number, last_count = number, self.counts[number]
        return out

    def percentile(self, share):
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
