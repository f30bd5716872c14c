#!/usr/bin/python3
"""Runs every test of Quorate, quickest first, and ends with one line: `N passed, N failed, N skipped`.

    tools/test                     everything
    tools/test --quick             what takes seconds: format, layering, release build, unit tests
    tools/test --only unit,golden  these suites (and the builds they need)
    tools/test --list              the suites, in order, and what each is

Each suite's whole output is build/logs/SUITE.log. The numbers count single tests: gtest cases, Python
test methods, fuzzers, files; a build is one test. A suite that fails does not stop the others
(--fail-fast does). The exit status is 0 only if something ran and nothing failed.

Known limit: suites run one after the other, since most use every core by themselves; those that mostly
wait (netns, demo, xen) run two of their files at once.
"""

import argparse
import ast
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
LOGS = TOP / "build" / "logs"
CORES = len(os.sched_getaffinity(0))
LONG_REQUESTS = 1_000_000
AT_ONCE = min(2, CORES)  # files that have namespaces or an emulated machine of their own, and mostly wait
LONG_FACTOR = 10  # of the suites' deadlines


class Outcome:
    """What a suite found: counts, failures to show, reasons for skips."""

    def __init__(self):
        self.passed = 0
        self.failures = []  # (name, text)
        self.skips = []     # (name, reason)

    def fail(self, name, text=""):
        self.failures.append((name, text))

    def check(self, name, ok, text=""):
        if ok:
            self.passed += 1
        else:
            self.fail(name, text)


def signal_group(group, which):
    with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
        os.killpg(group, which)


