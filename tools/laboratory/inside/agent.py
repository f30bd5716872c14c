#!/usr/bin/python3
"""The lab's agent in Dom0: runs jobs for whoever is connected to one of its ports.

Each virtio-serial port named quorate.lab.N is served by a process of its own, one conversation after
the other. A conversation starts with MAGIC and goes on in frames of one letter, a 32-bit length (big
endian) and so many bytes:

    from the host   H hello (JSON: nonce, clock, entropy, mount)  J job (JSON)  I input, empty at its end
                    K signal number  W window size (JSON)  G paths to fetch (JSON)
                    F part of a tar file for the tree, empty at its end  P ping
    to the host     R ready (JSON)  O output  E errors  A bytes of input taken  X ended (JSON)
                    T part of a tar file, empty at its end  D done (JSON)  P pong

The host keeps little input outstanding (A says how much was taken), so nothing here grows.

When a job has ended, or the host has gone, what is left of the job is killed (unless it says "leave").
Known limit: only its own process group; what moved into another session stays until the machine
goes.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

MAGIC = b"quorate-lab-1\n"
FRAME_BYTES_MAX = 1 << 20
OUTPUT_BYTES = 16384
TREE = "/quorate"
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207  # linux/random.h


class HostGone(Exception):
    """Nobody is at the other end any more, or what comes from there makes no sense."""


class Port:
    def __init__(self, path):
        self.file = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.buffer = b""
        # The kernel sends SIGIO when the host comes and goes; poll() has no event for its coming.
        fcntl.fcntl(self.file, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self.file, fcntl.F_SETFL, fcntl.fcntl(self.file, fcntl.F_GETFL) | os.O_ASYNC)

    def events(self, wanted, timeout_ms=0):
        poller = select.poll()
        poller.register(self.file, wanted)
        found = poller.poll(timeout_ms)
        return found[0][1] if found else 0

    def wait_for_host(self):
        while self.events(0) & select.POLLHUP:
            signal.sigtimedwait([signal.SIGIO], 2.0)

    def fill(self):
        """Takes what is there; False if that was nothing."""
        try:
            data = os.read(self.file, 65536)
        except BlockingIOError:
            return False
        if not data:
            raise HostGone
        self.buffer += data
        return True

    def greeted(self):
        """Reads up to the end of the next MAGIC."""
        while MAGIC not in self.buffer:
            self.buffer = self.buffer[-len(MAGIC):]
            if self.events(select.POLLIN, 1000) & select.POLLHUP:
                raise HostGone
            self.fill_if_ready()
        self.buffer = self.buffer.split(MAGIC, 1)[1]

    def fill_if_ready(self):
        if self.events(select.POLLIN) & select.POLLIN:
            self.fill()

    def frame(self):
        """The next whole frame that has arrived, (letter, bytes), or None."""
        if self.buffer[:1] == MAGIC[:1]:  # somebody else: the host before went without our noticing
            raise HostGone
        if len(self.buffer) < 5:
            return None
        kind, length = struct.unpack(">cI", self.buffer[:5])
        if length > FRAME_BYTES_MAX:
            raise HostGone
        if len(self.buffer) < 5 + length:
            return None
        payload = self.buffer[5:5 + length]
        self.buffer = self.buffer[5 + length:]
        return kind.decode("latin-1"), payload

    def next_frame(self):
        while True:
            frame = self.frame()
            if frame:
                return frame
            if self.events(select.POLLIN, 1000) & select.POLLHUP:
                raise HostGone
            self.fill_if_ready()

    def send(self, kind, payload=b""):
        self.send_bytes(struct.pack(">cI", kind.encode(), len(payload)) + payload)

    def send_bytes(self, data):
        view = memoryview(data)
        while view:
            events = self.events(select.POLLOUT, 1000)
            if events & select.POLLHUP:
                raise HostGone
            if events & select.POLLOUT:
                with contextlib.suppress(BlockingIOError):
                    view = view[os.write(self.file, view[:32768]):]


# --- what a conversation starts with

def settle(hello):
    """After a restore the clock is the snapshot's and so is the state of the random generator."""
    time.clock_settime_ns(time.CLOCK_REALTIME, hello["clock_ns"])
    entropy = bytes.fromhex(hello["entropy"])
    pool = struct.pack("ii", len(entropy) * 8, len(entropy)) + entropy
    with open("/dev/urandom", "wb") as device:
        fcntl.ioctl(device, RNDADDENTROPY, pool)
        fcntl.ioctl(device, RNDRESEEDCRNG)


