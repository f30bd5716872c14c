#!/usr/bin/python3
"""Debian packages, unpacked into a cache and never installed: the kernel and the hypervisor of the
lab, the kernel and the services of replicas.

    packages.py fetch NAME...     unpack these; prints a line of name, version and directory each
    packages.py closure NAME...   these and the libraries they depend on, the same way
    packages.py kernel            version, vmlinuz, vmlinux (the ELF inside it), modules
    packages.py hypervisor        version, the compressed hypervisor, the ELF inside it
    packages.py modules NAME...   paths of kernel modules and of what they need, in loading order

With --json, one object. As a module: fetch(), closure(), kernel(), hypervisor(), module_files().

    $QUORATE_CACHE or $XDG_CACHE_HOME/quorate or ~/.cache/quorate
        packages/NAME_VERSION/...   as dpkg -x leaves it; a directory that is there is whole
        packages/.downloads/...     archives on their way

The newest version that apt knows is taken; where apt cannot be asked, or has no network, the newest
that was unpacked before. Of each package the newest three versions are kept. tools/servers does the
same for servers that run on this machine, and brings only what *this machine* lacks; here nothing
depends on the machine.

Known limit: of alternative dependencies the first is taken, and libraries are packages whose name
starts with "lib" or ends with "-libs", and zlib1g.
"""

import argparse
import contextlib
import dataclasses
import fcntl
import json
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zlib

KERNEL_PACKAGE = "linux-image-amd64"  # depends on the one with a version in its name
HYPERVISOR_PACKAGE = "xen-hypervisor-4.17-amd64"
VERSIONS_KEPT = 3
ANSWERS_MAX = 100  # of apt, remembered
DOWNLOAD_SECONDS_MAX = 900
PACKAGES_MAX = 200  # of one closure
IMAGE_BYTES_MAX = 512 << 20  # an unpacked kernel or hypervisor


class Failure(Exception):
    """Something a person has to look at; its text says what."""


def say(text):
    print(f"packages: {text}", file=sys.stderr, flush=True)


def cache_directory():
    """Quorate's cache; its parts are below (packages, images, ...)."""
    if os.environ.get("QUORATE_CACHE"):
        return pathlib.Path(os.environ["QUORATE_CACHE"]).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base).resolve() / "quorate"


def run(argv, **options):
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment,
                              stdin=subprocess.DEVNULL, **options)
    except FileNotFoundError:
        raise Failure(f"{argv[0]} is not on this machine; Debian's packages need it") from None
    except subprocess.TimeoutExpired:
        raise Failure(f"{' '.join(argv[:3])} ...: gave up after {options['timeout']} s") from None
    if done.returncode != 0:
        raise Failure(f"{' '.join(argv[:3])} ...: {done.stderr.strip()[-400:]}")
    return done.stdout


@contextlib.contextmanager
def locked(path):
    """Alone among the processes that lock this path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- what apt knows

def lists_stamp():
    """Changes whenever apt's answers might."""
    stamps = []
    for path in ("/var/lib/apt/lists", "/var/lib/dpkg/status", "/etc/apt/sources.list",
                 "/etc/apt/sources.list.d", "/etc/apt/preferences.d"):
        with contextlib.suppress(OSError):
            stamps.append(os.stat(path).st_mtime_ns)
    return stamps


def ask_apt(*words):
    """What apt-cache says, remembered: it takes half a second for each question, however short."""
    memory = cache_directory() / "packages" / ".answers.json"
    stamp, question = lists_stamp(), " ".join(words)
    answers = {}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        remembered = json.loads(memory.read_text())
        if remembered["stamp"] == stamp:
            answers = remembered["answers"]
    if question not in answers:
        answers[question] = run(["apt-cache", *words])
        while len(answers) > ANSWERS_MAX:
            answers.pop(next(iter(answers)))
        memory.parent.mkdir(parents=True, exist_ok=True)
        temporary = memory.with_name(f".answers.{os.getpid()}")
        temporary.write_text(json.dumps({"stamp": stamp, "answers": answers}))
        temporary.replace(memory)
    return answers[question]


def candidates(names):
    """{package: the version apt would install}; unknown packages are left out."""
    versions, name = {}, None
    for line in ask_apt("policy", *names).splitlines():
        if line and not line.startswith(" "):
            name = line.rstrip(":")
        match = re.match(r"\s+Candidate: (\S+)", line)
        if match and match.group(1) != "(none)":
            versions[name] = match.group(1)
    return versions


def dependencies(names):
    """Packages that these depend on, of alternatives the first; virtual ones are left out."""
    output = ask_apt("depends", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks",
                     "--no-replaces", "--no-enhances", *names)
    found, alternative = set(), False
    for line in output.splitlines():
        match = re.match(r"\s+(\|?)(?:Pre)?Depends: (\S+)", line)
        if not match:
            continue
        name = match.group(2).split(":")[0]
        if not alternative and not name.startswith("<"):
            found.add(name)
        alternative = bool(match.group(1))
    return sorted(found)


