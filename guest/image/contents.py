"""What goes into an image, collected: path in the image -> archive.Entry.

Programs are taken from unpacked Debian packages with the libraries they name, our own from the
build (they are static). A guest's tree is "merged": /bin, /sbin, /lib and /lib64 are links to /usr.
"""

import dataclasses
import pathlib
import shlex
import stat

import archive
import elf
import packages
from description import HERE, USERS
from packages import Failure

TOP = HERE.parents[1]
AGENT = "guest/agent/agent"  # in the build
LIBRARY_FOLDERS = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib", "lib")
LIBRARIES_TO = "/usr/lib/x86_64-linux-gnu"  # where Debian's loader looks by itself
MODULES_TO = "/usr/lib/modules"
MODULES_ALWAYS = ("xen-blkfront",)  # for a configuration that comes as a disk
MODULES_FOR_DISK = ("squashfs", "overlay")
FOLDER_FILES_MAX = 5_000
PASSWD = "root:x:0:0:root:/:/bin/sh\nservice:x:1000:1000:service:/run/service:/bin/false\n"
GROUP = "root:x:0:\nservice:x:1000:\n"


def merged(path):
    """The path below /usr that /bin/..., /sbin/..., /lib... lead to."""
    first = path.split("/")[1]
    return "/usr" + path if first in ("bin", "sbin", "lib", "lib64") else path


class Packages:
    """Unpacked packages as one tree."""

    def __init__(self, directories):
        self.directories = directories  # {name: path}

    def find(self, path):
        """The file at this absolute path, links followed within the packages; or None."""
        for _ in range(8):
            for root in self.directories.values():
                # Both ways of saying it, since some packages still ship /lib and /bin.
                for way in {path, merged(path), path.removeprefix("/usr")}:
                    file = root / way.lstrip("/")
                    if file.is_symlink():
                        target = pathlib.PurePosixPath(way).parent / file.readlink()
                        path = str(target)
                        break
                    if file.exists():
                        return file
                else:
                    continue
                break
            else:
                return None
        return None

    def library(self, name):
        for folder in LIBRARY_FOLDERS:
            file = self.find(f"/{folder}/{name}")
            if file is not None:
                return file
        return None

    def names(self):
        return ", ".join(sorted(self.directories))


def mode_of(path):
    return 0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644


class Contents:
    def __init__(self):
        self.entries = {}

    def put(self, path, entry):
        path = merged(path)
        if path in self.entries and self.entries[path] != entry:
            raise Failure(f"two different files would be {path}")
        self.entries[path] = entry

    def put_file(self, path, file):
        self.put(path, archive.file(file.read_bytes(), mode_of(file)))

    def put_with_libraries(self, path, file, tree):
        """A program or library, and what it needs; `tree` is where that is looked for."""
        self.put_file(path, file)
        try:
            needs = elf.needs(file)
        except elf.NotElf:
            return  # a script
        if needs.interpreter:
            loader = tree.find(needs.interpreter)
            if loader is None:
                raise Failure(f"{path}: no package holds its loader, {needs.interpreter}")
            self.put_file(needs.interpreter, loader)
        for name in needs.libraries:
            self.put_library(name, tree, wanted_by=path)

    def put_library(self, name, tree, wanted_by):
        target = f"{LIBRARIES_TO}/{name}"
        if target in self.entries:
            return
        file = tree.library(name)
        if file is None:
            raise Failure(f"{wanted_by} needs {name}, which is in none of {tree.names()}")
        self.put_with_libraries(target, file, tree)


def put_system(contents, kernel, modules):
    """What every image has: tree, busybox, init, modules."""
    for name in ("bin", "sbin", "lib", "lib64"):
        contents.entries["/" + name] = archive.link("usr/" + name)
    for name in ("/dev", "/proc", "/sys", "/run", "/usr/bin", "/usr/sbin", "/usr/lib",
                 "/usr/lib64", "/etc/quorate"):
        contents.put(name, archive.directory())
    contents.put("/tmp", archive.directory(0o1777))
    contents.put("/var/run", archive.link("../run"))
    contents.put("/dev/console", archive.character_device(5, 1))
    contents.put("/dev/null", archive.character_device(1, 3, 0o666))
    busybox = packages.ready("busybox-static")
    contents.put_file("/bin/busybox", Packages({"busybox-static": busybox}).find("/bin/busybox"))
    contents.put("/bin/sh", archive.link("busybox"))
    contents.put("/init", archive.file((HERE / "init").read_bytes(), 0o755))
    contents.put("/etc/passwd", archive.file(PASSWD.encode()))
    contents.put("/etc/group", archive.file(GROUP.encode()))
    contents.put("/etc/hosts", archive.file(b"127.0.0.1 localhost\n::1 localhost\n"))
    needs = []
    for name in sorted({*modules, *MODULES_ALWAYS}):
        files = packages.module_files(kernel.modules, [name])
        for file in files:
            contents.put_file(f"{MODULES_TO}/{file.name}", file)
        needs.append(f"{name.replace('-', '_')}: {' '.join(file.name for file in files)}\n")
    contents.put(f"{MODULES_TO}/needs", archive.file("".join(needs).encode()))


