#!/usr/bin/python3
"""The part of `tools/bench xen` that runs in Dom0: sets two guests beside the appliance that the layer
started, loads all three in turn, and prints what was counted as one JSON object.

    in_dom0.py --rounds N --seconds S --idle-seconds S --idle-us OURS KERNEL [--verbose]

One guest has our netback, the other the kernel's; both are domains of the same image, and the same
program loads them through the proxy's own kinds of port (port_load.cc). bench_xen.py makes figures of
it. Known limit: Dom0 of tools/lab has one virtual processor, on which all but the guests runs.
"""

import argparse
import functools
import json
import pathlib
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "xen"), str(TOP / "tests" / "netns")]

import guests  # noqa: E402 (their place is the tests')
import harness  # noqa: E402
import replicas  # noqa: E402
from guests import run  # noqa: E402

BUILD = TOP / "build" / "release" / "benchmarks"
HOME = pathlib.Path("/run/quorate-bench")
ADDRESS = guests.ADDRESSES[0].split("/")[0]
KERNEL, OURS = "bench-kernel", "bench-ours"
GUESTS_CPU = 1  # Dom0's virtual processor is pinned to 0
# What a guest has received, written now and then: seldom enough to cost nothing.
LOOK_SECONDS = 4
LOOK = f"""if [ ! -e /run/looks ]; then
    : >/run/looks
    while :; do
        agent write data/quorate/received "$(cat /sys/class/net/eth0/statistics/rx_packets)"
        sleep {LOOK_SECONDS}
    done </dev/null >/dev/null 2>&1 &
fi
agent probe udp {ADDRESS} 7 71756f72617465
"""
# name of the slice: (command of port_load, bytes of payload); window 64
PORT_SLICES = {"echo_64": ("echo", 64), "echo_1400": ("echo", 1400),
               "one_way_18": ("one-way", 18), "one_way_1400": ("one-way", 1400)}
WINDOW = 64
VOTED_BYTES = 64
EPOLL_PWAIT2 = "441"  # as /proc/PID/task/TASK/syscall says it


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def long_enough(slice_of, seconds):
    """A slice in which something came back: the first ones of a machine that others use may be cold."""
    for factor in (1, 3, 10, 30):
        report = slice_of(seconds * factor)
        if report["rate"]:
            return report
    raise AssertionError(f"nothing in {seconds * factor} s: {report}")


class Guest(guests.Guest):
    def processor_seconds(self):
        """To a tenth."""
        return float(run("xl", "list", self.name).stdout.split()[-1])


class KernelGuest(Guest):
    """Its backend is xen-netback: the nodes are those that libxl would write, and the hotplug script
    has nothing to do."""

    def write_device(self):
        back = f"/local/domain/0/backend/vif/{self.domid}/0"
        front = f"/local/domain/{self.domid}/device/vif/0"
        shared = {"state": 1, "handle": 0, "mac": guests.MAC}
        # The frontend first: the driver looks for it as soon as it sees a backend.
        nodes = {front: {**shared, "backend": back, "backend-id": 0},
                 back: {**shared, "frontend": front, "frontend-id": self.domid, "online": 1,
                        "script": "/bin/true", "hotplug-status": "connected"}}
        for where, values in nodes.items():
            run("xenstore-write", where, "", *(word for name, value in values.items()
                                               for word in (f"{where}/{name}", value)))
            rights = [f"n{self.domid}", "r0"] if where == front else ["n0", f"r{self.domid}"]
            run("xenstore-chmod", "-r", where, *rights)

    def interface(self):
        name = f"vif{self.domid}.0"
        harness.wait_until(pathlib.Path("/sys/class/net", name).exists, 60, f"{name} is there")
        return name

    def destroy(self):
        super().destroy()
        run("xenstore-rm", f"/local/domain/0/backend/vif/{self.domid}", check=False)