def update_lists():
    if os.getuid() != 0:
        raise Failure("apt's lists are out of date: sudo apt-get update")
    say("reading the package lists")
    run(["apt-get", "update", "-qq"], timeout=DOWNLOAD_SECONDS_MAX)


# --- unpacking

def unpacked(package):
    """Directories of the versions that are there, newest first."""
    home = cache_directory() / "packages"
    found = [path for path in home.glob(f"{package}_*") if path.is_dir()]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def directory_of(package, version):
    return cache_directory() / "packages" / f"{package}_{version.replace(':', '%3a')}"


def version_of(directory):
    return directory.name.split("_", 1)[1].replace("%3a", ":")


def download(package, version):
    """The archive; what came of it in an earlier try is used again, where apt can."""
    place = cache_directory() / "packages" / ".downloads" / directory_of(package, version).name
    place.mkdir(parents=True, exist_ok=True)
    say(f"{package} {version}: downloading")
    run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=1", "download",
         f"{package}={version}"], cwd=place, timeout=DOWNLOAD_SECONDS_MAX)
    archives = list(place.glob("*.deb"))
    if len(archives) != 1:
        raise Failure(f"{package}: apt-get download left {len(archives)} archives in {place}")
    return archives[0]


def unpack(archive, target):
    """Beside `target`, then renamed: others see all of it or nothing."""
    prefix = f".unpacking-{target.name}-"
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix) as scratch:
        fresh = pathlib.Path(scratch) / "root"
        run(["dpkg", "-x", str(archive), str(fresh)])
        fresh.chmod(0o755)
        os.utime(fresh)  # its age is that of its arrival here
        fresh.rename(target)


def forget_old(package):
    for directory in unpacked(package)[VERSIONS_KEPT:]:
        shutil.rmtree(directory, ignore_errors=True)


def fetch_one(package):
    """Downloads and unpacks the newest version; looks at apt's lists again where they are old."""
    home = cache_directory() / "packages"
    with locked(home / f".lock-{package}"):
        for remains in home.glob(f".unpacking-{package}_*"):
            shutil.rmtree(remains, ignore_errors=True)
        for again in (False, True):
            if again:
                update_lists()
            version = candidates([package]).get(package)
            if version and directory_of(package, version).is_dir():
                return directory_of(package, version)  # another process was faster
            try:
                if version is None:
                    raise Failure(f"Debian's lists have no package named {package}")
                archive = download(package, version)
                break
            except Failure:
                # The lists may be missing, or name a version that the archive no longer has.
                if again:
                    raise
        target = directory_of(package, version)
        unpack(archive, target)
        shutil.rmtree(archive.parent, ignore_errors=True)
        forget_old(package)
        return target


def fetch(names):
    """{name: directory of the unpacked package}. Raises Failure."""
    found = {}
    try:
        versions = candidates(names)
    except Failure as failure:
        say(str(failure))
        versions = {}
    for name in names:
        found[name] = directory_of(name, versions[name]) if name in versions else None
        if found[name] is None or not found[name].is_dir():
            try:
                found[name] = fetch_one(name)
            except Failure as failure:
                kept = unpacked(name)
                if not kept:
                    raise
                say(f"{failure}; taking {name} {version_of(kept[0])}, which is here")
                found[name] = kept[0]
    return found


def ready(package):
    """The directory of one package. Raises Failure."""
    return fetch([package])[package]


def is_library(package):
    return package.startswith("lib") or package.endswith("-libs") or package == "zlib1g"


def closure(names):
    """The packages and, transitively, the libraries they depend on: {name: directory}."""
    found, waiting = {}, list(names)
    while waiting:
        if len(found) + len(waiting) > PACKAGES_MAX:
            raise Failure(f"{' '.join(names)}: more than {PACKAGES_MAX} packages")
        found.update(fetch(waiting))
        waiting = [name for name in dependencies(waiting)
                   if is_library(name) and name not in found]
    return dict(sorted(found.items()))


# --- kernel and hypervisor