def image_script(description):
    """/etc/image, which /init reads."""

    def function(name, body):
        return f"{name}() {{\n{body.strip() or 'true'}\n}}\n"

    modules = " ".join(name.replace("-", "_") for name in description.modules)
    return ("# Written by guest/image/build.\n"
            f"image={shlex.quote(description.name)}\n"
            f"user={USERS[description.user]}\n"
            f"modules={shlex.quote(modules)}\n"
            f"disk={'yes' if description.disk else 'no'}\n"
            f"network={'yes' if description.network else 'no'}\n"
            f"health_seconds={description.health_seconds}\n"
            + function("prepare", description.prepare) + function("beside", description.beside)
            + function("health", description.health)
            + f"set -- {shlex.join(description.command)}\n").encode()


def put_folder(contents, words, tree):
    """`words` is a path, or PACKAGE:path where only that package's part of it is wanted."""
    package, _, folder = words.rpartition(":")
    if package and package not in tree.directories:
        raise Failure(f"folders: {package} is none of {tree.names()}")
    found = 0
    for name, root in tree.directories.items():
        if package not in ("", name):
            continue
        for file in sorted((root / folder.lstrip("/")).rglob("*")):
            if not file.is_file():
                continue
            found += 1
            if found > FOLDER_FILES_MAX:
                raise Failure(f"{folder} holds more than {FOLDER_FILES_MAX} files")
            path = "/" + str(file.relative_to(root))
            if file.is_symlink():
                contents.put(path, archive.link(str(file.readlink())))
            elif ".so" in file.name:
                contents.put_with_libraries(path, file, tree)
            else:
                contents.put_file(path, file)
    if found == 0:
        raise Failure(f"none of {tree.names()} holds {folder}")


def built(build, path):
    file = build / path
    if not file.is_file():
        raise Failure(f"{file} is not built: tools/build release {path}")
    if elf.needs(file).libraries:
        raise Failure(f"{file} is not static: a guest has no libraries for it "
                      "(builds with sanitizers are not for guests)")
    return file


@dataclasses.dataclass(frozen=True)
class Image:
    """{path: archive.Entry} of its ramdisk and of its disk, which may be none; {package: version}."""
    ramdisk: dict
    disk: dict
    versions: dict


def collect(description, kernel, build):
    """What is in an image. `build` is a build directory of the tree."""
    contents = Contents()
    put_system(contents, kernel,
               [*description.modules, *(MODULES_FOR_DISK if description.disk else ())])
    contents.put_file("/usr/bin/agent", built(build, AGENT))
    for path, text in description.files.items():
        contents.put(path, archive.file(text.encode()))
    contents.put("/etc/image", archive.file(image_script(description)))
    system = dict(contents.entries)
    tree = Packages(packages.closure(description.packages) if description.packages else {})
    for path in description.programs:
        file = tree.find(path)
        if file is None:
            raise Failure(f"{description.name}.toml: none of {tree.names()} holds {path}")
        contents.put_with_libraries(path, file, tree)
    for name in description.libraries:
        contents.put_library(name, tree, wanted_by=f"{description.name}.toml")
    for folder in description.folders:
        put_folder(contents, folder, tree)
    for path, source in description.builds.items():
        contents.put_file(path, built(build, source))
    for path, source in description.sources.items():
        file = TOP / source
        if not file.is_file():
            raise Failure(f"{description.name}.toml: sources: there is no {source} in the tree")
        contents.put_file(path, file)
    if merged(description.command[0]) not in contents.entries:
        raise Failure(f"{description.name}.toml: command: {description.command[0]} is not in the "
                      "image (programs, builds, sources or files must bring it)")
    versions = {name: packages.version_of(path) for name, path in tree.directories.items()}
    if not description.disk:
        return Image(contents.entries, {}, versions)
    rest = {path: entry for path, entry in contents.entries.items() if path not in system}
    return Image(system, rest, versions)
