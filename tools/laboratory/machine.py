"""The emulated machine: one QEMU process, its console, its monitor, its end.

Everything about it that a snapshot depends on is in SETTINGS, which are part of every layer's key.
The flags were found by trial: plain qemu64 lacks what DPDK needs, richer models crash Xen or Linux
in one place or another, `+npt` gives HVM and PVH guests. A machine restarts never: when Xen or Dom0
goes down, QEMU ends (-no-reboot), and the console says why.

The process dies with the lab's command, unless it was started to stay. Known limit: hardware
virtualisation is not used even where it exists.
"""

import ctypes
import os
import pathlib
import re
import select
import signal
import subprocess
import time

import qmp
from store import Failure

QEMU = "qemu-system-x86_64"
SETTINGS = {
    "machine": ["-M", "q35", "-accel", "tcg", "-cpu", "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+npt",
                "-smp", "2", "-m", "2048", "-nodefaults", "-no-user-config", "-display", "none",
                "-no-reboot"],
    "xen": "dom0_mem=768M,max:768M com1=115200,8n1 console=com1 xpti=no spec-ctrl=no bootscrub=no "
           "cpuidle=no dom0_max_vcpus=1 dom0_vcpus_pin sched_ratelimit_us=100",
    "dom0": "console=hvc0 mitigations=off tsc=unstable quiet panic=1",
    "ports": 4,
}
CONSOLE = "console.log"
# Lines that mean the end of the machine; a guest's own come with "(d1)" in front.
LAST_WORDS = re.compile(rb"^(?!\(d).*(Panic on CPU|Kernel panic - not syncing|Xen BUG at|"
                        rb"(Dom0|Domain 0) (crashed|shutdown)|lab: (no root disk|cannot mount|Dom0 cannot)).*$",
                        re.MULTILINE)
TRIPLE_FAULT = re.compile(rb"^\(XEN\) d\d+v\d+ Triple fault", re.MULTILINE)
CONSOLE_READ_BYTES = 1 << 20

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


def qemu_version():
    try:
        done = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise Failure(f"{QEMU} is not installed: tools/setup") from None
    return done.stdout.splitlines()[0]


def _comma(text):
    return str(text).replace(",", ",,")


def arguments(disks, boot=None):
    """QEMU's arguments; sockets and console are in its working directory. `disks` are (path, format);
    `boot` is (xen, vmlinux, initramfs), or None for a machine that is restored."""
    words = [QEMU, *SETTINGS["machine"],
             "-qmp", "unix:monitor,server=on,wait=off",
             "-chardev", f"file,id=console,path={CONSOLE}", "-serial", "chardev:console"]
    for number, (path, kind) in enumerate(disks):
        words += ["-drive", f"if=none,id=disk{number},format={kind},discard=unmap,cache=unsafe,"
                            f"file={_comma(path)}",
                  "-device", f"virtio-blk-pci,drive=disk{number}"]
    words += ["-device", "virtio-serial-pci,id=serial"]
    for number in range(SETTINGS["ports"]):
        words += ["-chardev", f"socket,id=port{number},path=port{number},server=on,wait=off",
                  "-device", f"virtserialport,bus=serial.0,chardev=port{number},"
                             f"name=quorate.lab.{number}"]
    if boot:
        xen, vmlinux, initramfs = boot
        modules = f"{_comma(vmlinux)} {_comma(SETTINGS['dom0'])},{_comma(initramfs)}"
        words += ["-kernel", str(xen), "-append", SETTINGS["xen"], "-initrd", modules]
    return words


