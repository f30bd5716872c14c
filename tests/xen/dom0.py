"""The house of the tests on real Xen: what is used *inside* Dom0, where `tools/lab run` starts them.

A test file says at its top how its machine begins, and that it is for Dom0:

    LAB = ["--image", "counter,echo"]   # options of tools/lab run
    import dom0
    dom0.enter()

`Lab` is that of tests/netns (clients in namespaces, programs with logs, the proxy); its end also
asserts that no domain and no backend of ours is left. `Guest` is a replica image as a domain made
with xl, for tests of netback and of the images; the product's own way is `quorate replica`.

The machine is thrown away after the file, so nothing here tidies for others' sake. Known limit: it is
emulated, and slow by ten to fifty times: deadlines are minutes, and no test measures time.
"""

import json
import os
import pathlib
import subprocess
import sys
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "netns"), str(TOP / "tests" / "xen")]

import harness  # noqa: E402 (its place is the namespaces' tests)
import guests  # noqa: E402,F401
from guests import (  # noqa: E402,F401 (for the tests)
    Guest, backends, domains, hypervisor_log, manifest, xenstore)

# Of a file, all its tests together; tools/test --long asks a million.
REQUESTS = int(os.environ.get("QUORATE_REQUESTS", "20000"))


def enter():
    """Raises SkipTest where this is not Dom0."""
    if not os.environ.get("QUORATE_DOM0"):
        raise unittest.SkipTest("for Dom0: tools/lab run -- python3 tests/python_suite.py FILE")
    os.environ[harness.INSIDE] = "root"  # Dom0 is ours alone: no namespaces around the test
    for name, value in (("net/ipv6/conf/default/disable_ipv6", 1),
                        ("net/ipv6/conf/all/accept_ra", 0)):
        pathlib.Path("/proc/sys", name).write_text(f"{value}\n")


class Lab(harness.Lab):
    """harness.Lab, and what Xen has to be asked at the end."""

    def __init__(self, directory=None, cleanup_s=30):
        super().__init__(directory, cleanup_s)
        self.domains_before = set(domains())

    def guest(self, image, **options):
        made = Guest(image, **options)
        self.at_end.append(made.destroy)
        return made

    def _end(self):
        failures = super()._end()
        for what, left in (("domain", lambda: set(domains()) - self.domains_before),
                           ("backend", lambda: set(backends()))):
            try:
                harness.wait_until(lambda left=left: not left(), self.cleanup_s, "cleanup")
            except AssertionError:
                failures += [f"{what} {one}" for one in sorted(left())]
        return failures

    def report(self):
        text = [super().report()]
        for log in sorted(pathlib.Path("/var/log/xen/console").glob("guest-*.log")):
            lines = log.read_text(errors="replace").splitlines()
            text += [f"--- {log.name}, last of {len(lines)} lines", *lines[-8:]]
        return "\n".join(text)


def domain_json(name):
    """libxl's description of a domain."""
    output = subprocess.run(["xl", "list", "-l", str(name)], capture_output=True, text=True,
                            check=True).stdout
    return json.loads(output)[0]
