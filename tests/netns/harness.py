"""The house of the system tests and of the demo: namespaces, programs, waiting, and nothing left.

A test file starts with `harness.enter()`. That runs the same command again inside fresh network,
mount and process namespaces (of a user namespace, where we are not root), so that nothing here can
touch the machine: interfaces, /run and processes are private, and whatever should escape cleanup
dies with the namespaces. A `Lab` then makes clients, starts programs with their output in files,
and its end asserts that every process and interface it caused is gone.

                 the outer namespace (quorate-proxy, quorate)
    client namespace                                   replica namespaces (made by quorate)
       eth0 10.53.0.2 ---- qc0 [proxy] ...veth... eth0 of each replica

Nothing sleeps for luck: `wait_until` looks at a condition until a deadline. Known limit: everything
shares the machine's processors, so deadlines are generous and figures are for ratios.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("QUORATE_BUILD", TOP / "build" / "release")).resolve()
CLONE_NEWNET = 0x40000000
INSIDE = "QUORATE_LAB"  # set in the environment inside the namespaces

libc = ctypes.CDLL(None, use_errno=True)


# --- getting in -------------------------------------------------------------------------------

def can_enter(rootless=False):
    """None, or why namespaces cannot be made here."""
    result = subprocess.run([*_unshare(rootless), "true"], capture_output=True, text=True,
                            check=False)
    return None if result.returncode == 0 else result.stderr.strip() or "unshare failed"


def _unshare(rootless):
    user = ["--user", "--map-root-user"] if rootless or os.getuid() != 0 else []
    return ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child",
            "--mount-proc"]


def server_path():
    """PATH with the fetched servers and our own programs in front."""
    env = subprocess.run([TOP / "tools" / "servers", "env"], check=True, capture_output=True,
                         text=True).stdout
    cache = env.split('"')[1].split(":")[0]
    ours = [BUILD / "tools" / "quorate", BUILD / "proxy", BUILD / "guest", TOP / "guest" / "counter"]
    return ":".join([*map(str, ours), cache, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"])


def enter(servers=(), rootless=False):
    """Runs this same program inside namespaces of its own; returns only there. Raises SkipTest
    where the machine does not let us. `servers` are fetched first: inside there is no network."""
    if os.environ.get(INSIDE):
        return
    why = can_enter(rootless)
    if why:
        raise unittest.SkipTest(f"no namespaces here: {why}")
    if servers:
        subprocess.run([TOP / "tools" / "servers", "fetch", *servers], check=True)
    environment = {**os.environ, INSIDE: "rootless" if rootless or os.getuid() else "root",
                   "PATH": server_path()}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe("unshare", [*_unshare(rootless), sys.executable, str(pathlib.Path(__file__)),
                           "--init", sys.executable, *sys.argv], environment)


def _init(argv):
    """Process 1 of the namespaces: a private /run, lo up, orphans reaped, the program's status."""
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    _sysctl("net/ipv6/conf/default/disable_ipv6", 1)  # our veths speak only when told to
    _sysctl("net/ipv6/conf/all/accept_ra", 0)
    child = os.fork()
    if child == 0:
        os.execv(argv[0], argv)

    def pass_on(number, _):
        with contextlib.suppress(ProcessLookupError):  # it had the same signal, and was faster
            os.kill(child, number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    while True:
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        if pid == child:
            # Leaving ends every process of these namespaces.
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _sysctl(name, value):
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/sys", name).write_text(f"{value}\n")


# --- waiting ----------------------------------------------------------------------------------

def wait_until(condition, deadline_s, what, pause_s=0.02):
    """Returns the first true value of condition(); fails, saying `what` and the last error, when
    the deadline has passed."""
    end = time.monotonic() + deadline_s
    trouble = None
    while True:
        try:
            value = condition()
            if value:
                return value
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            trouble = error
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what}"
                                 + (f" ({trouble})" if trouble else ""))
        time.sleep(pause_s)  # pause: between two looks, until the deadline


# --- programs ---------------------------------------------------------------------------------