class Machine:
    """Started in `directory`; ends with stop(), or by itself, which trouble() tells."""

    def __init__(self, directory, disks, boot=None, state=None, stay=False, keep_open=()):
        self.directory = pathlib.Path(directory)
        words = arguments(disks, boot)
        passed = list(keep_open)
        if state is not None:
            self.state = os.open(state, os.O_RDONLY)
            passed.append(self.state)
            words += ["-incoming", f"fd:{self.state}"]
        parent = os.getpid()

        def begin():
            os.setsid()  # the terminal's signals are for the lab's command
            if not stay:
                libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != parent:
                    os._exit(1)

        with open(self.directory / "qemu.log", "wb") as log:
            try:
                self.process = subprocess.Popen(words, cwd=self.directory, stdin=subprocess.DEVNULL,
                                                stdout=log, stderr=log, preexec_fn=begin,
                                                pass_fds=passed)
            except FileNotFoundError:
                raise Failure(f"{QEMU} is not installed: tools/setup") from None
        if state is not None:
            os.close(self.state)
        self.pid = self.process.pid
        (self.directory / "pid").write_text(f"{self.pid}\n")

    def monitor(self, deadline_s=30):
        return eventually(lambda: qmp.Monitor(self.directory), self.trouble, deadline_s,
                           "QEMU's monitor")

    def trouble(self):
        """None, or why this machine will not answer any more."""
        status = self.process.poll()
        if status is None:
            return last_words(self.directory)
        return ended(self.directory, status)

    def resume(self):
        """After a start from a state: on it goes."""
        monitor = self.monitor()
        monitor.wait_restored()
        monitor.execute("cont")
        monitor.close()

    def stop(self):
        self.process.kill()
        self.process.wait()


class Found:
    """A machine that another command started to stay."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        try:
            self.pid = int((self.directory / "pid").read_text())
            self.pidfd = os.pidfd_open(self.pid)
            command = pathlib.Path(f"/proc/{self.pid}/cmdline").read_bytes()
            where = os.readlink(f"/proc/{self.pid}/cwd")
        except (OSError, ValueError):
            raise Failure("the machine has ended") from None
        if not command.startswith(QEMU.encode()) or where != str(self.directory):
            raise Failure("the machine has ended, and its process number is somebody else's")

    def monitor(self, deadline_s=30):
        return eventually(lambda: qmp.Monitor(self.directory), self.trouble, deadline_s,
                           "QEMU's monitor")

    def trouble(self):
        if select.select([self.pidfd], [], [], 0)[0]:
            return ended(self.directory, None)
        return last_words(self.directory)

    def stop(self):
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            select.select([self.pidfd], [], [], 30)
        except ProcessLookupError:
            pass


def eventually(attempt, trouble, deadline_s, what):
    end = time.monotonic() + deadline_s
    while True:
        try:
            return attempt()
        except OSError as error:
            reason = trouble()
            if reason:
                raise Failure(reason) from None
            if time.monotonic() > end:
                raise Failure(f"no answer from {what} within {deadline_s} s: {error}") from None
        time.sleep(0.02)  # pause: between two attempts, until the deadline


# --- what is left to read

def console_text(directory):
    path = pathlib.Path(directory) / CONSOLE
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - CONSOLE_READ_BYTES))
            return file.read()
    except OSError:
        return b""


def console_tail(directory, lines=25):
    text = console_text(directory).decode(errors="replace").replace("\r", "")
    kept = [line for line in text.splitlines() if line.strip()][-lines:]
    return "\n".join(f"    | {line}" for line in kept) or "    | (nothing)"


def last_words(directory):
    match = LAST_WORDS.search(console_text(directory).replace(b"\r", b""))
    if not match:
        return None
    return (f"Xen or Dom0 went down: {match.group(0).decode(errors='replace').strip()}\n"
            f"the console's end:\n{console_tail(directory)}")


def emulation_failed(directory):
    """What Xen said of a PVH guest that met a triple fault, or None. QEMU's emulation of SVM does that to
    some that boot beside busy PV guests (2 of 6, and none of 48 beside idle ones): Xen's own registers
    are then found in the guest. So what failed with it says nothing of us."""
    match = TRIPLE_FAULT.search(console_text(directory))
    return match and match.group(0).decode(errors="replace")


def ended(directory, status):
    words = last_words(directory)
    if words:
        return words
    how = "" if status is None else f" (status {status})"
    if status is not None and status < 0:
        how = f", killed by {signal.Signals(-status).name}"
    said = (pathlib.Path(directory) / "qemu.log").read_text(errors="replace").strip()
    return (f"QEMU ended{how}" + (f": {said[-800:]}" if said else "")
            + f"\nthe console's end:\n{console_tail(directory)}")
