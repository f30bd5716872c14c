"""One conversation with the agent in Dom0 (inside/agent.py says the protocol).

Every wait looks at the machine as well: when QEMU, Xen or Dom0 is gone, or Dom0 says nothing for a
while, that is a Failure with the console's end, never a hang.
"""

import contextlib
import json
import os
import select
import signal
import struct
import time

import qmp
from store import Failure
import machine as machines

MAGIC = b"quorate-lab-1\n"
FRAME_BYTES_MAX = 1 << 20
INPUT_OUTSTANDING_MAX = 65536
PART_BYTES = 65536
PING_AFTER_S = 5
SILENCE_MAX_S = 120  # emulated, beside others, and perhaps swapping: generous
KILL_GRACE_S = 5
HELLO_AGAIN_S = 20


class Channel:
    def __init__(self, machine, port=0):
        self.machine = machine
        self.port = port
        self._connect()

    def _connect(self):
        self.connection = machines.eventually(
            lambda: qmp.connect_in(self.machine.directory, f"port{self.port}"),
            self.machine.trouble, 30, f"port {self.port} of the machine")
        self.connection.setblocking(False)
        self.buffer = b""
        self.heard = time.monotonic()

    def close(self):
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- frames

    def _wait(self, reading=(), writing=(), timeout_s=0.5):
        """One select(); raises where the machine has no more to say."""
        ready = select.select([self.connection, *reading], writing, [], timeout_s)
        if self.connection not in ready[0]:
            self._check()
        return ready

    def _check(self):
        trouble = self.machine.trouble()
        if trouble:
            raise Failure(trouble)

    def _fill(self):
        try:
            data = self.connection.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            end = time.monotonic() + 5
            while time.monotonic() < end:  # QEMU closes its sockets before it has ended
                self._check()
                time.sleep(0.05)  # pause: between two looks, until the deadline
            raise Failure("QEMU closed the port, but runs\nthe console's end:\n"
                          + machines.console_tail(self.machine.directory))
        self.buffer += data
        self.heard = time.monotonic()

    def _send_bytes(self, data):
        view = memoryview(data)
        while view:
            self._alive()
            if select.select([], [self.connection], [], 0.5)[1]:
                try:
                    view = view[self.connection.send(view):]
                except BlockingIOError:
                    pass
                except OSError:
                    self._fill()
            else:
                self._check()

    def _alive(self):
        if time.monotonic() - self.heard > SILENCE_MAX_S:
            raise Failure(f"Dom0 has said nothing for {SILENCE_MAX_S} s\nthe console's end:\n"
                          + machines.console_tail(self.machine.directory))

    def send(self, kind, payload=b""):
        self._send_bytes(struct.pack(">cI", kind.encode(), len(payload)) + payload)

    def _frame(self):
        if len(self.buffer) < 5:
            return None
        kind, length = struct.unpack(">cI", self.buffer[:5])
        if length > FRAME_BYTES_MAX:
            raise Failure("what Dom0's agent says makes no sense")
        if len(self.buffer) < 5 + length:
            return None
        payload, self.buffer = self.buffer[5:5 + length], self.buffer[5 + length:]
        return kind.decode("latin-1"), payload

    def _next_frame(self):
        while True:
            frame = self._frame()
            if frame:
                return frame
            self._alive()
            if self.connection in self._wait()[0]:
                self._fill()

    # --- what there is to say

    def hello(self, tree=None, deadline_s=60):
        """Starts the conversation: clock and randomness are set, the tree is mounted."""
        end = time.monotonic() + deadline_s
        while not self._greet(tree, min(end, time.monotonic() + HELLO_AGAIN_S)):
            if time.monotonic() > end:
                raise Failure(f"Dom0's agent does not answer within {deadline_s} s\nthe console's "
                              f"end:\n{machines.console_tail(self.machine.directory)}")
            # It may have been in the middle of a frame of whoever was here before us.
            self.connection.close()
            self._connect()
        answer = json.loads(self._next_frame()[1])
        if answer["trouble"]:
            raise Failure(f"Dom0: {answer['trouble']}")

    def _greet(self, tree, end):
        nonce = os.urandom(8).hex()
        words = {"nonce": nonce, "clock_ns": time.time_ns(), "entropy": os.urandom(64).hex(),
                 "tree": tree}
        text = json.dumps(words).encode()
        self._send_bytes(MAGIC + struct.pack(">cI", b"H", len(text)) + text)
        greeting = MAGIC + nonce.encode()
        while greeting not in self.buffer:
            self.heard = time.monotonic()
            if self.heard > end:
                return False
            self.buffer = self.buffer[-len(greeting):]
            if self.connection in self._wait()[0]:
                self._fill()
        self.buffer = self.buffer.split(greeting, 1)[1]
        return True

    def run(self, wanted, on_output, source=None, timeout_s=None):
        """Runs a job; returns (exit code, whether its time was over). `on_output(letter, bytes)` gets
        its output as it comes; its input is read from the descriptor `source`."""
        self.send("J", json.dumps(wanted).encode())
        if source is None:
            self.send("I")
        outstanding = 0
        begin = pinged = time.monotonic()
        stages = [(signal.SIGTERM, timeout_s), (signal.SIGKILL, (timeout_s or 0) + KILL_GRACE_S)]
        overdue = False
        while True:
            while frame := self._frame():
                kind, payload = frame
                if kind in "OE":
                    on_output(kind, payload)
                elif kind == "A":
                    outstanding -= int(payload)
                elif kind == "X":
                    return json.loads(payload)["code"], overdue
            now = time.monotonic()
            self._alive()
            if now - max(self.heard, pinged) > PING_AFTER_S:
                self.send("P")
                pinged = now
            if timeout_s is not None and stages and now - begin > stages[0][1]:
                overdue = True
                self.send("K", str(int(stages.pop(0)[0])).encode())
            reading = [source] if source is not None and outstanding < INPUT_OUTSTANDING_MAX else []
            ready = self._wait(reading)[0]
            if self.connection in ready:
                self._fill()
            if reading and source in ready:
                data = os.read(source, 16384)
                outstanding += len(data)
                self.send("I", data)
                if not data:
                    source = None

    def resize(self, rows, columns):
        self.send("W", json.dumps({"rows": rows, "columns": columns}).encode())

    def fetch(self, paths, file):
        """Writes a tar file of these paths of Dom0; returns the paths that are not there."""
        self.send("G", json.dumps(list(paths)).encode())
        while True:
            kind, payload = self._next_frame()
            if kind == "T":
                file.write(payload)
            elif kind == "D":
                answer = json.loads(payload)
                if answer["trouble"]:
                    raise Failure(f"Dom0: tar: {answer['trouble']}")
                return answer["missing"]

    def put(self, file):
        """Unpacks a tar file over the tree."""
        while data := file.read(PART_BYTES):
            self.send("F", data)
        self.send("F")
        while True:
            kind, payload = self._next_frame()
            if kind == "D":
                trouble = json.loads(payload)["trouble"]
                if trouble:
                    raise Failure(f"Dom0: tar: {trouble}")
                return
