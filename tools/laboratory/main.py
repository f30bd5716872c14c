#!/usr/bin/python3
"""Real Xen on this machine: the hypervisor, its Dom0 and replica domains under QEMU's emulation.

    tools/lab build                  make what is missing: Dom0's image, its snapshot
    tools/lab run -- xl list         a command in a Dom0 that starts within seconds and is gone after
    tools/lab up                     a Dom0 that stays, for run and shell, until `down`
    tools/lab shell                  a shell in Dom0
    tools/lab status                 what is built, what runs
    tools/lab down                   end what `up` started

In Dom0 this checkout is at /quorate, with the programs of build/release in place. What is built is
kept outside of the repository, under keys of package versions, QEMU and its settings; `build` alone
needs root. `run` uses the machine that is up, if there is one, else one of its own.

Exit status of run and shell: the command's; 124 if its time was over; 125 if the laboratory itself
failed (QEMU, Xen or Dom0 went down: the console's end is shown); 126 or 127 if the command cannot be
run. Of the others: 0, 1 (status: nothing is up; down: nothing was), 2 for wrong arguments, 125.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import jobs  # noqa: E402 (beside this file)
import layers  # noqa: E402
import machine as machines  # noqa: E402
import packages  # noqa: E402 (store.py says where it is)
import runs  # noqa: E402
import store  # noqa: E402
from store import Failure  # noqa: E402

LAB_FAILED = 125
GUESTS = "tests/xen/guests.py"
APPLIANCE = "tests/xen/replicas.py"
GUESTS_FILES = [GUESTS, "guest/image/archive.py"]


def say(text):
    print(f"lab: {text}", file=sys.stderr, flush=True)


def wanted_layer(arguments):
    """The layer that the options name, built if need be."""
    if arguments.guests:
        wanted = [word.partition(":")[0] for word in arguments.guests]
        arguments.image += wanted
        return layers.prepared_layer(f"exec python3 {GUESTS} {' '.join(arguments.guests)}",
                                     GUESTS_FILES, wanted, say,
                                     name=f"guests {' '.join(arguments.guests)}")
    if arguments.appliance:
        done = subprocess.run([sys.executable, store.TOP / APPLIANCE, "layer", arguments.appliance],
                              stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise Failure(f"--appliance {arguments.appliance}: {APPLIANCE} knows no such group")
        command, inputs, wanted = json.loads(done.stdout)
        arguments.image += wanted
        return layers.prepared_layer(command, inputs, wanted, say,
                                     name=f"appliance {arguments.appliance}")
    if arguments.prepare:
        return layers.prepared_layer(arguments.prepare, arguments.input, arguments.image, say)
    return layers.dom0_layer(say)


def build(arguments):
    base = layers.dom0_layer(say)
    layer = wanted_layer(arguments)
    about = base.about()
    print(f"Dom0 {base.directory.name}: Xen {about['made_of']['xen']}, "
          f"Linux {about['made_of']['kernel']}")
    if layer.directory != base.directory:
        print(f"layer {layer.directory.name}: {layer.about()['name']}")
    return 0


def up(arguments):
    standing = runs.standing()
    if standing:
        say("it is up already; tools/lab down ends it")
        return 0
    run = runs.Run(wanted_layer(arguments), say, arguments.image, name=runs.standing_name(),
                   stay=True)
    try:
        with run.channel():
            pass
    except BaseException:
        run.end()
        raise
    if not arguments.quiet:
        print(f"up, restored in {run.seconds:.1f} s; the console is {run.directory}/"
              f"{machines.CONSOLE}")
    return 0


def down(arguments):
    del arguments
    standing = runs.standing()
    if not standing:
        runs.sweep()
        say("nothing of this checkout is up")
        return 1
    standing.end()
    return 0


def run_natively(arguments):
    """What `--appliance` names is started before the command, and ended after it; images are built by whoever
    wants one."""
    jobs.need_dom0()
    if arguments.guests or arguments.prepare:
        raise Failure("--native has no layers: leave --guests and --prepare out")
    if not arguments.appliance:
        return jobs.native(arguments)
    appliance = [sys.executable, store.TOP / APPLIANCE]
    try:
        # Its words are for whoever looks, the command's for whoever reads.
        if subprocess.run([*appliance, "start", arguments.appliance], check=False,
                          stdout=sys.stderr).returncode != 0:
            raise Failure(f"--appliance {arguments.appliance} does not start")
        return jobs.native(arguments)
    finally:
        subprocess.run([*appliance, "stop", arguments.appliance], check=False)


def run(arguments):
    if arguments.native:
        return run_natively(arguments)
    own = (arguments.fresh or arguments.image or arguments.prepare or arguments.guests
           or arguments.appliance)
    standing = None if own else runs.standing()
    if standing:
        with standing.channel() as channel:
            return jobs.run(channel, arguments)
    layer = wanted_layer(arguments)
    with runs.Run(layer, say, arguments.image) as fresh, fresh.channel() as channel:
        code = jobs.run(channel, arguments)
        fault = machines.emulation_failed(fresh.directory) if code != 0 else None
        if fault:
            say(f"QEMU failed a guest: {fault}")
        return code


def shell(arguments):
    arguments.command = ["bash", "--norc"] if sys.stdin.isatty() else ["bash"]
    arguments.get, arguments.timeout, arguments.directory = [], None, "/quorate"
    arguments.env, arguments.terminal = ["PS1=lab:\\w# "], sys.stdin.isatty()
    return run(arguments)


def status(arguments):
    found = {"cache": str(store.home()), "up": None, "layers": [], "images": []}
    standing = runs.standing()
    if standing:
        trouble = standing.machine.trouble()
        found["up"] = {"pid": standing.machine.pid, "directory": str(standing.directory),
                       "layer": standing.about["layer"], "since": standing.about["since"],
                       "console": str(standing.directory / machines.CONSOLE), "trouble": trouble}
    for kind in ("images", "layers"):
        for directory, used in store.contents(kind):
            entry = {"key": directory.name, "bytes": store.disk_bytes(directory), "used": used}
            if kind == "layers":
                entry |= layers.Layer(directory).about()
            found[kind].append(entry)
    try:
        current = layers.dom0_key()
        found["current"] = {"layer": current, "built": store.place("layers", current).is_dir()}
    except (Failure, packages.Failure) as failure:
        found["current"] = {"layer": None, "built": False, "trouble": str(failure)}
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)
    return 0 if found["up"] else 1


def show(found):
    current = found["current"]
    if current["layer"] is None:
        print(f"cannot say what would be built: {current['trouble']}")
    else:
        print(f"Dom0 {current['layer']}: " + ("built" if current["built"]
                                              else "not built yet (tools/lab build)"))
    for entry in found["layers"]:
        print(f"  layer {entry['key']} {entry['name']}: {entry['bytes'] >> 20} MB, "
              f"made {entry['made']} in {entry['seconds']} s")
    for entry in found["images"]:
        print(f"  image {entry['key']}: {entry['bytes'] >> 20} MB")
    machine = found["up"]
    if machine is None:
        print("up: nothing")
    elif machine["trouble"]:
        print(f"up: process {machine['pid']}, but: {machine['trouble']}")
    else:
        print(f"up: process {machine['pid']}, layer {machine['layer']}, console {machine['console']}")


def parse(words):
    parser = argparse.ArgumentParser(prog="tools/lab", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="action", metavar="COMMAND", required=True)
    layer = layer_options()
    commands.add_parser("build", parents=[layer], help="make what is missing").set_defaults(do=build)
    one = commands.add_parser("up", parents=[layer], help="start a machine that stays")
    one.add_argument("--quiet", action="store_true")
    one.set_defaults(do=up)
    commands.add_parser("down", help="end it").set_defaults(do=down)
    one = commands.add_parser("run", parents=[layer], help="run a command in Dom0")
    one.add_argument("--get", action="append", default=[], metavar="PATH[:HERE]",
                     help="bring this file or folder of Dom0 back (into the current directory)")
    one.add_argument("--timeout", type=seconds, metavar="S",
                     help="end the command after so many seconds (status 124)")
    one.add_argument("--directory", default="/quorate", metavar="DIR",
                     help="where in Dom0 the command starts (default: /quorate)")
    one.add_argument("--env", action="append", default=[], metavar="NAME=VALUE",
                     help="set in the command's environment")
    one.add_argument("--terminal", action="store_true", help="give the command a terminal")
    one.add_argument("--fresh", action="store_true", help="a machine of its own, even if one is up")
    one.add_argument("--native", action="store_true",
                     help="this machine is a Xen Dom0: run the command here")
    one.add_argument("command", nargs="+", metavar="COMMAND")
    one.set_defaults(do=run)
    one = commands.add_parser("shell", parents=[layer], help="a shell in Dom0")
    one.add_argument("--fresh", action="store_true", help="a machine of its own, even if one is up")
    one.add_argument("--native", action="store_true", help=argparse.SUPPRESS)
    one.set_defaults(do=shell)
    one = commands.add_parser("status", help="what is built, what runs")
    one.add_argument("--json", action="store_true")
    one.set_defaults(do=status)
    return parser.parse_args(words)


def layer_options():
    """What the machine is to be like when the command begins."""
    options = argparse.ArgumentParser(add_help=False)
    group = options.add_argument_group("the machine", "With any of these, run and shell use a machine "
                                       "of their own.")
    group.add_argument("--image", action="extend", type=names, default=[], metavar="NAME[,NAME]",
                       help="replica images of guest/image to have in /quorate/images/NAME")
    group.add_argument("--guests", type=names, default=[], metavar="NAME[,NAME]",
                       help="start from a layer in which domains with these images run (paused, with "
                       "their network devices, if their image is told as NAME:paused)")
    group.add_argument("--appliance", metavar="GROUP",
                       help="start from a layer in which a proxy serves three domains: counter, echo "
                       "or dns (tests/xen/replicas.py)")
    group.add_argument("--prepare", metavar="COMMAND",
                       help="start from a layer in which this shell command ran, in /prepared")
    group.add_argument("--input", action="append", default=[], metavar="PATH",
                       help="a file or folder of the checkout, or of build/release, for --prepare; "
                       "only these and the images are there, and the layer's key is their contents")
    return options


def names(text):
    found = [name for name in text.split(",") if name]
    if not found:
        raise argparse.ArgumentTypeError("NAME[,NAME]")
    return found


def seconds(text):
    value = float(text)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError("from more than 0 up to 86400")
    return value


def interrupted(number, _):
    raise SystemExit(128 + number)


def main():
    arguments = parse(sys.argv[1:])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    try:
        return arguments.do(arguments)
    except (Failure, packages.Failure) as failure:
        say(str(failure))
        return LAB_FAILED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())
