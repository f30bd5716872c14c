"""What `lab run` does with a command: in Dom0 over a channel, or right here.

Known limit: files come back as copies with this user as their owner.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import termios
import tty

import runs
from store import TOP, Failure

TIMED_OUT = 124


def environment(arguments):
    extra = {}
    for word in arguments.env:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise Failure(f"--env {word}: NAME=VALUE")
        extra[name] = value
    return extra


def run(channel, arguments):
    wanted = {"argv": arguments.command, "directory": arguments.directory,
              "environment": {**runs.ENVIRONMENT, **environment(arguments)}}
    sinks = {"O": sys.stdout.buffer, "E": sys.stderr.buffer}

    def show(letter, data):
        sinks[letter].write(data)
        sinks[letter].flush()

    with terminal(channel, wanted, arguments.terminal):
        code, overdue = channel.run(wanted, show, source=source(), timeout_s=arguments.timeout)
    if overdue:
        print(f"lab: not done within {arguments.timeout:g} s", file=sys.stderr)
    if arguments.get:
        bring(channel, arguments.get)
    return TIMED_OUT if overdue else code


def source():
    """Where the command's input comes from; None if there is none to be had."""
    try:
        descriptor = sys.stdin.fileno()
        # A terminal that is not ours to read would stop us (SIGTTIN).
        if os.isatty(descriptor) and os.tcgetpgrp(descriptor) != os.getpgrp():
            return None
        return descriptor
    except (OSError, ValueError, AttributeError):
        return None


@contextlib.contextmanager
def terminal(channel, wanted, asked):
    """Our terminal is passed through as it is, where there is one."""
    if not asked:
        yield
        return
    size = shutil.get_terminal_size()
    wanted["terminal"] = {"rows": size.lines, "columns": size.columns}
    wanted["environment"]["TERM"] = os.environ.get("TERM", "dumb")
    if not sys.stdin.isatty():
        yield
        return

    def resized(*_):
        now = shutil.get_terminal_size()
        channel.resize(now.lines, now.columns)

    before = termios.tcgetattr(sys.stdin)
    signal.signal(signal.SIGWINCH, resized)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, signal.SIG_DFL)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def bring(channel, wanted):
    """Files of Dom0 to here: PATH into the current directory, PATH:HERE to that name."""
    targets = {}
    for word in wanted:
        path, colon, here = word.partition(":")
        path = os.path.normpath(os.path.join("/quorate", path))
        targets[path] = pathlib.Path(here if colon and here else os.path.basename(path))
    with tempfile.TemporaryFile() as archive:
        missing = channel.fetch(targets, archive)
        archive.seek(0)
        with tempfile.TemporaryDirectory(dir=".", prefix=".lab-") as scratch:
            with tarfile.open(fileobj=archive) as tar:
                tar.extractall(scratch, filter="data") if hasattr(tarfile, "data_filter") \
                    else tar.extractall(scratch, members=harmless(tar))
            for path, here in targets.items():
                if path not in missing:
                    place(pathlib.Path(scratch + path), here)
    if missing:
        raise Failure(f"not in Dom0, so not brought: {' '.join(missing)}")


def harmless(tar):
    """Plain files and folders below where they are unpacked; Dom0 is trusted, but not with that."""
    for member in tar:
        if (member.isreg() or member.isdir()) and ".." not in pathlib.PurePath(member.name).parts:
            member.name = member.name.lstrip("/")
            member.mode = (member.mode | 0o600) & 0o777
            if member.isdir():
                member.mode |= 0o700
            yield member


def place(fetched, here):
    """Into its place; a folder is merged into one that is there."""
    if here.is_dir() and not fetched.is_dir():
        here = here / fetched.name
    if fetched.is_dir():
        shutil.copytree(fetched, here, dirs_exist_ok=True)
    elif fetched.exists():
        here.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(fetched, here)
        if here.is_file():  # not a device
            shutil.copymode(fetched, here)


# --- right here

def native(arguments):
    """On a machine that is a Xen Dom0, without any machine around the command."""
    need_dom0()
    directory = arguments.directory
    if directory == "/quorate" or directory.startswith("/quorate/"):
        directory = str(TOP) + directory.removeprefix("/quorate")
    try:
        done = subprocess.run(arguments.command, cwd=directory, timeout=arguments.timeout,
                              env={**os.environ, "QUORATE_DOM0": "1", **environment(arguments)},
                              check=False)
    except subprocess.TimeoutExpired:
        print(f"lab: not done within {arguments.timeout:g} s", file=sys.stderr)
        return TIMED_OUT
    except OSError as error:
        print(f"lab: {arguments.command[0]}: {error.strerror}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126
    for word in arguments.get:
        path, colon, here = word.partition(":")
        found = pathlib.Path(directory, path)
        place(found, pathlib.Path(here if colon and here else found.name))
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def is_dom0():
    try:
        return "control_d" in pathlib.Path("/proc/xen/capabilities").read_text()
    except OSError:
        return False


def need_dom0():
    if not is_dom0():
        raise Failure("--native: this machine is not a Xen Dom0 "
                      "(/proc/xen/capabilities does not say control_d)")
