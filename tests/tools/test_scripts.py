"""tools/setup, tools/servers, tools/test: what they promise, tried on copies where they would act."""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest
import unittest.mock

TOP = pathlib.Path(__file__).resolve().parents[2]
TOOLS = TOP / "tools"


def run(*argv, **options):
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, **options)


class Setup(unittest.TestCase):
    def test_the_list_is_sorted_and_told_once(self):
        lines = [line for line in (TOOLS / "packages.txt").read_text().splitlines()
                 if line and not line.startswith("#")]
        self.assertEqual(lines, sorted(set(lines)))
        for line in lines:
            self.assertRegex(line, r"^[a-z0-9][a-z0-9+.-]+$")

    def test_nothing_missing_is_quiet(self):
        done = run(TOOLS / "setup")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertEqual(run(TOOLS / "setup", "--check").returncode, 0)
        self.assertEqual(run(TOOLS / "setup", "--chek").returncode, 2)

    def test_without_root_it_says_the_command(self):
        with tempfile.TemporaryDirectory() as directory:
            os.chmod(directory, 0o755)
            shutil.copy(TOOLS / "setup", directory)
            pathlib.Path(directory, "packages.txt").write_text(
                "# a comment: of words\nbash\nsurely-no-package-1\nsurely-no-package-2\n")
            argv = [pathlib.Path(directory) / "setup"]
            if os.getuid() == 0:
                argv = ["setpriv", "--reuid", "65534", "--clear-groups", *argv]
            done = run(*argv)
            self.assertEqual(done.returncode, 2)
            self.assertIn("apt-get install --no-install-recommends "
                          "surely-no-package-1 surely-no-package-2\n", done.stderr)
            checked = run(pathlib.Path(directory) / "setup", "--check")
            self.assertEqual((checked.returncode, checked.stdout),
                             (1, "missing:\nsurely-no-package-1\nsurely-no-package-2\n"))


class Servers(unittest.TestCase):
    def test_the_list_comes_from_packages_txt(self):
        listed = run(TOOLS / "servers", "--packages").stdout.split()
        self.assertIn("nsd", listed)
        installed = (TOOLS / "packages.txt").read_text().splitlines()
        self.assertFalse(set(listed) & set(installed), "would be installed, and so started")

    def test_a_cache_works_where_it_is_moved_to(self):
        original = pathlib.Path(run(TOOLS / "servers", "path", "nsd").stdout.strip())
        self.assertTrue(original.is_file())
        with tempfile.TemporaryDirectory() as directory:
            shutil.copytree(original.parents[1],
                            pathlib.Path(directory, "servers", "nsd", original.parents[1].name),
                            symlinks=True)
            done = run(TOOLS / "servers", "path", "nsd",
                       env={**os.environ, "QUORATE_CACHE": directory})
            self.assertTrue(done.stdout.startswith(directory), done)
            self.assertEqual(done.stderr, "", "it was fetched again")
            self.assertIn("NSD version", run(done.stdout.strip(), "-v").stderr)

    def test_an_unknown_package_is_named(self):
        done = run(TOOLS / "servers", "path", "surely-no-package")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no package named surely-no-package", done.stderr)


class Examples(unittest.TestCase):
    def test_they_pass_the_check(self):
        quorate = TOP / "build" / "release" / "tools" / "quorate" / "quorate"
        examples = sorted((TOP / "examples").glob("*/*.toml"))
        self.assertGreaterEqual(len(examples), 2)
        for example in examples:
            with self.subTest(example.name):
                done = run(quorate, "check", example)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


