"""How the demo tells its story: steps, plain sentences, live figures, checks and a table.

On a terminal with colour and a line that moves; elsewhere (or with --plain) line by line. Known
limit: counts on a terminal of 80 columns or more.
"""

import os
import sys
import textwrap
import time


class Story:
    def __init__(self, plain=False):
        self.moving = sys.stdout.isatty() and not plain
        self.colour = self.moving and "NO_COLOR" not in os.environ
        self.failed = []
        self.details = None  # of the figures that the next checks are about
        self.rows = []
        self.began = time.monotonic()
        self.step_name = ""
        self.number = 0

    def paint(self, code, text):
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def _line(self, text):
        print(("\r\x1b[K" if self.moving else "") + text, flush=True)

    def say(self, text):
        for line in textwrap.wrap(" ".join(text.split()), 92):
            self._line("  " + line)

    def show(self, text):
        """Output of a program, as it is."""
        for line in text.rstrip().splitlines():
            self._line("    " + self.paint("36", line[:110]))

    def step(self, name):
        self.number += 1
        self.step_name = name
        spent = time.monotonic() - self.began
        self._line("")
        self._line(self.paint("1", f"{self.number}. {name}") + self.paint("2", f"  [{spent:.0f} s]"))

    def live(self, text):
        """A line of figures that is replaced by the next."""
        if self.moving:
            print("\r\x1b[K    " + self.paint("33", text[:105]), end="", flush=True)

    def figures(self, text):
        self._line("    " + self.paint("33", text))

    def check(self, good, text):
        """What this step should show; the demo's exit status is whether all of it was true."""
        if not good:
            self.failed.append(f"{self.step_name}: {text}"
                               + (f"; all figures: {self.details}" if self.details else ""))
        self._line("  " + (self.paint("32", "yes") if good else self.paint("31", "NO ")) + "  " + text)
        return good

    def row(self, **figures):
        self.rows.append({"step": self.step_name, **figures})

    def table(self, columns):
        """columns: (key, heading, format)."""
        lines = [["step", *(heading for _, heading, _ in columns)]]
        for row in self.rows:
            lines.append([row["step"], *(self._cell(row.get(key), form) for key, _, form in columns)])
        widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
        self._line("")
        for number, line in enumerate(lines):
            text = "  ".join([line[0].ljust(widths[0]),
                              *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))])
            self._line("  " + (self.paint("1", text) if number == 0 else text))

    @staticmethod
    def _cell(value, form):
        return "-" if value is None else form.format(value)

    def end(self):
        """Says how it went; the exit status."""
        spent = time.monotonic() - self.began
        self._line("")
        if self.failed:
            self._line(self.paint("31", f"NOT as it should be ({spent:.0f} s):"))
            for text in self.failed:
                self._line("  " + text)
            return 1
        self._line(self.paint("32", f"Every step showed what it should ({spent:.0f} s)."))
        return 0
