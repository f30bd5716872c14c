#!/usr/bin/python3
"""What voting costs on veth: requests a second with voting on and off, and the proxy's cycles for a
request beside testpmd's for the same number of hops.

    bench_veth.py [--json] [--passes N] [--rounds N] [--seconds S] [--window W] [--payload B] [--tiny]

A proxy that votes, one that does not, and testpmd, each with a client and echo services in namespaces
of their own, af_packet ports throughout, have short slices of load in turn. The data plane whose turn
it is has one processor to itself and polls without sleeping; everything else shares the others. ../README.md says how the figures are meant.

Everything lives in private namespaces, files included, and is gone however this ends. The exit status
is 77 where it cannot run. Known limit: one flow from one client.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "netns"), str(TOP / "benchmarks")]

import appliance  # noqa: E402 (its place is the tests')
import harness  # noqa: E402
from results import figure, machine, put_first, ratio, show  # noqa: E402 (theirs is above)

REPLICAS = 3
SERVER, PORT = "10.53.0.53", "7"
# The proxy's own (proxy/ports/device_arguments.cc), so that both work on the same kind of port.
PACKET_PORT = "qpairs=1,framesz=2048,blocksz=65536,framecnt=1024,qdisc_bypass=1"

CONFIG = """
[appliance]
name = "{name}"
state_dir = "{state_dir}"
cpus = [{data_cpu}]
idle_us = 5000      # never asleep under load, as testpmd; out of the way when the other has its turn
[client]
ports = ["veth:{client_port}"]
[evidence]
enabled = false
[[service]]
name = "echo"
group = "echo"
addresses = ["{server}"]
port = {port}
matcher = "0:8"
comparator = "bytes"
[[group]]
name = "echo"
f = 1
suspend = "manual"
inflight_max = 1024
"""
REPLICA = """
[[group.replica]]
name = "{name}"
[group.replica.netns]
command = ["udp_echo", "{server}", "{port}"]
"""


# A round in which somebody else had this share of the data plane's processor is not a quiet one.
WAITED_MAX = 0.02


class Trouble(Exception):
    """The figures would mean nothing."""


class DataThread:
    """The thread that polls, known by being pinned to the data plane's processor alone."""

    def __init__(self, pid, cpu):
        def find():
            return next((path for path in pathlib.Path(f"/proc/{pid}/task").iterdir()
                         if os.sched_getaffinity(int(path.name)) == {cpu}), None)
        self.path = harness.wait_until(find, 5, "the data plane has its processor") / "schedstat"
        self.waited_ns = self._waited_ns()

    def _waited_ns(self):
        return int(self.path.read_text().split()[1])

    def waited_s(self):
        """It was ready to run, and somebody else ran in its place: its cycles are not to be trusted."""
        return (self._waited_ns() - self.waited_ns) / 1e9


class Testpmd:
    """testpmd between two veths, forwarding from each to the other without a look (`io`)."""

    def __init__(self, lab, ports, cpu, others):
        self.log = lab.logs / "testpmd.log"
        devices = [word for number, port in enumerate(ports)
                   for word in ("--vdev", f"net_af_packet{number},iface={port},{PACKET_PORT}")]
        # Unbuffered: it is answered as it speaks.
        argv = ["stdbuf", "-o0", "dpdk-testpmd", "--lcores", f"0@{others[0]},1@{cpu}", "--no-huge", "-m", "256",
                "--no-pci", "--no-shconf", "--no-telemetry", *devices, "--", "-i",
                "--total-num-mbufs=8192", "--burst=32", "--nb-cores=1", "--no-lsc-interrupt"]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=output,
                                            stderr=output, text=True, start_new_session=True,
                                            env={**os.environ, "RUNTIME_DIRECTORY": str(lab.directory)})
        lab.at_end.append(self.quit)
        self.wait_for("testpmd> ", 0)
        self.say("set record-core-cycles on", "\n")
        self.say("set record-burst-stats on", "\n")
        self.say("set fwd io", "forwarding mode")

    def wait_for(self, text, begin):
        def said():
            if self.process.poll() is not None:
                raise Trouble("testpmd ended:\n" + self.log.read_text()[-1500:])
            return text in self.log.read_text()[begin:]
        harness.wait_until(said, 20, f"testpmd says {text!r}", pause_s=0.01)
        return self.log.read_text()[begin:]

    def say(self, command, answer):
        begin = len(self.log.read_text())
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.wait_for(answer, begin)

    def start(self):
        self.say("start", "packets/burst")

    def stop(self):
        """(cycles for a packet forwarded, in polls that brought some; packets in such a poll)."""
        said = self.say("stop", "Done.")
        cycles = re.search(r"CPU cycles/packet=([\d.]+) .*packets=(\d+)\)", said)
        bursts = sum(map(int, re.findall(r"TX-bursts : (\d+)", said)))
        if not cycles or bursts == 0:
            raise Trouble("testpmd forwarded nothing:\n" + said[-1500:])
        return float(cycles[1]), int(cycles[2]) / bursts

    def quit(self):
        if self.process.poll() is None:
            self.process.stdin.write("quit\n")
            self.process.stdin.close()
            self.process.wait(10)