class Ports:
    """port_load, and its ports by name."""

    def __init__(self, ports):
        self.numbers = {name: number for number, name in enumerate(ports)}
        words = [word for port in ports.values() for word in ("--port", port)]
        self.process = subprocess.Popen(
            [BUILD / "xen" / "port_load", "--state-dir", HOME, "--address",
             ADDRESS, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"port_load ended with {self.process.wait(10)}")
        return json.loads(line)

    def ask(self, verb, name, *words):
        print(verb, self.numbers[name], *words, file=self.process.stdin, flush=True)
        answer = self._answer()
        if "error" in answer:
            raise AssertionError(f"{verb} {name}: {answer['error']}")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


class Bench:
    def __init__(self, arguments):
        self.verbose, self.idle_us = arguments.verbose, arguments.idle_us
        self.appliance = replicas.Running("echo")
        self.appliance.wait_admitted()
        self.at_end = []

    def idle(self, seconds):
        """Processor time of a proxy that has nothing to do: its worker, and all of it."""
        process = pathlib.Path(f"/proc/{self.appliance.proxy_pid()}/task")

        def spent():
            tasks = sorted(process.iterdir(), key=lambda task: int(task.name))
            return {task.name: int((task / "schedstat").read_text().split()[0]) for task in tasks}
        time.sleep(seconds)  # pause: what the restore of the machine has left to do
        sleeps = self.appliance.status()["sleeps"]
        before, began = spent(), time.monotonic()
        time.sleep(seconds)  # pause: this is what is measured
        after, took = spent(), time.monotonic() - began
        # The worker waits in epoll_pwait2 (Sleeper), nobody else.
        waits = {name: (process / name / "syscall").read_text().split()[0] for name in after}
        return {"seconds": took, "sleeps": self.appliance.status()["sleeps"] - sleeps,
                "process_ns": sum(after[name] - before.get(name, 0) for name in after),
                "worker_ns": sum(after[name] - before.get(name, 0) for name in after
                                 if waits[name] == EPOLL_PWAIT2)}

    def set_up(self):
        run("modprobe", "xen-netback")
        more = {"/etc/quorate/health": LOOK.encode()}
        self.guests = {"kernel": KernelGuest("echo", name=KERNEL, addresses=guests.ADDRESSES, files=more),
                       "ours": Guest("echo", name=OURS, addresses=guests.ADDRESSES, files=more)}
        self.at_end += [guest.destroy for guest in self.guests.values()]
        for name in guests.domains():
            if name != "Domain-0":
                run("xl", "vcpu-pin", name, "all", GUESTS_CPU)
        HOME.mkdir()
        self.ports = Ports({"ours": f"netback:{OURS}",
                            "kernel": f"veth:{self.guests['kernel'].interface()}"})
        self.at_end.append(self.ports.close)
        for name, guest in self.guests.items():
            guest.wait_healthy()
            if not self.ports.ask("wait", name, 60)["answered"]:
                raise AssertionError(f"the guest of {name} does not answer:\n{guest.console()}")
            say(f"{guest.name} answers")

    def port_slice(self, what, name, seconds):
        verb, payload = PORT_SLICES[what]
        before = self.guests[name].processor_seconds()
        more = [WINDOW, self.idle_us[name == "kernel"]] if verb == "echo" else []
        report = self.ports.ask(verb, name, seconds, payload, *more)
        report["guest_processor_s"] = self.guests[name].processor_seconds() - before
        report["rate"] = report["answered" if verb == "echo" else "delivered"] / report["seconds"]
        if report.get("wrong"):
            raise AssertionError(f"{what} through {name}: wrong answers: {report}")
        return report

    def voted_slice(self, seconds):
        before, copies = self.appliance.group_status(), self.appliance.status()["grant_copies"]
        done = self.appliance.client.run(
            [BUILD / "veth" / "veth_load", *self.appliance.server, "--window", WINDOW, "--payload",
             VOTED_BYTES, "--seconds", seconds, "--warm", seconds / 10, "--lost-ms", 5000],
            timeout=seconds + 60)
        after, now = self.appliance.group_status(), self.appliance.status()["grant_copies"]
        report = json.loads(done.stdout)
        report["rate"] = report["answered"] / report["seconds"]
        report["agreed"] = after["agreed"] - before["agreed"]
        report |= {f"copy_{key}": now[key] - copies[key] for key in ("calls", "segments")}
        if report["wrong"]:
            raise AssertionError(f"with voting: {report}")
        return report

    def round(self, number, seconds):
        """A slice of each kind; the two ports that are compared right after one another, each first in
        turn."""
        reports = {"voted": long_enough(self.voted_slice, seconds)}
        for what in PORT_SLICES:
            for name in ("ours", "kernel") if number % 2 == 0 else ("kernel", "ours"):
                reports[f"{what}_{name}"] = long_enough(
                    functools.partial(self.port_slice, what, name), seconds)
        say(f"round {number}:", ", ".join(f"{name} {report['rate']:.0f}/s"
                                          for name, report in reports.items()))
        if self.verbose:
            say(json.dumps(reports))
        return reports

    def received(self):
        """What the guests say that they have received, once they have had the time to."""
        time.sleep(LOOK_SECONDS + 3)  # pause: they say it every LOOK_SECONDS
        return {name: int(guests.xenstore(f"/local/domain/{guest.domid}/data/quorate/received") or 0)
                for name, guest in self.guests.items()}

    def close(self):
        for end in reversed(self.at_end):
            end()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--idle-seconds", type=float, required=True)
    parser.add_argument("--idle-us", type=int, nargs=2, required=True)
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    try:
        idle = bench.idle(arguments.idle_seconds)
        say(f"idle: worker {idle['worker_ns'] / 1e7 / idle['seconds']:.2f} %, the whole proxy "
            f"{idle['process_ns'] / 1e7 / idle['seconds']:.2f} % of a processor")
        bench.set_up()
        rounds = [bench.round(number, arguments.seconds) for number in range(arguments.rounds)]
        delivered = {name: bench.ports.ask("delivered", name, 0)["delivered"] for name in bench.guests}
        print(json.dumps({"idle": idle, "rounds": rounds, "delivered": delivered,
                          "received": bench.received()}))
    finally:
        bench.close()


if __name__ == "__main__":
    main()
