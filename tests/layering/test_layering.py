"""Who may know whom, and other promises about the tree that no compiler keeps.

The table below is the architecture. A folder may include itself, what is listed for it, and the C++
standard library. Sources are read with comments and strings removed, so prose may say anything.
Known limit: includes made by macros are not seen (there are none).
"""

import concurrent.futures
import functools
import os
import pathlib
import re
import shlex
import subprocess
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]

ANY_OF_OURS = {"voter", "wire", "config", "recovery", "netns", "proxy", "xen"}

# folder: (folders of ours, other libraries by the start of the header's name).
# "posix" stands for C and system headers (<sys/socket.h>, <cstdlib>-like names with .h).
MAY_INCLUDE = {
    "voter": (set(), {"xxhash.h"}),
    # Addresses as text and vector instructions: nothing that touches the system.
    "wire": (set(), {"arpa/inet.h", "immintrin.h"}),
    "config": ({"voter", "wire"}, {"toml++/", "tl/", "posix"}),
    "recovery": ({"voter"}, {"nlohmann/", "tl/", "posix"}),
    "netns": ({"recovery", "config", "wire", "voter"}, {"nlohmann/", "tl/", "seccomp.h", "posix"}),
    "proxy": (ANY_OF_OURS - {"netns"},  # of xen/, only what SOME_OF says
              {"rte_", "xxhash.h", "nlohmann/", "tl/", "spdlog/", "fmt/", "CLI/", "pcap", "seccomp.h",
               "posix"}),
    "xen": ({"recovery", "config", "voter", "wire"},
            {"nlohmann/", "tl/", "xen", "libxl", "openssl/", "posix"}),
    "guest": (set(), {"posix"}),
    "tools": (ANY_OF_OURS | {"tools"},
              {"CLI/", "nlohmann/", "tl/", "fmt/", "spdlog/", "pcap", "curses.h", "ncurses",
               "seccomp.h", "xxhash.h", "posix"}),
}
# Of these folders, only so much is to be known.
SOME_OF = {"proxy": {"xen/": "xen/netback/"}}
# Tests and benchmarks of a folder know what it knows, and these besides.
TEST_LIBRARIES = {"gtest/", "gmock/", "benchmark/", "nlohmann/", "tl/", "xxhash.h", "posix"}
LIBRARIES = ["rte_", "xxhash.h", "toml++/", "tl/", "nlohmann/", "spdlog/", "fmt/", "CLI/", "pcap",
             "seccomp.h", "curses.h", "ncurses", "gtest/", "gmock/", "benchmark/", "libxl", "xenctrl",
             "xenstore", "xengnttab", "xenevtchn", "xen/", "openssl/"]

XEN_NAMES = re.compile(r"\b(libxl|xenctrl|xenstore|xs_open|xengnttab|xenevtchn|xc_interface|"
                       r"gnttab|evtchn)\w*")
DPDK_NAMES = re.compile(r"\b(rte_\w+|RTE_\w+)")

@functools.lru_cache(maxsize=None)
def tracked():
    """Every file of the tree that git knows or would add."""
    output = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=TOP,
                            check=True, capture_output=True, text=True).stdout
    return tuple(sorted(name for name in output.split("\0") if name and (TOP / name).is_file()))


def sources():
    return [name for name in tracked() if name.endswith((".hh", ".cc"))]


@functools.lru_cache(maxsize=None)
def code_of(name):
    """The file without comments and string literals (include lines keep their names)."""
    text = (TOP / name).read_text()
    pattern = re.compile(
        r'(?P<include>^[ \t]*#[ \t]*include[^\n]*)|//[^\n]*|/\*.*?\*/|'
        r'R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"',
        re.DOTALL | re.MULTILINE)
    return pattern.sub(lambda match: match.group("include") or
                       "\n" * match.group(0).count("\n"), text)