class Stage:
    """A proxy with its client and its three echo services."""

    def __init__(self, lab, number, cpu):
        self.lab, self.name = lab, f"bench{number}"
        client_port, state_dir = f"qc{number}", lab.directory / f"state{number}"
        names = [f"echo{slot}" for slot in range(REPLICAS)]
        text = CONFIG.format(name=self.name, client_port=client_port, state_dir=state_dir, data_cpu=cpu,
                             server=SERVER, port=PORT)
        text += "".join(REPLICA.format(name=name, server=SERVER, port=PORT) for name in names)
        self.client = lab.client(f"client{number}", ("10.53.0.2/24",), outer=client_port)
        self.group = appliance.Appliance(lab, lab.file(f"{self.name}.toml", text), state_dir, "echo",
                                         names)
        self.replicas_run = False

    def start(self, voting):
        """Another process each time; the replicas stay, and are adopted."""
        self.group.proxy = self.lab.proxy(self.group.config, self.group.state_dir, name=self.name,
                                          arguments=[] if voting else ["--measure-without-voting"])
        if not self.replicas_run:
            self.lab.quorate("replica", "start", "--all", "--config", self.group.config)
            self.replicas_run = True
        self.group.wait_admitted()

    def stop(self):
        self.group.proxy.stop()


class Bench:
    def __init__(self, lab, arguments, cpu, others):
        self.lab, self.arguments, self.cpu = lab, arguments, cpu
        self.stages = [Stage(lab, number, cpu) for number in range(2)]
        # testpmd has its own client and its own echo service, with the same addresses.
        self.beside = lab.client("beside", ("10.53.0.2/24",), outer="tp0")
        server = lab.client("server", (f"{SERVER}/24",), outer="tp1")
        server.start(["udp_echo", SERVER, PORT], "echo-alone")
        self.testpmd = Testpmd(lab, ["tp0", "tp1"], cpu, others)

    def load(self, client, data_plane):
        arguments = self.arguments
        thread = DataThread(data_plane, self.cpu)
        done = client.run([harness.BUILD / "benchmarks" / "veth" / "veth_load", SERVER, PORT,
                           "--window", arguments.window, "--payload", arguments.payload,
                           "--seconds", arguments.seconds, "--warm", arguments.seconds / 5])
        report = json.loads(done.stdout)
        if report["answered"] == 0 or report["wrong"] or report["lost"] > report["answered"] / 1000:
            raise Trouble(f"the load did not go as it should: {report}")
        report["rate"] = report["answered"] / report["seconds"]
        report["waited"] = thread.waited_s() / report["seconds"]
        return report

    def proxy_slice(self, stage):
        control = stage.group.proxy.control
        before = control.status()
        report = self.load(stage.client, stage.group.proxy.pid)
        after = control.status()
        groups = [status["groups"][0] for status in (before, after)]
        if sum(replica["dissent"] + replica["silence"] for replica in groups[1]["replicas"]):
            raise Trouble("a replica was blamed: " + json.dumps(groups[1]["replicas"]))
        ticks = after["busy_ticks"] - before["busy_ticks"]
        received = after["conservation"]["received"] - before["conservation"]["received"]
        report["cycles"] = ticks / (groups[1]["agreed"] - groups[0]["agreed"])
        report["packets_per_turn"] = received / (after["busy_turns"] - before["busy_turns"])
        # Of the time under load: requests at their cost.
        report["busy"] = report["rate"] * report["cycles"] / after["ticks_per_second"]
        return report

    def testpmd_slice(self):
        self.testpmd.start()
        report = self.load(self.beside, self.testpmd.process.pid)
        report["cycles"], report["packets_per_poll"] = self.testpmd.stop()
        return report

    def round(self, number, stages):
        """A slice of each kind, one right after the other; `stages` by kind."""
        kinds = ["on", "off", "testpmd"] if number % 2 == 0 else ["testpmd", "off", "on"]
        reports = {kind: self.testpmd_slice() if kind == "testpmd" else self.proxy_slice(stages[kind])
                   for kind in kinds}
        for kind, report in sorted(reports.items()):
            print(f"round {number} {kind:8}", *(f"{key} {value:.4g}" for key, value
                                               in sorted(report.items())), file=sys.stderr)
        return reports

    def run(self):
        """The least disturbed of up to twice as many rounds as are wanted."""
        rounds, wanted = [], self.arguments.rounds

        def disturbance(reports):
            return max(report["waited"] for report in reports.values())

        for first in range(self.arguments.passes):
            # The two change places with every pass: nothing of one of them adds up in the ratio.
            stages = {"on": self.stages[first % 2], "off": self.stages[1 - first % 2]}
            for kind, stage in stages.items():
                stage.start(voting=kind == "on")
            put_first(harness.processes())
            quiet = 0
            for _ in range(2 * wanted):
                rounds.append(self.round(len(rounds), stages))
                quiet += disturbance(rounds[-1]) <= WAITED_MAX
                if quiet == wanted or self.arguments.tiny:
                    break
            for stage in stages.values():
                stage.stop()
        return sorted(rounds, key=disturbance)[:wanted * self.arguments.passes]