class Suite:
    """Runs commands with a deadline and a log."""

    def __init__(self, name, about, action, seconds_max, quick=False):
        self.name = name
        self.about = about
        self.action = action
        self.seconds_max = seconds_max
        self.quick = quick
        self.outcome = Outcome()
        self.log = LOGS / f"{name}.log"
        self.deadline = 0.0
        self.running = set()  # process groups
        self.appending = threading.Lock()  # to the log, after one of several at once

    def run(self, end=float("inf")):
        """`end`: when the whole run's time is over (monotonic); what does not fit is a skip that says
        so, never a pass."""
        self.log.write_text("")
        now = time.monotonic()
        self.deadline = min(now + self.seconds_max, end)
        if now >= end:
            self.outcome.skips.append((self.name, "the time of --minutes is used up"))
            return self.outcome
        try:
            self.action(self)
        except subprocess.TimeoutExpired:
            if time.monotonic() >= end:
                self.outcome.skips.append((self.name, "cut short: the time of --minutes is used up"))
            else:
                self.outcome.fail(self.name, f"not done within {self.seconds_max} s\n" + self.tail())
        except OSError as error:
            self.outcome.fail(self.name, str(error))
        return self.outcome

    def command(self, argv, into=None, **environment):
        """Runs into the log, or another file; returns (status, output of this command). Whatever it
        started goes with it when the suite's time is over."""
        into = into or self.log
        begin = into.stat().st_size if into.exists() else 0
        with into.open("ab") as log:
            log.write(f"$ {' '.join(str(word) for word in argv)}\n".encode())
            log.flush()
            process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log, cwd=TOP, start_new_session=True,
                                       env={**os.environ, **environment})
            self.running.add(process.pid)
            try:
                status = process.wait(max(1.0, self.deadline - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                signal_group(process.pid, signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    signal_group(process.pid, signal.SIGKILL)
                    process.wait()
                raise
            finally:
                self.running.discard(process.pid)
        with into.open("rb") as log:
            log.seek(begin)
            return status, log.read().decode(errors="replace")

    def side_by_side(self, action, items, at_once):
        """Yields action(item) of each, run so many at once. What is raised for one ends the others."""
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            try:
                yield from pool.map(action, items)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for group in list(self.running):
                    signal_group(group, signal.SIGTERM)
                raise

    def apart(self, name, argv):
        """As command(), for one of several at once: its log is SUITE-NAME.log, then part of the suite's."""
        log = self.log.with_name(f"{self.name}-{name}.log")
        log.unlink(missing_ok=True)
        try:
            return self.command(argv, into=log)
        finally:
            with self.appending, self.log.open("a") as whole:
                whole.write(log.read_text(errors="replace"))

    def tail(self, lines=25):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


# --- kinds of suites --------------------------------------------------------------------------

def tracked(*patterns):
    """Files that git knows or would add."""
    output = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "--", *patterns],
                            cwd=TOP, check=True, capture_output=True, text=True).stdout
    return [name for name in output.splitlines() if (TOP / name).is_file()]


def formatting(suite):
    files = tracked("*.hh", "*.cc")
    status, output = suite.command(["clang-format", "--dry-run", "-Werror", *files])
    bad = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", output, re.MULTILINE)))
    for name in bad:
        suite.outcome.fail(name, f"clang-format -i {name}")
    if status != 0 and not bad:
        suite.outcome.fail("clang-format", output[-2000:])
    suite.outcome.passed += len(files) - len(bad)


def build(mode):
    def action(suite):
        status, output = suite.command([TOP / "tools" / "build", mode])
        errors = "\n".join(re.findall(r"^.*(?:error|Error)\b.*$", output, re.MULTILINE)[:12])
        suite.outcome.check(f"build/{mode}", status == 0, errors or suite.tail())
    return action


def meson_tests(mode, *names):
    """The meson tests of these suites in build/MODE, built first."""
    def action(suite):
        directory = TOP / "build" / mode
        status, _ = suite.command([TOP / "tools" / "build", mode, "--configure"])
        if status != 0:
            suite.outcome.fail(f"build/{mode}", suite.tail())
            return
        listed = json.loads(subprocess.run(["meson", "introspect", "--tests", directory], check=True,
                                           capture_output=True, text=True).stdout)
        have = {word.split(":")[-1] for test in listed for word in test["suite"]}
        wanted = [name for name in names if name in have]
        for name in names:
            if name not in have:
                suite.outcome.skips.append((name, "no such tests in the tree yet"))
        if not wanted:
            return
        results = directory / "meson-logs" / "testlog.json"
        results.unlink(missing_ok=True)
        # ThreadSanitizer cannot place its shadow under some kernels' address randomisation.
        argv = ["setarch", "-R"] if mode == "tsan" else []
        argv += ["meson", "test", "-C", directory, "--num-processes", CORES, "--print-errorlogs"]
        for name in wanted:
            argv += ["--suite", name]
        _, output = suite.command(
            argv, ASAN_OPTIONS="detect_stack_use_after_return=1:strict_string_checks=1",
            UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1",
            TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1")
        if not results.is_file():
            errors = "\n".join(re.findall(r"^.*\berror\b.*$", output, re.MULTILINE)[:12])
            suite.outcome.fail(f"build/{mode}", errors or suite.tail())
            return
        for line in results.read_text().splitlines():
            count_meson_test(json.loads(line), suite.outcome)
    return action


def count_meson_test(test, outcome):
    """One line of testlog.json; a gtest program counts as its cases."""
    name, output = test["name"].split(" ")[-1], test.get("stdout", "")
    if test["result"] == "SKIP":
        outcome.skips.append((name, (output.strip().splitlines() or ["no reason given"])[-1]))
        return
    good = test["result"] in ("OK", "EXPECTEDFAIL")
    passed = re.search(r"^\[  PASSED  \] (\d+) test", output, re.MULTILINE)
    failed = re.findall(r"^\[  FAILED  \] (\S+\.\S+?),? *(?:\(\d+ ms\))?$", output, re.MULTILINE)
    skipped = re.findall(r"^(?:\S+: Skipped\n(.*)\n+)?\[  SKIPPED \] (\S+\.\S+) \(", output,
                         re.MULTILINE)
    if passed:
        outcome.passed += int(passed.group(1))
        outcome.skips += [(f"{name} {case}", reason or "no reason given")
                          for reason, case in skipped]
    elif good:
        outcome.passed += 1
    if not good:
        shown = (output[-1800:] + "\n" + test.get("stderr", "")[-1800:]).strip()
        cases = sorted(set(failed)) or [test["result"]]
        outcome.fail(f"{name} {cases[0]}", f"{test['result']}\n{shown}")
        for case in cases[1:]:
            outcome.fail(f"{name} {case}")


def python_tests(*patterns, at_once=1):
    """Each file in a process of its own, so that one that dies takes only itself along."""
    def action(suite):
        files = sorted(name for pattern in patterns for name in tracked(pattern))
        if not files:
            suite.outcome.skips.append((suite.name, "no such tests in the tree yet"))
        for result in suite.side_by_side(lambda name: python_file(suite, name), files, at_once):
            count_python_file(suite.outcome, *result)
    return action


def python_file(suite, name, before=None):
    """One file of unittest cases, by a command before it where it runs elsewhere; (name, status, output)."""
    argv = [*(before or [sys.executable]), "tests/python_suite.py", name]
    return name, *suite.apart(pathlib.Path(name).stem, argv)


def count_python_file(outcome, name, status, output):
    """What tests/python_suite.py said of a file."""
    results = re.findall(r"^RESULT (\{.*\})$", output, re.MULTILINE)
    if not results:
        outcome.fail(name, output[-2500:])
        return
    result = json.loads(results[-1])
    outcome.passed += result["passed"]
    outcome.skips += re.findall(r"^skip  (\S+) \([\d.]+ s\): (.*)$", output, re.MULTILINE)
    bad = re.findall(r"^(?:FAIL|ERROR) +(\S.*?) \([\d.]+ s\)", output, re.MULTILINE)
    trouble = output[output.find("=====") if "=====" in output else -3000:][:5000]
    bad += [f"{name} (outside a test)"] * (result["failed"] - len(bad))
    for number, case in enumerate(bad):
        outcome.fail(case, trouble if number == 0 else "")
    if status != 0 and not bad:
        outcome.fail(name, f"exit status {status}\n{output[-1500:]}")


XEN_OUTSIDE = "tests/xen/outside"
XEN_FILE_SECONDS_MAX = 1200
XEN_ATTEMPTS = 2  # for a file whose emulated machine broke (tools/laboratory/machine.py)


def xen(suite):
    """tests/xen/outside/ runs here and uses the lab; the files of tests/xen/ run inside of Dom0, each in
    a machine of its own, restored from the layer that the file's LAB asks for. Those that say ALONE
    run when no other does."""
    native = pathlib.Path("/proc/xen/capabilities")
    here = native.exists() and "control_d" in native.read_text()
    status, output = suite.command([TOP / "tools" / "lab", "build"] if not here else ["true"])
    if "needs root" in output:
        suite.outcome.skips.append(("xen", "Dom0 is not built, and building it needs root"))
        return
    suite.outcome.check("lab build", status == 0, suite.tail())
    if status != 0:
        return
    files = tracked("tests/xen/test_*.py", *([] if here else [f"{XEN_OUTSIDE}/test_*.py"]))
    alone = [name for name in files if said_at_top(TOP / name, "ALONE", False)]
    together = [name for name in files if name not in alone]
    for names, at_once in ((together, 1 if here else AT_ONCE), (alone, 1)):
        for result in suite.side_by_side(lambda name: xen_file(suite, name, here), names, at_once):
            count_python_file(suite.outcome, *result)


def xen_file(suite, name, here):
    before = None if name.startswith(XEN_OUTSIDE) else [*in_dom0(suite, name, here), "python3"]
    for _ in range(XEN_ATTEMPTS):
        _, status, output = python_file(suite, name, before)
        fault = re.search(r"^lab: (QEMU failed a guest: .*)$", output, re.MULTILINE)
        if status == 0 or not fault:
            break
        print(f"   {name} failed, and so did what it ran on: {fault[1]}", flush=True)
    return name, status, output


def in_dom0(suite, name, here):
    """What runs a command where this file wants to be."""
    options = ["--native" if here else "--fresh", *said_at_top(TOP / name, "LAB", [])]
    seconds_max = XEN_FILE_SECONDS_MAX
    requests = os.environ.get("QUORATE_REQUESTS")
    if requests:
        options += ["--env", f"QUORATE_REQUESTS={requests}"]
        seconds_max = suite.seconds_max
    return [TOP / "tools" / "lab", "run", *options, "--timeout", seconds_max, "--"]


def said_at_top(path, name, otherwise):
    """What a test file says of itself, in one line: LAB = ["--image", "counter"], the options of
    tools/lab run."""
    said = re.search(rf"^{name} = (.*)$", path.read_text(), re.MULTILINE)
    return ast.literal_eval(said[1]) if said else otherwise


TIDIED = ("voter/*.cc", "wire/*.cc", "config/*.cc")


def tidy(suite):
    status, _ = suite.command([TOP / "tools" / "build", "asan", "--configure"])
    if status != 0:
        suite.outcome.fail("build/asan", suite.tail())
        return
    files = tracked(*TIDIED)
    # Each file is a test: `xargs` runs as many at once as there are cores.
    _, output = suite.command(["bash", "-c", 'printf "%s\\n" "$@" | xargs -P "$0" -I{} sh -c '
                               '"clang-tidy --quiet -p build/asan {} 2>&1 && echo TIDY-OK {}"',
                               CORES, *files])
    good = set(re.findall(r"^TIDY-OK (\S+)$", output, re.MULTILINE))
    problems = re.findall(r"^.*: (?:error|warning): .*$", output.replace(f"{TOP}/build/asan/../../",
                                                                         ""), re.MULTILINE)
    problems = list(dict.fromkeys(problems))
    suite.outcome.passed += len(good)
    for number, name in enumerate(sorted(set(files) - good)):
        suite.outcome.fail(name, "\n".join(problems[:20]) if number == 0 else "")


def demo(suite):
    def show_one(service):
        return service, *suite.apart(service, [TOP / "tools" / "demo", "--service", service, "--plain"])

    for service, status, output in suite.side_by_side(show_one, ("dns", "counter"), AT_ONCE):
        if status == 77:
            suite.outcome.skips.append((f"demo {service}", output.strip().splitlines()[-1]))
            continue
        suite.outcome.check(f"demo {service}", status == 0, output[-3000:])


SUITES = [
    Suite("format", "clang-format has nothing to change", formatting, 60, quick=True),
    Suite("layering", "who may include whom; headers compile alone; folders say what they are",
          python_tests("tests/layering/test_*.py"), 900, quick=True),
    Suite("build", "g++, optimised, warnings are errors", build("release"), 2400, quick=True),
    Suite("unit", "unit tests", meson_tests("release", "unit"), 1200, quick=True),
    Suite("tools", "the scripts themselves", python_tests("tests/tools/test_*.py"), 600, quick=True),
    Suite("golden", "captures in, verdicts out", meson_tests("release", "golden"), 600, quick=True),
    Suite("exhaustive", "every order of votes against a model", meson_tests("release", "exhaustive"),
          900),
    Suite("sim", "seeded simulation, faults then healing", meson_tests("release", "sim"), 1200),
    Suite("bench", "benchmarks, tiny, so that they do not rot", meson_tests("release", "bench"), 600),
    Suite("netns", "the real programs and services in namespaces",
          python_tests("tests/netns/test_*.py", at_once=AT_ONCE), 1200),
    Suite("demo", "the demo shows what it says", demo, 600),
    Suite("clang", "clang++ with AddressSanitizer and UBSan, warnings are errors", build("asan"), 2400),
    Suite("asan", "unit, golden and sim under both", meson_tests("asan", "unit", "golden", "sim"), 1200),
    Suite("tsan", "stress under ThreadSanitizer", meson_tests("tsan", "stress"), 900),
    Suite("fuzz", "each fuzzer, briefly", meson_tests("fuzz", "fuzz"), 1800),
    Suite("tidy", "clang-tidy over the pure parts", tidy, 600),
    Suite("xen", "real Xen under emulation: the lab, and what runs in its Dom0", xen, 3000),
]


# --- the run ----------------------------------------------------------------------------------

def show(suite, spent):
    outcome = suite.outcome
    print(f"   {outcome.passed} passed, {len(outcome.failures)} failed, "
          f"{len(outcome.skips)} skipped in {spent:.0f} s", flush=True)
    for name, text in outcome.failures:
        print(f"   FAILED {name}")
        if text.strip():
            print("      " + text.strip().replace("\n", "\n      "))
    for name, reason in outcome.skips:
        print(f"   skipped {name}: {reason}")
    sys.stdout.flush()


def chosen(arguments, parser):
    if arguments.only:
        names = [name for word in arguments.only for name in word.split(",")]
        for name in names:
            if name not in [suite.name for suite in SUITES]:
                parser.error(f"no suite {name}; --list shows them")
        return [suite for suite in SUITES if suite.name in names]
    return [suite for suite in SUITES if suite.quick or not arguments.quick]


def main():
    parser = argparse.ArgumentParser(prog="tools/test", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="say what there is, run nothing")
    parser.add_argument("--only", action="append", metavar="SUITE[,SUITE]", help="only these")
    parser.add_argument("--quick", action="store_true", help="only what takes seconds")
    parser.add_argument("--fail-fast", action="store_true", help="stop after a suite that failed")
    parser.add_argument("--keep-going", action="store_true", help="go on after failures (the default)")
    parser.add_argument("--skip", action="append", default=[], metavar="SUITE=WHY",
                        help="leave a suite out; counted as skipped, with the reason")
    parser.add_argument("--minutes", type=float, metavar="N",
                        help="what is not done by then is skipped, and counted so")
    parser.add_argument("--long", action="store_true",
                        help="a million requests in each of the tests on Xen, in place of 20,000: hours")
    arguments = parser.parse_args()
    if arguments.list:
        for suite in SUITES:
            print(f"{suite.name:11} {suite.about}{' (quick)' if suite.quick else ''}")
        return 0
    suites = chosen(arguments, parser)
    if arguments.long:
        os.environ["QUORATE_REQUESTS"] = str(LONG_REQUESTS)
        for suite in suites:
            suite.seconds_max *= LONG_FACTOR
    left_out = dict(word.split("=", 1) if "=" in word else (word, "--skip") for word in arguments.skip)
    for name in left_out:
        if name not in [suite.name for suite in SUITES]:
            parser.error(f"--skip {name}: no such suite; --list shows them")
    LOGS.mkdir(parents=True, exist_ok=True)
    if any(suite.name in ("netns", "xen", "demo") for suite in suites):
        # They use the built programs; alone they are still asked for what they need.
        if all(suite.name != "build" for suite in suites) and shutil.which("ninja"):
            suites.insert(0, next(suite for suite in SUITES if suite.name == "build"))
    began = time.monotonic()
    end = began + arguments.minutes * 60 if arguments.minutes else float("inf")
    ran = []
    for number, suite in enumerate(suites, 1):
        print(f"== {number}/{len(suites)} {suite.name}: {suite.about}", flush=True)
        start = time.monotonic()
        if suite.name in left_out:
            suite.outcome.skips.append((suite.name, left_out[suite.name]))
        else:
            suite.run(end)
        ran.append(suite)
        show(suite, time.monotonic() - start)
        if suite.outcome.failures and arguments.fail_fast:
            break
    passed = sum(suite.outcome.passed for suite in ran)
    failed = sum(len(suite.outcome.failures) for suite in ran)
    skipped = sum(len(suite.outcome.skips) for suite in ran)
    print(f"== {len(ran)} suites in {time.monotonic() - began:.0f} s; "
          f"logs in {LOGS.relative_to(TOP)}/")
    for suite in ran:
        for name, _ in suite.outcome.failures:
            print(f"   FAILED {suite.name}: {name}")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""),
          flush=True)
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