def includes_of(name):
    """(line number, '<' or '"', header) of each include."""
    found = []
    for number, line in enumerate(code_of(name).splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            found.append((number, match.group(1), match.group(2)))
    return found


def house_of(name):
    """(folder whose rules hold, is it a test of it)."""
    parts = name.split("/")
    if parts[0] in MAY_INCLUDE:
        return parts[0], False
    if parts[0] == "tests" and len(parts) > 3 and parts[2] in MAY_INCLUDE:
        return parts[2], True
    return None, True  # benchmarks and tests across folders


def library_of(header):
    for library in LIBRARIES:
        if header.startswith(library):
            return library
    return "posix" if header.endswith(".h") else None  # None: the standard library


def complaint(name, quote, header):
    """Why this include is wrong, or None."""
    folder, is_test = house_of(name)
    ours, libraries = MAY_INCLUDE.get(folder, (ANY_OF_OURS | {"tools"}, {"rte_"}))
    if is_test:
        ours, libraries = ours | {"tests"}, libraries | TEST_LIBRARIES
        if folder is None:
            libraries = libraries | {"pcap", "CLI/"}
    if quote == '"':
        if "/" not in header or not (TOP / header).is_file():
            return f'"{header}" is not a file from the top of the tree'
        top = header.split("/")[0]
        if top != folder and top not in ours:
            return f"{folder or name} may not know {top}/"
        for whole, part in SOME_OF.get(folder, {}).items():
            if not is_test and header.startswith(whole) and not header.startswith(part):
                return f"{folder} may know {part} of {whole}, and not {header}"
        return None
    library = library_of(header)
    if library is None or any(word.startswith(allowed) for allowed in libraries
                              for word in (library, header)):
        return None
    return f"{folder or name} may not include <{header}>"


class Check(unittest.TestCase):
    def none(self, wrong, what="not allowed"):
        if wrong:
            self.fail(what + ":\n" + "\n".join(wrong))


class Layering(Check):
    def test_there_is_something_to_look_at(self):
        self.assertGreater(len(sources()), 20)

    def test_includes_follow_the_table(self):
        wrong = []
        for name in sources():
            for number, quote, header in includes_of(name):
                why = complaint(name, quote, header)
                if why:
                    wrong.append(f"{name}:{number}: {why}")
        self.none(wrong)

    def test_only_proxy_says_rte(self):
        # and what tests or measures the proxy as a whole
        allowed = ("proxy/", "benchmarks/", "tests/appliance/", "tests/unit/proxy/", "tests/sim/",
                   "tests/golden/pipeline/", "tests/stress/", "tests/fuzz/proxy/", "tests/xen/")
        wrong = sorted({f"{name}: {match.group(0)}" for name in sources()
                        if not name.startswith(allowed)
                        for match in DPDK_NAMES.finditer(code_of(name))})
        self.none(wrong)

    def test_only_xen_says_xen(self):
        allowed = ("xen/", "tests/unit/xen/", "tests/xen/", "tests/fuzz/xen/", "tests/sim/")
        wrong = [f"{name}: {match.group(0)}" for name in sources() if not name.startswith(allowed)
                 for match in XEN_NAMES.finditer(code_of(name))]
        self.none(wrong)

    def test_the_check_sees_what_it_should(self):
        """The rules themselves: what must be refused is refused, what is right passes."""
        refused = [("voter/x.cc", '"', "wire/bytes.hh"), ("voter/x.cc", "<", "rte_mbuf.h"),
                   ("voter/x.cc", "<", "sys/socket.h"), ("wire/x.hh", "<", "tl/expected.hpp"),
                   ("config/x.cc", "<", "nlohmann/json.hpp"), ("tools/x.cc", "<", "rte_mbuf.h"),
                   ("guest/x.cc", '"', "wire/bytes.hh"), ("recovery/x.cc", "<", "libxl.h"),
                   ("netns/x.cc", "<", "rte_eal.h"), ("voter/x.cc", '"', "ballot.hh"),
                   ("tests/unit/voter/x.cc", '"', "wire/bytes.hh")]
        for name, quote, header in refused:
            self.assertIsNotNone(complaint(name, quote, header), (name, header))
        passes = [("voter/x.cc", "<", "xxhash.h"), ("voter/x.cc", "<", "array"),
                  ("proxy/x.cc", "<", "rte_mbuf.h"), ("config/x.cc", '"', "wire/bytes.hh"),
                  ("tests/unit/voter/x.cc", "<", "gtest/gtest.h")]
        for name, quote, header in passes:
            self.assertIsNone(complaint(name, quote, header), (name, header))


def comes_first(header):
    """Is it what its own .cc includes first?"""
    own = TOP / (header.removesuffix(".hh") + ".cc")
    found = own.is_file() and re.search(r'^#include [<"](\S+)[>"]', own.read_text(), re.MULTILINE)
    return bool(found) and found.group(1) == header


class Headers(Check):
    def test_each_has_its_guard(self):
        self.none([name for name in sources() if name.endswith(".hh")
                   and "#pragma once" not in (TOP / name).read_text()])

    def test_each_compiles_alone(self):
        """A header that its own .cc includes before anything else was compiled alone with that file."""
        flags = shlex.split(subprocess.run(
            ["pkg-config", "--cflags", "libdpdk", "tomlplusplus", "libpcap"], check=True,
            capture_output=True, text=True).stdout)
        flags = [re.sub(r"^-I", "-isystem", flag) for flag in flags]
        headers = [name for name in sources() if name.endswith(".hh") and not comes_first(name)]
        self.assertGreater(len(headers), 10)

        def compiles(name):
            with tempfile.NamedTemporaryFile("w", suffix=".cc") as alone:
                alone.write(f'#include "{name}"\n')
                alone.flush()
                result = subprocess.run(
                    ["g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic",
                     "-Wshadow", "-Wconversion", "-Werror", f"-I{TOP}", *flags, alone.name],
                    capture_output=True, text=True, check=False)
            return None if result.returncode == 0 else f"{name}:\n{result.stderr[:1500]}"

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            wrong = [text for text in pool.map(compiles, headers) if text]
        self.none(wrong)


class Tree(Check):
    def test_each_folder_says_what_it_is(self):
        folders = {name.split("/")[0] for name in tracked() if "/" in name}
        missing = [folder for folder in sorted(folders)
                   if not folder.startswith(".") and not (TOP / folder / "README.md").is_file()]
        self.none(missing, "these folders have no README.md")

    def test_no_test_sleeps_for_luck(self):
        """A pause is right in a loop with a deadline, or where the moment itself is tested: it then
        says so, `pause: WHY`, on its line or the one above."""
        cpp = re.compile(r"\b(sleep_for|sleep_until|usleep|nanosleep|sleep)\s*\(")
        pauses = {".py": re.compile(r"\bsleep\("), ".cc": cpp, ".hh": cpp,
                  ".sh": re.compile(r"(^|[;&|])\s*sleep\b")}
        wrong = []
        for name in tracked():
            pattern = pauses.get(os.path.splitext(name)[1])
            if not name.startswith("tests/") or not pattern or name == own_name():
                continue
            lines = ["", *(TOP / name).read_text().splitlines()]
            wrong += [f"{name}:{number}" for number, (above, line)
                      in enumerate(zip(lines, lines[1:]), 1)
                      if pattern.search(line.split("//")[0]) and "pause:" not in above + line]
        self.none(wrong, "wait for what must happen, with a deadline; these pause")


def own_name():
    return str(pathlib.Path(__file__).resolve().relative_to(TOP))


if __name__ == "__main__":
    unittest.main()