class Program:
    """A process we started, with its output in a file."""

    def __init__(self, argv, log, environment=None, cwd=None):
        self.argv = [str(word) for word in argv]
        self.log = pathlib.Path(log)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, **(environment or {})}, cwd=cwd, start_new_session=True)
        self.pid = self.process.pid

    def alive(self):
        return self.process.poll() is None

    def send_signal(self, number):
        self.process.send_signal(number)

    def stop(self, deadline_s=10, number=signal.SIGTERM):
        """Asks it to end, insists after the deadline; returns its exit status. One that had to be
        killed is a failure of the program, reported as such."""
        if self.alive():
            self.send_signal(signal.SIGCONT)
            self.send_signal(number)
            try:
                return self.process.wait(deadline_s)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"{self.argv[0]} did not end within {deadline_s} s "
                                     f"of signal {number}") from None
        return self.process.wait()

    def kill(self):
        if self.alive():
            self.send_signal(signal.SIGKILL)
        return self.process.wait()

    def tail(self, lines=15):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Namespace:
    """A network namespace, held by a process that ends when we do."""

    def __init__(self, lab, name):
        self.lab = lab
        self.name = name
        # The holder reads from a pipe of ours: it goes when we are gone, however that happens.
        self.holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE,
                                       stdout=subprocess.DEVNULL)
        self.pid = self.holder.pid
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{self.pid}/ns/net") != own, 5, "a namespace")
        self.run(["ip", "link", "set", "lo", "up"])

    def _inside(self, argv):
        return ["nsenter", "-t", str(self.pid), "-n", "--", *(str(word) for word in argv)]

    def run(self, argv, timeout=60, check=True, **options):
        """Runs to its end; the CompletedProcess with text output."""
        result = subprocess.run(self._inside(argv), capture_output=True, text=True,
                                timeout=timeout, check=False, **options)
        if check and result.returncode != 0:
            raise AssertionError(f"{self.name}: {' '.join(map(str, argv))}: exit "
                                 f"{result.returncode}\n{result.stdout[-800:]}{result.stderr[-800:]}")
        return result

    def start(self, argv, name, **options):
        """Starts in the background; ends with the lab."""
        return self.lab.start(self._inside(argv), name, **options)

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_DGRAM, protocol=0):
        """A socket that lives in this namespace, usable from here."""
        made = []

        def make():  # setns moves only the calling thread: one of its own, thrown away
            with open(f"/proc/{self.pid}/ns/net", "rb") as there:
                if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
                    made.append(OSError(ctypes.get_errno(), "setns"))
                    return
            try:
                made.append(socket.socket(family, kind, protocol))
            except OSError as error:
                made.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        return made[0]

    def packet_socket(self, interface="eth0"):
        """Whole Ethernet frames, to send what no kernel would."""
        made = self.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        made.bind((interface, 0))
        return made

    def mac(self, interface="eth0"):
        return json.loads(self.run(["ip", "-j", "link", "show", interface]).stdout)[0]["address"]

    def end(self):
        self.holder.stdin.close()
        self.holder.wait(5)


# --- the control socket -----------------------------------------------------------------------

class Control:
    """The proxy's Unix socket: one JSON object a line, one answer each."""

    def __init__(self, path):
        self.path = str(path)

    def request(self, request, timeout=5):
        if isinstance(request, str):
            request = {"command": request}
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(self.path)
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
        if not line:
            raise OSError(f"{self.path}: closed without an answer")
        return json.loads(line)

    def status(self):
        answer = self.request("status")
        if not answer.get("ok"):
            raise ValueError(f"status: {answer}")
        return answer["status"]


# --- the lab ----------------------------------------------------------------------------------

