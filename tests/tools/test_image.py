"""guest/image: packages unpacked, images described, built twice the same; and what goes wrong."""

import dataclasses
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import tomllib
import unittest
import zlib

TOP = pathlib.Path(__file__).resolve().parents[2]
IMAGE = TOP / "guest" / "image"
BUILD = TOP / "build" / "release"
sys.path.insert(0, str(IMAGE))

import archive  # noqa: E402
import contents  # noqa: E402
import description  # noqa: E402
import elf  # noqa: E402
import packages  # noqa: E402

# An apt that knows what the test says: POLICY and DEPENDS are files, ARCHIVES a folder of .debs.
FAKE_APT_CACHE = """#!/bin/sh
verb=$1; shift
[ ! -e "$FAKE/broken" ] || { echo "E: broken" >&2; exit 100; }
for word; do
    case $word in --*) ;; *) [ ! -e "$FAKE/$verb-$word" ] || cat "$FAKE/$verb-$word" ;; esac
done
"""
FAKE_APT_GET = """#!/bin/sh
echo "$*" >>"$FAKE/log"
for last; do :; done
[ "$last" != -qq ] || exit 0
[ ! -e "$FAKE/offline" ] || { echo "E: Temporary failure resolving" >&2; exit 100; }
cp "$FAKE/archives/$last.deb" "${last%=*}.deb"
"""


def run(*argv, **options):
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=300, **options)


class Scratch(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="quorate-image-")
        self.addCleanup(holder.cleanup)
        self.directory = pathlib.Path(holder.name)