def mount_tree(device):
    """The project's tree, once; its disk is not opened before."""
    if not os.path.ismount(TREE):
        os.makedirs(TREE, exist_ok=True)
        subprocess.run(["mount", "-t", "ext4", "-o", "noatime", device, TREE], check=True,
                       capture_output=True, timeout=120)


# --- jobs

class Job:
    def __init__(self, wanted):
        self.terminal = None
        self.sources = {}  # descriptor -> letter
        self.input = None
        environment = {**os.environ, **wanted.get("environment", {})}
        options = {"env": environment, "cwd": wanted.get("directory") or "/",
                   "start_new_session": True, "preexec_fn": self.begin}
        if wanted.get("terminal"):
            self.terminal, slave = pty.openpty()
            self.resize(wanted["terminal"])
            try:
                self.process = subprocess.Popen(wanted["argv"], stdin=slave, stdout=slave,
                                                stderr=slave, **options)
            except OSError:
                os.close(self.terminal)
                raise
            finally:
                os.close(slave)
            self.sources = {self.terminal: "O"}
            self.input = self.terminal
        else:
            self.process = subprocess.Popen(wanted["argv"], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                            bufsize=0, **options)
            self.sources = {self.process.stdout.fileno(): "O", self.process.stderr.fileno(): "E"}
            self.input = self.process.stdin.fileno()
        self.waiting = b""  # input that the job has not taken yet
        self.taken = 0     # bytes of input that went since the host was told
        self.input_ended = False
        if self.input is not None:
            os.set_blocking(self.input, False)

    def begin(self):
        """In the new process."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGIO])
        if self.terminal is not None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, size):
        if self.terminal is not None:
            fcntl.ioctl(self.terminal, termios.TIOCSWINSZ,
                        struct.pack("HHHH", size.get("rows", 24), size.get("columns", 80), 0, 0))

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def feed(self, data):
        if data:
            self.waiting += data
        else:
            self.input_ended = True
        self.push()

    def push(self):
        if self.input is None:
            return
        try:
            while self.waiting:
                count = os.write(self.input, self.waiting)
                self.waiting = self.waiting[count:]
                self.taken += count
        except BlockingIOError:
            return
        except OSError:  # the job does not read any more
            self.taken += len(self.waiting)
            self.waiting = b""
            self.input_ended = self.input_ended or self.terminal is None
        if self.input_ended and self.terminal is None:
            self.process.stdin.close()
            self.input = None

    def close(self):
        self.process.wait()
        if self.terminal is not None:
            os.close(self.terminal)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()


def run_job(port, wanted):
    try:
        job = Job(wanted)
    except OSError as error:
        port.send("E", f"{error.filename or wanted['argv'][0]}: {error.strerror}\n".encode())
        port.send("X", json.dumps({"code": 127 if isinstance(error, FileNotFoundError) else 126})
                  .encode())
        return
    try:
        pump(port, job)
        code = job.process.wait()
        if not wanted.get("leave"):
            job.signal(signal.SIGKILL)  # what it left in its process group
        port.send("X", json.dumps({"code": code if code >= 0 else 128 - code}).encode())
    except HostGone:
        job.signal(signal.SIGKILL)
        raise
    finally:
        job.close()


def pump(port, job):
    """Until the job has ended and its output was read; descendants that keep it open get 0.2 s."""
    ended_at = None
    while True:
        poller = select.poll()
        poller.register(port.file, select.POLLIN)
        for source in job.sources:
            poller.register(source, select.POLLIN)
        if job.waiting and job.input is not None and job.input not in job.sources:
            poller.register(job.input, select.POLLOUT)
        ready = dict(poller.poll(100))
        if ready.get(port.file, 0) & select.POLLHUP:
            raise HostGone
        if ready.get(port.file, 0) & select.POLLIN:
            port.fill()
        obey(port, job)
        job.push()
        if job.taken:
            port.send("A", str(job.taken).encode())
            job.taken = 0
        for source in [source for source in ready if source in job.sources]:
            try:
                data = os.read(source, OUTPUT_BYTES)
            except OSError:  # a terminal whose last user has gone
                data = b""
            if data:
                port.send(job.sources[source], data)
            else:
                del job.sources[source]
        if job.process.poll() is not None:
            ended_at = ended_at or time.monotonic()
            if not job.sources or (not ready and time.monotonic() > ended_at + 0.2):
                return


def obey(port, job):
    while True:
        frame = port.frame()
        if frame is None:
            return
        kind, payload = frame
        if kind == "I":
            job.feed(payload)
        elif kind == "K":
            job.signal(int(payload))
        elif kind == "W":
            job.resize(json.loads(payload))
        elif kind == "P":
            port.send("P")


# --- files

def send_files(port, paths):
    """A tar file of the paths; one that is not there is said, the others come."""
    there = [path for path in paths if os.path.lexists(path)]
    missing = [path for path in paths if path not in there]
    trouble = ""
    if there:
        tar = subprocess.Popen(["tar", "-c", "-f", "-", "--sparse", "-C", "/", "--", *there],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
        try:
            while data := tar.stdout.read(65536):
                port.send("T", data)
        except HostGone:
            tar.kill()
            raise
        finally:
            trouble = tar.stderr.read().decode(errors="replace")
            tar.wait()
        trouble = trouble if tar.returncode else ""
    port.send("T")
    port.send("D", json.dumps({"missing": missing, "trouble": trouble}).encode())


def take_files(port, first):
    """Parts of a tar file into the tree, up to an empty one."""
    tar = subprocess.Popen(["tar", "-x", "-f", "-", "-C", TREE, "--unlink-first"],
                           stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    data = first
    try:
        while data:
            with contextlib.suppress(BrokenPipeError):
                tar.stdin.write(data)
            kind, data = port.next_frame()
            if kind != "F":
                raise HostGone
    except HostGone:
        tar.kill()
        raise
    finally:
        _, errors = tar.communicate()
    port.send("D", json.dumps({"trouble": errors.decode(errors="replace") if tar.returncode else ""})
              .encode())


# --- conversations

def converse(port):
    port.greeted()
    kind, payload = port.next_frame()
    if kind != "H":
        raise HostGone
    hello = json.loads(payload)
    trouble = ""
    try:
        settle(hello)
        if hello.get("tree"):
            mount_tree(hello["tree"])
    except (OSError, subprocess.SubprocessError) as error:
        trouble = f"{error} {getattr(error, 'stderr', '') or ''}"
    port.send_bytes(MAGIC + hello["nonce"].encode())
    port.send("R", json.dumps({"trouble": trouble}).encode())
    while True:
        kind, payload = port.next_frame()
        if kind == "J":
            run_job(port, json.loads(payload))
        elif kind == "G":
            send_files(port, json.loads(payload))
        elif kind == "F":
            take_files(port, payload)
        elif kind == "P":
            port.send("P")


def serve(path):
    """The port is never closed: the kernel would throw away what the next host has said already."""
    port = Port(path)
    while True:
        try:
            port.wait_for_host()
            converse(port)
        except HostGone:
            pass
        except Exception as error:  # this conversation went wrong; the next one may go better
            print(f"lab: agent: {type(error).__name__}: {error}", flush=True)


def ports():
    found = []
    for directory in pathlib.Path("/sys/class/virtio-ports").glob("*"):
        if (directory / "name").read_text().startswith("quorate.lab."):
            found.append(f"/dev/{directory.name}")
    return sorted(found)


def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
    deadline = time.monotonic() + 30
    while not ports() and time.monotonic() < deadline:
        time.sleep(0.1)
    children = {}
    for path in ports():
        child = os.fork()
        if child == 0:
            os.setsid()
            serve(path)
        children[child] = path
    if not children:
        sys.exit("lab: there are no ports to the host")
    os.wait()  # none of them ends by itself: process 1 starts all of us again
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main()