class Lab:
    """One test's clients, programs and files. Use as a context; its end checks what is left."""

    def __init__(self, directory=None, cleanup_s=5):
        assert os.environ.get(INSIDE), "harness.enter() first"
        self.own_directory = directory is None
        self.cleanup_s = cleanup_s  # for what ends by itself once asked
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="quorate-lab-"))
        self.logs = self.directory / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.programs = {}
        self.namespaces = []
        self.at_end = []  # called first at the end, newest first
        self.interfaces_before = interfaces()
        self.processes_before = set(processes())

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        failures = self._end()
        if kind is not None:
            print(self.report(), flush=True)
        elif self.own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        if failures and kind is None:
            raise AssertionError("left behind or ended badly: " + "; ".join(failures))

    def _end(self):
        failures = []
        for action in [*reversed(self.at_end),
                       *(program.stop for program in reversed(list(self.programs.values()))),
                       *(namespace.end for namespace in reversed(self.namespaces))]:
            try:
                action()
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                failures.append(str(error))
        for what, left in (
                ("interface", lambda: set(interfaces()) - set(self.interfaces_before)),
                ("process", lambda: {f"{pid} {name}" for pid, name in processes().items()
                                     if pid not in self.processes_before})):
            try:
                wait_until(lambda left=left: not left(), self.cleanup_s, "cleanup")
            except AssertionError:
                failures += [f"{what} {one}" for one in sorted(left())]
                for pid in set(processes()) - self.processes_before:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        return failures

    def report(self):
        """The last lines of every log, for a person who has only the test's output."""
        text = [f"files of this lab: {self.directory}"]
        for log in sorted(self.logs.iterdir()):
            lines = log.read_text(errors="replace").splitlines()
            text += [f"--- {log.name}, last of {len(lines)} lines", *lines[-12:]]
        return "\n".join(text)

    def file(self, name, text):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, argv, timeout=60, check=True, **options):
        result = subprocess.run([str(word) for word in argv], capture_output=True, text=True,
                                timeout=timeout, check=False, stdin=subprocess.DEVNULL, **options)
        if check and result.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, argv))}: exit {result.returncode}\n"
                                 f"{result.stdout[-1500:]}{result.stderr[-1500:]}")
        return result

    def start(self, argv, name, **options):
        program = Program(argv, self.logs / f"{name}.log", **options)
        self.programs[name] = program
        return program

    def namespace(self, name):
        made = Namespace(self, name)
        self.namespaces.append(made)
        return made

    def link(self, inside, addresses, outer="qc0", inner="eth0", other=None):
        """A veth: `outer` here (or in namespace `other`), `inner` in the namespace with these
        addresses. Checksums are made in full, as a wire would have them."""
        where = ["netns", str(other.pid)] if other else []
        self.run(["ip", "link", "add", "name", outer, *where, "type", "veth", "peer", "name", inner,
                  "netns", str(inside.pid)])
        inside.run(["sysctl", "-qw", f"net.ipv6.conf.{inner}.disable_ipv6=0",
                    f"net.ipv6.conf.{inner}.accept_ra=0", f"net.ipv6.conf.{inner}.accept_dad=0"])
        for address in addresses:
            inside.run(["ip", "address", "add", address, "dev", inner,
                        *(["nodad"] if ":" in address else [])])
        inside.run(["ip", "link", "set", inner, "up"])
        inside.run(["ethtool", "-K", inner, "tx", "off"])
        run_outer = other.run if other else self.run
        run_outer(["ip", "link", "set", outer, "up"])
        run_outer(["ethtool", "-K", outer, "tx", "off"])

    def client(self, name="client", addresses=("10.53.0.2/24", "fd53::2/64"), outer="qc0"):
        """A client namespace on the proxy's client port."""
        made = self.namespace(name)
        self.link(made, addresses, outer=outer)
        return made

    def lone_server(self, replica, source, name):
        """Runs one replica of a configuration (a [[group.replica]] as tomllib reads it) by itself,
        without Quorate, for comparison; returns (client namespace beside it, program)."""
        home = self.directory / name
        home.mkdir(parents=True)
        netns = replica["netns"]

        def here(text):
            return text.replace("{dir}", str(home))

        for path, content in netns.get("files", {}).items():
            (home / path).write_text(here(content))
        for path, original in netns.get("copies", {}).items():
            shutil.copyfile(pathlib.Path(source).parent / original, home / path)
        server, client = self.namespace(f"{name}-server"), self.namespace(f"{name}-client")
        self.link(client, ["10.53.0.2/24", "fd53::2/64"], outer="eth0", other=server)
        server.run(["sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0"])
        for address in ("10.53.0.53/24", "fd53::53/64"):
            server.run(["ip", "address", "add", address, "dev", "eth0",
                        *(["nodad"] if ":" in address else [])])
        program = server.start([here(word) for word in netns["command"]], name)
        wait_until(lambda: server.run([here(word) for word in netns["health"]], check=False)
                   .returncode == 0, 15, f"{name} answers")
        return client, program

    def quorate(self, *arguments, **options):
        return self.run([BUILD / "tools" / "quorate" / "quorate", *arguments], **options)

    def proxy(self, config, state_dir, name="proxy", deadline_s=20, arguments=(),
              program="quorate-proxy", **options):
        """Starts quorate-proxy; returns it, with `.control`, once it answers."""
        program = self.start([BUILD / "proxy" / program, "--config", config, *arguments], name,
                             **options)
        program.control = Control(pathlib.Path(state_dir) / "control.sock")

        def answers():
            if not program.alive():
                raise ProgramEnded(f"quorate-proxy ended with {program.process.returncode}:\n"
                                   + program.tail())
            return program.control.status()

        wait_until(answers, deadline_s, f"quorate-proxy answers on {program.control.path}")
        return program


class ProgramEnded(AssertionError):
    """It went while somebody waited for it."""


def interfaces():
    return sorted(path.name for path in pathlib.Path("/sys/class/net").iterdir()) \
        if not os.environ.get(INSIDE) else \
        sorted(link["ifname"] for link in json.loads(
            subprocess.run(["ip", "-j", "link"], check=True, capture_output=True).stdout or "[]"))


def _stats():
    """(pid, name, parent) of every process in our process namespace, the inner ones' too;
    those already dead but not yet reaped do not count, nor do the kernel's threads (in Dom0)."""
    kernel_thread = 0x00200000  # PF_KTHREAD
    for path in pathlib.Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                name, _, rest = (path / "stat").read_text().partition("(")[2].rpartition(")")
                words = rest.split()
                state, parent, flags = words[0], words[1], int(words[6])
                if state not in "ZX" and not flags & kernel_thread:
                    yield int(path.name), name, int(parent)


def processes():
    """pid -> name."""
    return {pid: name for pid, name, _ in _stats()}


def parents():
    """pid -> its parent's."""
    return {pid: parent for pid, _, parent in _stats()}


if __name__ == "__main__":
    if sys.argv[1:2] != ["--init"]:
        sys.exit("a library: see tests/README.md")
    _init(sys.argv[2:])