class Packages(Scratch):
    def setUp(self):
        super().setUp()
        self.fake = self.directory / "fake"
        (self.fake / "archives").mkdir(parents=True)
        commands = self.directory / "bin"
        commands.mkdir()
        for name, text in (("apt-cache", FAKE_APT_CACHE), ("apt-get", FAKE_APT_GET)):
            (commands / name).write_text(text)
            (commands / name).chmod(0o755)
        self.environment = {**os.environ, "FAKE": str(self.fake),
                            "PATH": f"{commands}:{os.environ['PATH']}",
                            "QUORATE_CACHE": str(self.directory / "cache")}

    def offer(self, name, version, depends=""):
        root = self.directory / "deb"
        (root / "DEBIAN").mkdir(parents=True, exist_ok=True)
        (root / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@example>\n"
            "Description: x\n")
        (root / "usr" / "share").mkdir(parents=True, exist_ok=True)
        (root / "usr" / "share" / "version").write_text(version)
        done = run("dpkg-deb", "-b", root, self.fake / "archives" / f"{name}={version}.deb")
        self.assertEqual(done.returncode, 0, done.stderr)
        (self.fake / f"policy-{name}").write_text(f"{name}:\n  Installed: (none)\n"
                                                  f"  Candidate: {version}\n  Version table:\n")
        (self.fake / f"depends-{name}").write_text(f"{name}\n{depends}")

    def packages(self, *argv):
        # What apt said is remembered until its lists change; these lists change without a trace.
        (self.directory / "cache" / "packages" / ".answers.json").unlink(missing_ok=True)
        return run(IMAGE / "packages.py", *argv, env=self.environment)

    def fetched(self, name):
        done = self.packages("fetch", name, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)[name]
        self.assertEqual(pathlib.Path(found["directory"], "usr/share/version").read_text(),
                         found["version"])
        return found["version"]

    def downloads(self):
        log = self.fake / "log"
        return log.read_text().count("download") if log.exists() else 0

    def test_unpacks_once(self):
        self.offer("thing", "1:2.0-1")
        self.assertEqual(self.fetched("thing"), "1:2.0-1")
        self.assertEqual(self.fetched("thing"), "1:2.0-1")
        self.assertEqual(self.downloads(), 1)

    def test_takes_the_newer_and_keeps_three(self):
        for i in range(5):
            self.offer("thing", f"{i}")
            self.assertEqual(self.fetched("thing"), f"{i}")
        kept = sorted(path.name for path in (self.directory / "cache/packages").glob("thing_*"))
        self.assertEqual(kept, ["thing_2", "thing_3", "thing_4"])

    def test_without_a_network_the_older_one_serves(self):
        self.offer("thing", "1")
        self.fetched("thing")
        self.offer("thing", "2")
        (self.fake / "offline").touch()
        self.assertEqual(self.fetched("thing"), "1")
        (self.fake / "offline").unlink()
        self.assertEqual(self.fetched("thing"), "2")

    def test_what_does_not_exist_or_come(self):
        done = self.packages("fetch", "nothing-such")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("no package named nothing-such", done.stderr)
        self.offer("thing", "1")
        (self.fake / "offline").touch()
        done = self.packages("fetch", "thing")
        self.assertEqual(done.returncode, 2)
        self.assertIn("Temporary failure", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_a_killed_fetch_leaves_nothing_that_counts(self):
        self.offer("thing", "1")
        home = self.directory / "cache" / "packages"
        (home / ".unpacking-thing_1-x" / "root").mkdir(parents=True)
        self.assertEqual(self.fetched("thing"), "1")
        self.assertEqual(list(home.glob(".unpacking-*")), [])

    def test_closure_follows_libraries(self):
        self.offer("thing", "1", "  Depends: libone1\n |Depends: libchosen1\n"
                                 "  Depends: libother1\n  Depends: <virtual>\n  Depends: adduser\n")
        self.offer("libone1", "1", "  PreDepends: zlib1g\n  Depends: libone1\n")
        self.offer("libchosen1", "1")
        self.offer("zlib1g", "1")
        done = self.packages("closure", "thing", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(list(json.loads(done.stdout)), ["libchosen1", "libone1", "thing", "zlib1g"])

    def test_what_is_no_kernel(self):
        path = self.directory / "vmlinuz"
        for data in (b"", b"MZ" * 1000, bytes(0x202) + b"HdrS\x0f\x02" + bytes(100)):
            path.write_bytes(data)
            with self.assertRaises(packages.Failure):
                packages.inflate(packages.payload_of(path), "it")

    def test_modules_in_loading_order(self):
        modules = self.directory / "modules"
        (modules / "kernel").mkdir(parents=True)
        (modules / "modules.builtin").write_text("kernel/built-in.ko\n")
        for name, needs in (("a-one", "b_two,built_in"), ("b_two", "c"), ("c", ""), ("d", "nope")):
            (modules / "kernel" / f"{name}.ko").write_bytes(b"\0depends=" + needs.encode() + b"\0")
        names = [path.stem for path in packages.module_files(modules, ["a_one", "c", "built-in"])]
        self.assertEqual(names, ["c", "b_two", "a-one"])
        with self.assertRaisesRegex(packages.Failure, "no module nope"):
            packages.module_files(modules, ["d"])


class Archive(unittest.TestCase):
    ENTRIES = {"/b/c": archive.file(b"12345", 0o755), "/a": archive.link("b/c"),
               "/dev/null": archive.character_device(1, 3)}

    def members(self, data):
        """{name: (mode, content)}, read back."""
        found, at = {}, 0
        while True:
            fields = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
            self.assertEqual(data[at:at + 6], b"070701")
            name = data[at + 110:at + 110 + fields[11] - 1].decode()
            start = (at + 110 + fields[11] + 3) // 4 * 4
            if name == "TRAILER!!!":
                return found
            self.assertEqual((fields[2], fields[3]), (0, 0))  # owner, group
            self.assertEqual(fields[5], archive.FILE_TIME)
            found[name] = (fields[1], data[start:start + fields[6]])
            at = (start + fields[6] + 3) // 4 * 4

    def test_order_does_not_matter(self):
        turned = dict(reversed(list(self.ENTRIES.items())))
        self.assertEqual(archive.pack(self.ENTRIES), archive.pack(turned))

    def test_is_read_back(self):
        self.assertEqual(self.members(archive.pack(self.ENTRIES)), {
            "a": (0o120777, b"b/c"), "b": (0o40755, b""), "b/c": (0o100755, b"12345"),
            "dev": (0o40755, b""), "dev/null": (0o20600, b"")})

    def test_another_can_follow(self):
        for length in range(9):
            plain = archive.pack({"/f": archive.file(b"x" * length)})
            packed = archive.compress(plain)
            self.assertEqual(zlib.decompressobj(31).decompress(packed), plain)
            self.assertEqual((len(plain) % 4, len(packed) % 4), (0, 0))
            self.assertGreater(int.from_bytes(plain[-4:], "little"), 1 << 30)


class Elf(unittest.TestCase):
    def test_a_program_and_its_libraries(self):
        needs = elf.needs(pathlib.Path(sys.executable).resolve())
        self.assertEqual(needs.interpreter, "/lib64/ld-linux-x86-64.so.2")
        self.assertIn("libc.so.6", needs.libraries)

    def test_broken_files_are_said_to_be(self):
        data = pathlib.Path("/bin/true").resolve().read_bytes()
        chance = random.Random(1)
        with tempfile.NamedTemporaryFile() as file:
            path = pathlib.Path(file.name)
            for i in range(300):
                broken = bytearray(data[:chance.randrange(len(data))] if i % 2 else data)
                for _ in range(i % 7):
                    if broken:
                        broken[chance.randrange(min(len(broken), 2000))] = chance.randrange(256)
                path.write_bytes(bytes(broken))
                try:
                    elf.needs(path)
                except elf.NotElf:
                    pass


class Descriptions(Scratch):
    GOOD = {"description": "x", "command": ["/usr/bin/x"]}

    def test_all_that_are_here_are_right(self):
        self.assertGreaterEqual(set(description.available()),
                                {"counter", "counter-python", "echo", "hostile", "knot", "memcached",
                                 "named", "nsd"})
        for name in description.available():
            self.assertLessEqual(len(description.load(name).description), 100)

    def test_errors_name_the_key(self):
        description.parse("x", self.GOOD, "x.toml")
        for change, words in (
                ({"colour": "red"}, "x.toml: no key is named 'colour'"),
                ({"name": "y"}, "no key is named 'name'"),
                ({"command": []}, "command is missing"),
                ({"command": "x"}, "command must be a list of texts"),
                ({"command": ["x"]}, "'x' must be an absolute path"),
                ({"description": ""}, "description is missing"),
                ({"memory_mib": True}, "memory_mib must be a number"),
                ({"memory_mib": 0}, "memory_mib must be a number"),
                ({"user": "me"}, "user must be one of service, root"),
                ({"packages": [1]}, "packages must be a list of texts"),
                ({"programs": ["/a"]}, "come from packages"),
                ({"packages": ["x"], "programs": ["/a/../b"]}, "without '..'"),
                ({"files": {"etc/x": "y"}}, "files: 'etc/x' must be an absolute path"),
                ({"builds": {"/x": 1}}, "builds must be a table of texts")):
            with self.subTest(change), self.assertRaises(packages.Failure) as caught:
                description.parse("x", {**self.GOOD, **change}, "x.toml")
            self.assertIn(words, str(caught.exception))

    def test_files_that_are_wrong(self):
        (self.directory / "bad.toml").write_text("description = \n")
        with self.assertRaisesRegex(packages.Failure, "bad.toml: .*line 1"):
            description.load("bad", self.directory)
        for name in ("none", "../bad", "", "A"):
            with self.assertRaisesRegex(packages.Failure, "there is no image named"):
                description.load(name, self.directory)


def reason_to_skip():
    if not (BUILD / "guest" / "agent" / "agent").is_file():
        return "the release build is not there (tools/build)"
    try:
        packages.kernel()
    except packages.Failure as failure:
        return f"no kernel package: {failure}"
    return None


class Images(Scratch):
    """With Debian's packages: from the cache, or the network."""

    @classmethod
    def setUpClass(cls):
        reason = reason_to_skip()
        if reason:
            raise unittest.SkipTest(reason)

    def build(self, *argv, cache=None):
        environment = dict(os.environ)
        if cache is not None:  # images of its own, packages as they are
            cache.mkdir()
            (cache / "packages").symlink_to(packages.cache_directory() / "packages")
            environment["QUORATE_CACHE"] = str(cache)
        return run(IMAGE / "build", *argv, env=environment)

    def manifests(self, cache, *names):
        done = self.build(*names, "--json", cache=self.directory / cache)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_twice_the_same_and_small(self):
        one, two = (self.manifests(cache, "counter", "knot") for cache in ("one", "two"))
        self.assertEqual(["disk" in manifest for manifest in one], [False, True])
        for first, second in zip(one, two):
            for kind in ("ramdisk", "disk"):
                if kind not in first:
                    continue
                self.assertNotEqual(first[kind], second[kind])
                self.assertEqual(first[f"{kind}_sha256"], second[f"{kind}_sha256"])
                data = pathlib.Path(first[kind]).read_bytes()
                self.assertEqual(data, pathlib.Path(second[kind]).read_bytes())
                self.assertEqual(len(data), first[f"{kind}_bytes"])
                self.assertLess(len(data), 40 << 20)
            self.assertEqual(pathlib.Path(first["kernel"]).read_bytes()[:4], b"\x7fELF")

    def test_a_damaged_image_is_built_again(self):
        made = self.manifests("one", "knot")
        os.environ["QUORATE_CACHE"] = str(self.directory / "one")
        self.addCleanup(os.environ.pop, "QUORATE_CACHE")
        for kind in ("ramdisk", "disk"):
            file = pathlib.Path(made[kind])
            whole = file.read_bytes()
            file.write_bytes(whole[:-8])
            self.assertEqual(self.build("knot").returncode, 0)
            self.assertEqual(file.read_bytes(), whole)

    def test_what_is_said_of_an_image_is_part_of_its_key(self):
        # Imported here: it is a program, and has no name that import would take.
        loader = importlib.machinery.SourceFileLoader("image_build", str(IMAGE / "build"))
        specification = importlib.util.spec_from_loader("image_build", loader)
        build = importlib.util.module_from_spec(specification)
        loader.exec_module(build)
        kernel = packages.kernel()
        echo = description.load("echo")

        def image(disk=b"", versions=None):
            return contents.Image({}, {"/f": archive.file(disk)} if disk else {}, versions or {})

        key = build.key_of(echo, kernel, b"x", image())
        self.assertEqual(build.key_of(description.load("echo"), kernel, b"x", image()), key)
        for change in ({"memory_mib": 500}, {"health_seconds": 1}, {"description": "other"}):
            changed = dataclasses.replace(echo, **change)
            self.assertNotEqual(build.key_of(changed, kernel, b"x", image()), key)
        self.assertNotEqual(build.key_of(echo, kernel, b"y", image()), key)
        self.assertNotEqual(build.key_of(echo, kernel, b"x", image(disk=b"z")), key)
        self.assertNotEqual(build.key_of(echo, kernel, b"x", image(versions={"p": "1"})), key)

    def test_copies_and_the_lines_for_a_configuration(self):
        into = self.directory / "kept"
        for _ in range(2):
            done = self.build("knot", "--into", into, "--toml")
            self.assertEqual(done.returncode, 0, done.stderr)
        section = tomllib.loads(done.stdout)["group"]["replica"]["xen"]
        self.assertEqual(len(list(into.iterdir())), 3)
        for kind in ("kernel", "ramdisk", "disk"):
            self.assertEqual(pathlib.Path(section[kind]).parent, into.resolve())
            data = pathlib.Path(section[kind]).read_bytes()
            self.assertEqual(hashlib.sha256(data).hexdigest(), section[f"{kind}_sha256"])

    def test_says_what_is_missing(self):
        for argv, words in ((["no-such"], "there is no image named 'no-such' (there are: counter"),
                            ([], "which image? See --list"),
                            (["echo", "--build", self.directory], "lacks guest/agent/agent")):
            done = self.build(*argv)
            self.assertEqual((done.returncode, done.stdout), (2, ""), argv)
            self.assertIn(words, done.stderr)
            self.assertNotIn("Traceback", done.stderr)

    def test_lists_and_helps(self):
        listed = self.build("--list")
        self.assertEqual(listed.returncode, 0)
        self.assertIn("memcached", listed.stdout)
        self.assertEqual(set(json.loads(self.build("--list", "--json").stdout)),
                         set(description.available()))
        self.assertIn("NAME.", self.build("--help").stdout)


if __name__ == "__main__":
    unittest.main()
