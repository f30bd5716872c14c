#!/usr/bin/python3
"""Shows Quorate at work: three servers answer as one while one of them lies, one hangs, and both.

    tools/demo                     DNS: nsd, knot and named behind one address
    tools/demo --service counter   a service with state, its log and its recovery
    tools/demo --keep              stay in it afterwards, with a shell

Everything runs in namespaces of its own and is gone at the end; as root, or without. The exit status
is 0 only if every step showed what it should, and 77 where namespaces cannot be made.
"""

import argparse
import importlib
import os
import pathlib
import subprocess
import sys
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(TOP / "tests" / "netns")]

import harness  # noqa: E402 (its place is the tests')
import story as stories  # noqa: E402

SERVICES = {"dns": ("dns_service", "DnsStory", ["nsd", "knot", "bind9"]),
            "counter": ("counter_service", "CounterStory", [])}


def stay(lab, teller):
    """A shell inside, until it is left."""
    wrapper = lab.file("bin/client", f'#!/bin/sh\nexec nsenter -t {teller.client.pid} -n -- "$@"\n')
    wrapper.chmod(0o755)
    print("\nIt is all still running. In this shell, for example:")
    for hint in teller.hints():
        print(f"    {hint}")
    print("`exit` ends everything.", flush=True)
    environment = {**os.environ, "PATH": f"{wrapper.parent}:{os.environ['PATH']}",
                   "PS1": "(quorate demo) $ "}
    subprocess.run(["bash", "--norc", "-i"] if sys.stdin.isatty() else ["cat"], env=environment,
                   check=False)


def main():
    parser = argparse.ArgumentParser(prog="tools/demo", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", choices=sorted(SERVICES), default="dns")
    parser.add_argument("--keep", action="store_true", help="leave it running, with a shell inside")
    parser.add_argument("--plain", action="store_true", help="no colour, no moving lines")
    parser.add_argument("--rootless", action="store_true", help="even as root, as if we were not")
    arguments = parser.parse_args()
    module, name, servers = SERVICES[arguments.service]
    try:
        harness.enter(servers=servers, rootless=arguments.rootless)
    except unittest.SkipTest as reason:
        print(f"tools/demo: {reason}")
        return 77
    story = stories.Story(plain=arguments.plain)
    with harness.Lab() as lab:
        teller = getattr(importlib.import_module(module), name)(lab, story)
        try:
            columns, note = teller.tell()
            story.table(columns)
            story.say(note)
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            story.check(False, str(error))
            story.show(lab.report())
        status = story.end()
        if arguments.keep and teller.client:
            stay(lab, teller)
    return status


if __name__ == "__main__":
    sys.exit(main())
