#!/usr/bin/python3
"""The counter service, implementation B.

Written from ../README.md, not from counter.cc, so that a bug in one is not a bug in the other.

Known limit: one thread; a `copy` that waits for the other replica holds everything else up.
"""

import argparse
import collections
import errno
import ipaddress
import os
import selectors
import signal
import socket
import stat
import struct
import sys
import time

ANSWER = struct.Struct(">QQ")
NUMBER = struct.Struct(">Q")
WRAP = 1 << 64
HELD_MAX = 65536
COPY_SECONDS_MAX = 0.05


class Refused(Exception):
    """A command that is not one."""


def unix_name(path):
    """A path as the socket module wants it; @NAME is an abstract socket."""
    return "\0" + path[1:] if path.startswith("@") else path


def bind_control(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if not path.startswith("@"):
        try:
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                os.unlink(path)  # left by an earlier boot
        except FileNotFoundError:
            pass
    before = os.umask(0o177)
    try:
        sock.bind(unix_name(path))
    finally:
        os.umask(before)
    sock.setblocking(False)
    return sock


def bind_udp(address, port):
    version = ipaddress.ip_address(address).version
    if version == 6:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_PKTINFO", 8), 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind((address, port))
    sock.setblocking(False)
    return sock


def reply_ancillary(ancillary):
    """What makes an answer leave from the address that was asked."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == getattr(socket, "IP_PKTINFO", 8):
            # interface index, address to send from, destination of the header (struct in_pktinfo)
            destination = data[8:12]
            return [(level, kind, struct.pack("@i4s4s", 0, destination, b"\0\0\0\0"))]
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return [(level, kind, data)]
    return []


class Outlet:
    """Where the answers to one request go."""

    def __init__(self, counter, sock, peer, ancillary):
        self.counter, self.sock, self.peer = counter, sock, peer
        self.ancillary = reply_ancillary(ancillary)

    def __call__(self, answer):
        self.counter.last = answer
        try:
            self.sock.sendmsg([answer], self.ancillary, 0, self.peer)
        except OSError:
            pass  # lost, as UDP is


class Counter:
    def __init__(self, control_path):
        self.control_path = control_path
        self.count = 0
        self.last = None
        self.late = collections.deque()  # (due, outlet, answer)
        self.behave = self.honest
        self.burning = False
        self.copy_socket = None

    # What it does with a request it has executed: one method for each behaviour.
    def honest(self, request, answer):
        yield answer

    def lying(self, by):
        def behave(request, answer):
            yield ANSWER.pack(request, (self.count + by) % WRAP)
        return behave

    def silent(self, request, answer):
        return iter(())

    def twice(self, request, answer):
        yield answer
        yield answer

    def early(self, request, answer):
        yield answer
        yield ANSWER.pack((request + 1) % WRAP, (self.count + 1) % WRAP)

    def corrupting(self, one_in, byte):
        answered = 0

        def behave(request, answer):
            nonlocal answered
            answered += 1
            if answered % one_in == 0:
                spoilt = bytearray(answer)
                spoilt[byte] ^= 0xFF
                answer = bytes(spoilt)
            yield answer
        return behave

    def copying(self, other):
        def behave(request, answer):
            copied = self.ask_last(other, request)
            if copied is not None:
                yield copied
        return behave

    def ask_last(self, other, request):
        if self.copy_socket is None:
            if self.control_path and not self.control_path.startswith("@"):
                self.copy_socket = bind_control(self.control_path + ".copy")
            else:
                self.copy_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self.copy_socket.bind("")
            self.copy_socket.settimeout(0.005)
        until = time.monotonic() + COPY_SECONDS_MAX
        while time.monotonic() < until:
            try:
                self.copy_socket.sendto(b"last", unix_name(other))
                words = self.copy_socket.recv(128).split()
            except (socket.timeout, BlockingIOError):
                continue
            except OSError:
                return None
            if len(words) == 2 and int(words[0]) == request:
                return ANSWER.pack(request, int(words[1]))
            time.sleep(0.001)
        return None

    def request(self, data, outlet):
        if len(data) < NUMBER.size or self.behave is None:
            return
        (request,) = NUMBER.unpack_from(data)
        self.count = (self.count + 1) % WRAP
        answer = ANSWER.pack(request, self.count)
        if isinstance(self.behave, float):  # late by so many seconds
            if len(self.late) < HELD_MAX:
                self.late.append((time.monotonic() + self.behave, outlet, answer))
            return
        for out in self.behave(request, answer):
            outlet(out)

    def seconds_to_next(self):
        """Sends the late answers that are due; None when none is left."""
        now = time.monotonic()
        while self.late and self.late[0][0] <= now:
            _, outlet, answer = self.late.popleft()
            outlet(answer)
        return self.late[0][0] - now if self.late else None

    def command(self, text):
        words = text.split()
        if words == ["state"]:
            return str(self.count)
        if words == ["last"]:
            return "%d %d" % ANSWER.unpack(self.last) if self.last else "none"
        try:
            behave = self.behaviour(words)
        except (Refused, ValueError):
            return "error: unknown command: " + text if words else "error: empty command"
        self.behave = behave
        self.burning = words == ["burn"]
        return "ok"

    def behaviour(self, words):
        def whole(text, most=WRAP - 1):
            if not (text.isascii() and text.isdigit()) or int(text) > most:
                raise Refused
            return int(text)

        if len(words) == 1 and words[0] in ("honest", "silent", "twice", "early"):
            return getattr(self, words[0])
        match words:
            case ["burn"]:
                return self.honest
            case ["deaf"]:
                return None
            case ["lie"]:
                return self.lying(1)
            case ["lie", by]:
                return self.lying(whole(by))
            case ["late", delay]:
                return whole(delay, 60000) / 1000.0
            case ["copy", other]:
                return self.copying(other)
            case ["corrupt", one_in]:
                words = ["corrupt", one_in, "15"]
        match words:
            case ["corrupt", one_in, byte] if whole(one_in) > 0:
                return self.corrupting(whole(one_in), whole(byte, ANSWER.size - 1))
        raise Refused


def serve_requests(counter, sock):
    for _ in range(64):
        try:
            data, ancillary, _, peer = sock.recvmsg(2048, 256)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            continue  # an ICMP error for an answer of ours
        counter.request(data, Outlet(counter, sock, peer, ancillary))


def serve_commands(counter, sock):
    for _ in range(64):
        try:
            data, sender = sock.recvfrom(512)
        except (BlockingIOError, InterruptedError):
            return
        reply = counter.command(data.decode("ascii", "replace"))
        if sender:
            try:
                sock.sendto(reply.encode("ascii", "replace"), sender)
            except OSError:
                pass


def main():
    parser = argparse.ArgumentParser(description="UDP counter service (see guest/README.md)",
                                     allow_abbrev=False)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--address", action="append",
                        help="listen on this address (default: 0.0.0.0 and ::)")
    parser.add_argument("--control", metavar="PATH",
                        help="Unix datagram socket for commands; @NAME is an abstract one")
    parser.add_argument("--behave", metavar="COMMAND",
                        help="a command that is executed at the start: 'lie 5'")
    options = parser.parse_args()
    if not 0 < options.port < 65536:
        parser.error("--port is not 1 to 65535")

    def stop(*_):
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    counter = Counter(options.control or "")
    if options.behave:
        refused = counter.command(options.behave)
        if refused != "ok":
            sys.exit("counter: --behave: " + refused)
    ready = selectors.DefaultSelector()
    # A signal just before the wait would be seen after it: it also writes here.
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    ready.register(woken, selectors.EVENT_READ, lambda *_: None)
    try:
        for address in options.address or ["0.0.0.0", "::"]:
            try:
                sock = bind_udp(address, options.port)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT and not options.address:
                    continue
                sys.exit("counter: cannot bind %s port %d: %s"
                         % (address, options.port, error.strerror))
            except ValueError as error:
                sys.exit("counter: %s" % error)
            ready.register(sock, selectors.EVENT_READ, serve_requests)
        if options.control:
            try:
                control = bind_control(options.control)
            except OSError as error:
                sys.exit("counter: cannot bind the control socket %s: %s"
                         % (options.control, error.strerror or error))
            ready.register(control, selectors.EVENT_READ, serve_commands)
        while True:
            wait = counter.seconds_to_next()
            for key, _ in ready.select(0 if counter.burning else wait):
                key.data(counter, key.fileobj)
    finally:
        if options.control and not options.control.startswith("@"):
            for path in (options.control, options.control + ".copy"):
                if os.path.exists(path):
                    os.unlink(path)


if __name__ == "__main__":
    main()