@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel's files. `release` is what uname -r says, `version` the package's."""
    package: str
    version: str
    release: str
    vmlinuz: pathlib.Path
    vmlinux: pathlib.Path  # the ELF within: PV and PVH guests boot it, and emulated machines faster
    modules: pathlib.Path  # lib/modules/RELEASE, without depmod's files


@dataclasses.dataclass(frozen=True)
class Hypervisor:
    package: str
    version: str
    compressed: pathlib.Path
    elf: pathlib.Path  # multiboot loaders that cannot unpack take this


def inflate(data, what):
    """What a stream of gzip or xz holds; trailing bytes are ignored."""
    if data[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(data, IMAGE_BYTES_MAX)
    if data[:2] == b"\x1f\x8b":
        return zlib.decompressobj(31).decompress(data, IMAGE_BYTES_MAX)
    raise Failure(f"{what} is compressed neither by xz nor by gzip ({data[:4].hex()})")


def payload_of(vmlinuz):
    """The compressed kernel in a bzImage (Documentation/arch/x86/boot.rst: setup header)."""
    data = vmlinuz.read_bytes()
    if data[0x202:0x206] != b"HdrS" or int.from_bytes(data[0x206:0x208], "little") < 0x208:
        raise Failure(f"{vmlinuz} is no bzImage of boot protocol 2.08 or later")
    start = (data[0x1F1] or 4) + 1  # sectors of real-mode code; 0 means 4
    offset = start * 512 + int.from_bytes(data[0x248:0x24C], "little")
    length = int.from_bytes(data[0x24C:0x250], "little")
    if offset + length > len(data):
        raise Failure(f"{vmlinuz} is cut short")
    return data[offset:offset + length]


def derived(path, make):
    """A file made from others of the package, kept beside them; whole or not there."""
    if not path.exists():
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(make())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def elf_from(data, what):
    if data[:4] != b"\x7fELF":
        raise Failure(f"{what} holds no ELF file")
    return data


def kernel():
    """The newest Debian kernel of the standard flavour (the cloud flavour cannot be Dom0)."""
    named = [name for name in dependencies([KERNEL_PACKAGE]) if name.startswith("linux-image-")]
    if not named:
        raise Failure(f"{KERNEL_PACKAGE} depends on no kernel")
    root = ready(named[0])
    images = list(root.glob("boot/vmlinuz-*"))
    if len(images) != 1:
        raise Failure(f"{named[0]} holds {len(images)} kernels")
    release = images[0].name.removeprefix("vmlinuz-")
    vmlinux = derived(root / "boot" / f"vmlinux-{release}",
                      lambda: elf_from(inflate(payload_of(images[0]), images[0].name),
                                       images[0].name))
    return Kernel(named[0], version_of(root), release, images[0], vmlinux,
                  root / "lib" / "modules" / release)


def hypervisor():
    root = ready(HYPERVISOR_PACKAGE)
    compressed = sorted(path for path in root.glob("boot/xen-*.gz") if not path.is_symlink())
    if not compressed:
        raise Failure(f"{HYPERVISOR_PACKAGE} holds no boot/xen-*.gz")
    image = compressed[-1]
    elf = derived(image.with_suffix(".elf"),
                  lambda: elf_from(inflate(image.read_bytes(), image.name), image.name))
    return Hypervisor(HYPERVISOR_PACKAGE, version_of(root), image, elf)


def module_files(modules, names):
    """Paths of the modules and of what they need, in an order in which insmod takes them.

    `modules` is Kernel.modules. What is built into the kernel is left out.
    """
    by_name = {path.stem.replace("-", "_"): path for path in modules.rglob("*.ko")}
    builtin = {pathlib.PurePath(line).stem.replace("-", "_")
               for line in (modules / "modules.builtin").read_text().splitlines()}
    ordered, visiting = [], set()

    def visit(name):
        name = name.replace("-", "_")
        path = by_name.get(name)
        if name in builtin or path in ordered or name in visiting:
            return
        if path is None:
            raise Failure(f"{modules.name} has no module {name}")
        visiting.add(name)
        needs = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for other in (needs.group(1).decode().split(",") if needs else []):
            if other:
                visit(other)
        ordered.append(path)

    for name in names:
        visit(name)
    return ordered


# --- the command line

def show(value, as_json):
    if as_json:
        print(json.dumps(value, indent=1, default=str))
    elif isinstance(value, dict):
        for name, one in value.items():
            print(name, one)
    else:
        print("\n".join(map(str, value)))


def with_versions(directories, as_json):
    if as_json:
        return {name: {"version": version_of(path), "directory": path}
                for name, path in directories.items()}
    return {name: f"{version_of(path)} {path}" for name, path in directories.items()}


def main():
    parser = argparse.ArgumentParser(
        prog="packages.py", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON value")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in ("fetch", "closure", "modules"):
        commands.add_parser(name, parents=[shared]).add_argument("name", nargs="+")
    for name in ("kernel", "hypervisor"):
        commands.add_parser(name, parents=[shared])
    arguments = parser.parse_args()
    try:
        if arguments.command == "fetch":
            show(with_versions(fetch(arguments.name), arguments.json), arguments.json)
        elif arguments.command == "closure":
            show(with_versions(closure(arguments.name), arguments.json), arguments.json)
        elif arguments.command == "modules":
            show(module_files(kernel().modules, arguments.name), arguments.json)
        else:
            found = kernel() if arguments.command == "kernel" else hypervisor()
            show(dataclasses.asdict(found), arguments.json)
    except (Failure, OSError, lzma.LZMAError, zlib.error) as failure:
        print(f"packages.py: {failure}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
