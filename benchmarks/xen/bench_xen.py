#!/usr/bin/python3
"""A guest behind our netback beside one behind the kernel's, and a voting group of three, on real Xen.

    bench_xen.py [--json] [--rounds N] [--seconds S] [--quick]

Runs in a machine of tools/lab: an appliance with three echoing domains votes; two more domains of the
same image have no voter in front of them, one behind our netback, one behind the kernel's and DPDK's
af_packet. Slices of load go round among them. ../README.md says how the figures are meant.

Known limit: an emulated machine; only ratios mean anything, and absolutes not even here.
"""

import argparse
import contextlib
import json
import pathlib
import statistics
import subprocess
import sys
import threading

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "benchmarks"))

from results import figure, machine, put_first, ratio, show  # noqa: E402 (their place is above)

IDLE_SECONDS = 10
SETTING = ("Xen and Dom0 of tools/lab, emulated; Dom0 on one processor, guests (PV, image echo) on the "
           "other")


def descendants(pid):
    found = []
    with contextlib.suppress(OSError):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def keep_first(pid, done):
    """Our emulator has a session of its own."""
    while not done.wait(2):
        put_first(descendants(pid))


def measure(arguments):
    """What in_dom0.py counted, or None after saying why not."""
    idle = 3 if arguments.quick else IDLE_SECONDS
    seconds_max = 600 + arguments.rounds * (arguments.seconds * 12 + 40)
    command = [TOP / "tools" / "lab", "run", "--fresh", "--appliance", "echo", "--timeout",
               str(seconds_max), "--", "python3", "benchmarks/xen/in_dom0.py", "--rounds",
               str(arguments.rounds), "--seconds", str(arguments.seconds), "--idle-seconds", str(idle),
               "--idle-us", *map(str, arguments.idle_us), *(["--verbose"] if arguments.verbose else [])]
    done = threading.Event()
    lab = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        if not arguments.quick:
            threading.Thread(target=keep_first, args=(lab.pid, done), daemon=True).start()
        output = lab.communicate()[0]
    finally:
        done.set()
        if lab.poll() is None:
            lab.terminate()  # it ends its machine
            lab.wait()
    return json.loads(output.splitlines()[-1]) if lab.returncode == 0 else None


def figures_of(counted, arguments):
    rounds, idle = counted["rounds"], counted["idle"]
    slices = f"median of {len(rounds)} pairs of slices of {arguments.seconds:g} s, in turn; {SETTING}"

    def middle(name, key="rate"):
        return statistics.median(reports[name][key] for reports in rounds)

    def total(name, key):
        return sum(reports[name][key] for reports in rounds)

    def to_kernel(what, how):
        return ratio([reports[f"{what}_ours"]["rate"] for reports in rounds],
                     [reports[f"{what}_kernel"]["rate"] for reports in rounds], how)

    beside = "our netback / kernel netback and DPDK's af_packet, one guest each, no voter"
    agreed, calls = total("voted", "agreed"), total("voted", "copy_calls")
    segments = total("voted", "copy_segments")
    figures = {
        "ratio_echo_kernel_netback": to_kernel(
            "echo_64", f"requests/s, 64 in flight, 64 B each way: {beside}; {slices}"),
        "ratio_one_way_kernel_netback": to_kernel(
            "one_way_18", f"frames/s of 60 B that lay in the guest's pages when the "
            f"slice was over: {beside}; {slices}"),
        "ratio_echo_1400_kernel_netback": to_kernel(
            "echo_1400", f"as ratio_echo_kernel_netback, 1400 B each way; {slices}"),
        "ratio_one_way_1400_kernel_netback": to_kernel(
            "one_way_1400", f"as ratio_one_way_kernel_netback, 1442 B; {slices}"),
        "copy_ioctls_per_request": figure(
            calls / agreed, "1", "grant copy calls / requests agreed, n = 3, voting, 64 in flight"),
        "copy_segments_per_ioctl": figure(
            segments / calls, "1", "segments in a grant copy call, of the same slices"),
        "cpu_idle_percent": figure(
            idle["worker_ns"] / 1e7 / idle["seconds"], "%", "of a processor, the data plane's thread of "
            f"a proxy with three domains and no traffic, over {idle['seconds']:.0f} s"),
        "cpu_idle_percent_process": figure(
            idle["process_ns"] / 1e7 / idle["seconds"], "%", "the same of the whole proxy: control, "
            "xenstore, telemetry"),
        "idle_wakes_per_second": figure(
            idle["sleeps"] / idle["seconds"], "1/s", "sleeps of the data plane's thread meanwhile"),
        "requests_per_second_voting": figure(
            middle("voted"), "1/s", "n = 3 with voting (PV, PVH, PV), client in Dom0's one processor, "
            f"too, 64 in flight, 64 B; median of {len(rounds)} slices in the same turns"),
        "guests_received_share": figure(
            min(counted["received"][name] / counted["delivered"][name] for name in counted["received"]),
            "1", "packets that the guests counted / that were counted as delivered, all slices; the "
            "lesser of the two ports"),
    }
    for what, unit in (("echo_64", "1/s"), ("echo_1400", "1/s"), ("one_way_18", "1/s"),
                       ("one_way_1400", "1/s")):
        for name in ("ours", "kernel"):
            figures[f"{what}_{name}"] = figure(middle(f"{what}_{name}"), unit, "median of its slices")
    figures["segments_per_ioctl_one_way"] = figure(
        total("one_way_18_ours", "copy_segments") / total("one_way_18_ours", "copy_calls"), "1",
        "segments in a grant copy call, one guest, one way")
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    parser.add_argument("--rounds", type=int, default=20, help="of slices of every kind")
    parser.add_argument("--seconds", type=float, default=1, help="of load in a slice")
    parser.add_argument("--idle-us", type=int, nargs=2, metavar=("OURS", "KERNEL"), default=[5000, 5000],
                        help="without a packet, before the load's loop sleeps")
    parser.add_argument("--verbose", action="store_true", help="all that was counted, on standard error")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 1
    if not 1 <= arguments.rounds <= 1000 or not 0.1 <= arguments.seconds <= 60:
        parser.error("1 to 1000 rounds of 0.1 to 60 seconds")
    try:
        counted = measure(arguments)
    except KeyboardInterrupt:
        return 130
    if counted is None:
        print("bench xen: it did not run to its end", file=sys.stderr)
        return 1
    figures = figures_of(counted, arguments)
    show("xen", machine("emulating"), figures, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
