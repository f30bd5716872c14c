"""What the benchmarks in Python share: figures, what they are shown with, and the first place on a
machine that others use, too."""

import contextlib
import json
import os
import pathlib
import platform
import random
import statistics


def machine(how=f"Linux {platform.release()}"):
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                  if line.startswith("model name")), "unknown CPU")
    return f"{model}, {os.cpu_count()} CPUs, {how}"


def figure(value, unit, how, **more):
    return {"value": value, "unit": unit, "how": how, **more}


def ratio(above, below, how):
    """The median of the rounds' own ratios."""
    values = [a / b for a, b in zip(above, below)]
    return figure(statistics.median(values), "1", how, interval_90=interval(values))


def interval(values):
    """Of 90 %, for the median: by drawing again."""
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(2000))
    return [medians[100], medians[-101]]


def show(name, on, figures, as_json):
    """For people, or as one object; `on`: which machine()."""
    if as_json:
        print(json.dumps({"name": name, "machine": on, "figures": figures}, indent=1))
        return
    print(on)
    width = max(map(len, figures))
    for key, one in figures.items():
        spread = "({:.3g} to {:.3g}) ".format(*one["interval_90"]) if "interval_90" in one else ""
        print(f"{key:{width}} {one['value']:10.4g} {one['unit']:8} {spread}{one['how']}")


def put_first(pids):
    """Where others use the machine, too: these first, each session of programs alike."""
    for pid in pids:
        with contextlib.suppress(OSError):  # only root may
            pathlib.Path(f"/proc/{pid}/autogroup").write_text("-20")
