#!/usr/bin/python3
"""Runs unittest files and ends with one line a program can read:

    RESULT {"passed": 7, "failed": 1, "skipped": 0}

Used by tests/run.py; by hand: tests/python_suite.py tests/layering/test_layering.py [-k NAME].
Known limit: one process; a test that hangs is ended by the caller's deadline.
"""

import argparse
import importlib.util
import json
import pathlib
import sys
import time
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent


class Progress(unittest.TextTestResult):
    """One line a test, with its time; the reason for a skip beside it."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.showAll = self.dots = False  # our own lines instead
        self.passed = 0
        self.started = 0.0

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()

    def line(self, word, test, note=""):
        spent = time.monotonic() - self.started
        self.stream.writeln(f"{word:5} {test.id()} ({spent:.1f} s){': ' if note else ''}{note}")
        self.stream.flush()

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1
        self.line("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.line("FAIL", test)

    def addError(self, test, err):
        super().addError(test, err)
        self.line("ERROR", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line("skip", test, reason)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.line("FAIL", subtest)


def load(path):
    """The module of a test file, under its own name, with its folder importable."""
    path = path.resolve()
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def skipped(name, reason):
    """A test that stands for a file that cannot run."""
    @unittest.skip(reason)
    def whole_file(self):
        pass

    return type(name, (unittest.TestCase,), {"whole_file": whole_file})("whole_file")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="+", type=pathlib.Path)
    parser.add_argument("-k", metavar="NAME", help="only tests whose name has NAME in it")
    arguments = parser.parse_args()

    loader = unittest.TestLoader()
    if arguments.k:
        loader.testNamePatterns = [f"*{arguments.k}*"]
    suite = unittest.TestSuite()
    for path in arguments.file:
        try:
            suite.addTests(loader.loadTestsFromModule(load(path)))
        except unittest.SkipTest as reason:  # the whole file cannot run here
            suite.addTest(skipped(path.stem, str(reason)))
    runner = unittest.TextTestRunner(stream=sys.stdout, resultclass=Progress, verbosity=0)
    result = runner.run(suite)
    # setUpClass and setUpModule fail (or skip) outside any test; each counts as one.
    print("RESULT " + json.dumps({
        "passed": result.passed,
        "failed": len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses),
        "skipped": len(result.skipped),
    }), flush=True)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