def figures_of(rounds, arguments, cpu):
    def values(kind, key):
        return [reports[kind][key] for reports in rounds]

    def middle(kind, key):
        return statistics.median(values(kind, key))

    setting = (f"af_packet on veth, n = {REPLICAS}, {arguments.window} in flight from one client, "
               f"{arguments.payload} B payload; data plane alone on CPU {cpu}, client and services on "
               f"the others; {len(rounds)} rounds, a slice of {arguments.seconds:g} s each, in turn")
    hops = [cycles * (REPLICAS + 1) for cycles in values("testpmd", "cycles")]
    figures = {
        "ratio_vote_off": ratio(
            values("on", "rate"), values("off", "rate"),
            f"requests/s with voting / without, median of the rounds' ratios; {setting}"),
        "ratio_testpmd": ratio(
            hops, values("on", "cycles"),
            f"testpmd's cycles for a packet through io-forward x {REPLICAS + 1} hops / ours for a "
            "request, both in polls that brought packets; median of the rounds' ratios; same kind of "
            "ports, client, service and window"),
        "ratio_cycles_vote_off": ratio(
            values("on", "cycles"), values("off", "cycles"),
            "cycles for a request with voting / without, median of the rounds' ratios"),
        "cycles_per_hop_testpmd": figure(
            middle("testpmd", "cycles"), "cycles", "testpmd's own record-core-cycles (TSC)"),
        "packets_per_poll_testpmd": figure(
            middle("testpmd", "packets_per_poll"), "packets", "of one port, in polls that found some"),
    }
    for kind, name in (("on", "voting"), ("off", "not voting: the first reply is released")):
        for key, unit, source, how in (
                ("requests_per_second", "1/s", "rate", "answered"),
                ("cycles_per_request", "cycles", "cycles", "busy_ticks (TSC) / requests agreed"),
                ("packets_per_turn", "packets", "packets_per_turn",
                 f"of all {REPLICAS + 1} ports, in turns that found some"),
                ("busy_share", "1", "busy", "of the data plane's time, empty turns left out"),
                ("p50_us", "us", "p50_us", "request to reply, as the client sees it")):
            figures[f"{key}_{kind}"] = figure(middle(kind, source), unit, f"{name}; {how}")
    figures["waited_share"] = figure(
        max(report["waited"] for reports in rounds for report in reports.values()), "1",
        f"of the data plane's time that others took, in the worst round used; above {WAITED_MAX:g} "
        "this machine was too busy to measure on")
    return figures


def measure(arguments, cpu, others):
    os.sched_setaffinity(0, others)  # all that is started here, but for the workers that pin themselves
    # /run is private to these namespaces and goes with them. Standard output is for figures.
    with contextlib.redirect_stdout(sys.stderr), harness.Lab(directory="/run/bench") as lab:
        return Bench(lab, arguments, cpu, others).run()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    parser.add_argument("--passes", type=int, default=4, help="each with new processes")
    parser.add_argument("--rounds", type=int, default=25, help="in each pass; medians are over all")
    parser.add_argument("--seconds", type=float, default=0.15, help="of load in a slice")
    parser.add_argument("--window", type=int, default=128, help="requests in flight")
    parser.add_argument("--payload", type=int, default=64, help="bytes, request and reply alike")
    parser.add_argument("--tiny", action="store_true", help="one round, to see that it runs")
    arguments = parser.parse_args()
    if arguments.tiny:
        arguments.passes, arguments.rounds = 1, 1
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        print("bench veth: needs two processors: one for the data plane alone")
        return 77
    try:
        harness.enter()
    except unittest.SkipTest as reason:
        print(f"bench veth: {reason}")
        return 77
    try:
        rounds = measure(arguments, cpus[-1], cpus[:-1])
    except KeyboardInterrupt:
        return 130
    except (Trouble, AssertionError) as error:
        print(f"bench veth: {error}", file=sys.stderr)
        return 1
    figures = figures_of(rounds, arguments, cpus[-1])
    show("veth", machine(), figures, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