def runner():
    spec = importlib.util.spec_from_file_location("tests_run", TOP / "tests" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class XenSuite(unittest.TestCase):
    """The suite xen of tests/run.py, with a lab, and tests beside it, that do nothing but note how they
    are called."""

    LAB = """#!/bin/sh
[ $1 = run ] || exit 0
for file; do :; done
echo begin $file >>calls
echo "$@" >>calls
case $file in *slow*) sleep 60;; *bad*) exit 3;; esac
echo end $file >>calls
echo 'RESULT {"passed": 2, "failed": 0, "skipped": 0}'
"""
    OUTSIDE = """import sys
open("calls", "a").write(f"outside {sys.argv[1]}\\n")
print('RESULT {"passed": 1, "failed": 0, "skipped": 0}')
"""

    def run_suite(self, files, seconds_max=60, **environment):
        module = runner()
        with tempfile.TemporaryDirectory() as directory, \
                unittest.mock.patch.dict(os.environ, environment):
            module.TOP = module.LOGS = pathlib.Path(directory)
            files = {f"tests/xen/{name}.py": text for name, text in files.items()}
            for name, text in {**files, "tools/lab": self.LAB,
                               "tests/python_suite.py": self.OUTSIDE}.items():
                path = module.TOP / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            (module.TOP / "tools" / "lab").chmod(0o755)
            run("git", "init", "-q", module.TOP)
            suite = module.Suite("xen", "", module.xen, seconds_max)
            suite.run()
            return suite.outcome, (module.TOP / "calls").read_text().splitlines(), suite.log.read_text()

    def test_files_that_measure_time_run_alone(self):
        outcome, calls, log = self.run_suite(
            {"test_a": "ALONE = True\n", "test_b": 'LAB = ["--image", "echo"]\n', "test_c": "", "test_bad": ""})
        self.assertEqual((outcome.passed, [name for name, _ in outcome.failures]),
                         (7, ["tests/xen/test_bad.py"]))
        self.assertEqual(log.count("RESULT"), 3)
        self.assertEqual(calls[-3], "begin tests/xen/test_a.py")
        self.assertTrue(any(call.startswith("run --fresh --image echo --timeout ") for call in calls))

    def test_what_looks_at_the_lab_runs_outside_of_it(self):
        outcome, calls, _ = self.run_suite({"test_a": "", "outside/test_b": ""})
        self.assertEqual((outcome.passed, outcome.failures), (4, []))  # with the building
        self.assertIn("outside tests/xen/outside/test_b.py", calls)

    def test_more_requests(self):
        _, calls, _ = self.run_suite({"test_a": ""}, QUORATE_REQUESTS="7")
        self.assertIn("run --fresh --env QUORATE_REQUESTS=7 --timeout 60 --", calls[1])

    def test_when_the_time_is_over_all_end(self):
        began = time.monotonic()
        outcome, calls, _ = self.run_suite({"test_slow": "", "test_slow_too": "", "test_c": ""}, seconds_max=3)
        self.assertLess(time.monotonic() - began, 30)
        self.assertIn("not done within 3 s", outcome.failures[-1][1])
        self.assertFalse([call for call in calls if call.startswith("end") and "slow" in call])


class Counting(unittest.TestCase):
    """tests/run.py turns what test programs print into counts."""

    def count(self, result, stdout):
        module = runner()
        outcome = module.Outcome()
        module.count_meson_test({"name": "voter / voter/ballot", "result": result, "stdout": stdout},
                                outcome)
        return outcome.passed, [name for name, _ in outcome.failures], outcome.skips

    def test_gtest_cases_count(self):
        self.assertEqual(self.count("OK", "[==========] 3 tests\n[  PASSED  ] 3 tests.\n"), (3, [], []))
        self.assertEqual(self.count("OK", "hello\n"), (1, [], []))

    def test_failures_are_named(self):
        output = ("[  FAILED  ] Ballot.splits (0 ms)\n[  PASSED  ] 2 tests.\n"
                  "[  FAILED  ] 1 test, listed below:\n[  FAILED  ] Ballot.splits\n")
        self.assertEqual(self.count("FAIL", output), (2, ["voter/ballot Ballot.splits"], []))
        self.assertEqual(self.count("TIMEOUT", ""), (0, ["voter/ballot TIMEOUT"], []))

    def test_skips_say_why(self):
        output = ("a.cc:3: Skipped\nno root\n\n[  SKIPPED ] Ports.tap (0 ms)\n[  PASSED  ] 1 test.\n"
                  "[  SKIPPED ] 1 test, listed below:\n[  SKIPPED ] Ports.tap\n")
        self.assertEqual(self.count("OK", output), (1, [], [("voter/ballot Ports.tap", "no root")]))
        self.assertEqual(self.count("SKIP", "no network here\n"),
                         (0, [], [("voter/ballot", "no network here")]))

    def test_nothing_ran_is_a_failure(self):
        with tempfile.TemporaryDirectory() as directory:
            empty = pathlib.Path(directory, "test_empty.py")
            empty.write_text("import unittest\n")
            done = run(TOP / "tests" / "python_suite.py", empty)
            self.assertIn('RESULT {"passed": 0, "failed": 0, "skipped": 0}', done.stdout)
        done = run(TOOLS / "test", "--only", "surely-no-suite")
        self.assertEqual(done.returncode, 2)

    def test_a_failing_python_test_is_counted(self):
        with tempfile.TemporaryDirectory() as directory:
            mixed = pathlib.Path(directory, "test_mixed.py")
            mixed.write_text("import unittest\nclass T(unittest.TestCase):\n"
                             "    def test_a(self): pass\n"
                             "    def test_b(self): self.fail('so')\n"
                             "    def test_c(self): self.skipTest('why')\n")
            done = run(TOP / "tests" / "python_suite.py", mixed)
            self.assertEqual(done.returncode, 1)
            self.assertIn('RESULT {"passed": 1, "failed": 1, "skipped": 1}', done.stdout)
            self.assertRegex(done.stdout, r"skip  test_mixed\.T\.test_c \([\d.]+ s\): why")
