"""The Dom0 image: a root disk of Debian packages with the lab's agent, and an initramfs to mount it.

Made by mmdebstrap, mke2fs and cpio in about a minute, once for each set of package versions. Nothing
is installed on this machine. Known limit: building needs root (mmdebstrap and mke2fs keep the
owners of files); using the image does not. Debian archives that were fetched stay in the cache, so
that an interrupted or repeated build does not fetch them again.
"""

import contextlib
import gzip
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import machine as machines
import packages
import store
from store import Failure

HERE = pathlib.Path(__file__).resolve().parent
SUITE = "bookworm"
ROOT_DISK_MB = 1536
# Whole folders of the kernel's modules, and single ones; what they need comes along.
MODULE_FOLDERS = ["drivers/xen", "drivers/net/xen-netback", "drivers/block/xen-blkback", "drivers/md",
                  "drivers/virtio", "net/netfilter", "net/ipv4", "net/ipv6", "net/bridge", "net/sched"]
MODULES = ["virtio_blk", "virtio_pci", "virtio_console", "virtio_net", "ext4", "crc32c_generic",
           "overlay", "loop", "tun", "veth", "dummy", "ifb", "xen-netfront", "xen-blkfront", "macvlan",
           "squashfs", "netconsole", "nlmon"]
FIRST_MODULES = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"]
LEFT_OUT = ["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/i18n/*",
            "/usr/lib/udev/hwdb*", "/etc/udev/hwdb*"]
BUILD_SECONDS_MAX = 1800


def wanted_packages():
    lines = (HERE / "dom0_packages.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def candidates(names):
    """{name: the version apt would install}; one question for all of them."""
    output = packages.run(["apt-cache", "policy", *names])
    found = dict(re.findall(r"^(\S+):\n +Installed: .*\n +Candidate: (\S+)", output, re.MULTILINE))
    missing = [name for name in names if found.get(name, "(none)") == "(none)"]
    if missing:
        raise Failure(f"apt knows no package {' '.join(missing[:5])}: sudo apt-get update "
                      f"(the lab is made of Debian {SUITE})")
    return found


def versions():
    """What apt would install of all that the lab is made of. Asking takes a second, so the answer is
    kept for as long as apt's lists and settings are the same."""
    names = [*wanted_packages(), packages.HYPERVISOR_PACKAGE, packages.KERNEL_PACKAGE,
             "busybox-static"]
    stamp = [names]
    for path in ("/var/lib/apt/lists", "/var/lib/apt/lists/partial", "/etc/apt", "/etc/apt/apt.conf.d",
                 "/etc/apt/sources.list", "/etc/apt/sources.list.d", "/etc/apt/preferences.d"):
        with contextlib.suppress(FileNotFoundError):
            stamp.append([path, os.stat(path).st_mtime_ns])
    kept = store.home() / "versions.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        before = json.loads(kept.read_text())
        if before["stamp"] == stamp:
            return before["versions"]
    found = candidates(names)
    kept.parent.mkdir(parents=True, exist_ok=True)
    fresh = kept.with_name(f".versions.{os.getpid()}")
    fresh.write_text(json.dumps({"stamp": stamp, "versions": found}))
    fresh.replace(kept)
    return found


def key():
    """The image's key: package versions, and the files here that go into it or make it."""
    ours = sorted([*(HERE / "inside").iterdir(), HERE / "dom0.py", HERE / "dom0_packages.txt"])
    return store.key_of({"versions": versions(), "disk": ROOT_DISK_MB,
                         "files": {path.name: store.digest_of(path) for path in ours
                                   if path.is_file()}})


def image(say):
    """The directory with root.img and initramfs.img, built first if need be."""
    return store.made("images", key(), lambda scratch: build(scratch, say), say)


def build(scratch, say):
    if os.getuid() != 0:
        raise Failure("the Dom0 image is not built yet, and building it needs root: "
                      "sudo tools/lab build")
    for tool, package in (("mmdebstrap", "mmdebstrap"), ("mke2fs", "e2fsprogs"), ("cpio", "cpio")):
        if not shutil.which(tool):
            raise Failure(f"{tool} is not installed: tools/setup (package {package})")
    say("Dom0: kernel and busybox")
    kernel = packages.kernel()
    busybox = packages.ready("busybox-static")
    root = scratch / "root"
    say(f"Dom0: {len(wanted_packages())} packages and what they need, by mmdebstrap")
    debootstrap(root, scratch / "mmdebstrap.log")
    say("Dom0: modules, agent, initramfs")
    add_modules(root, kernel)
    add_ours(root)
    write_initramfs(scratch, kernel, busybox)
    say("Dom0: root disk")
    write_disk(root, scratch / "root.img")
    versions = subprocess.run(["dpkg-query", "--admindir", root / "var/lib/dpkg", "-W"],
                              capture_output=True, text=True, check=True).stdout
    (scratch / "packages.txt").write_text(versions + f"{kernel.package}\t{kernel.version}\n")
    shutil.rmtree(root)


def die_with_parent():
    machines.libc.prctl(machines.PR_SET_PDEATHSIG, signal.SIGKILL)


def run(argv, log=None, **options):
    done = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=BUILD_SECONDS_MAX, preexec_fn=die_with_parent, **options)
    if log:
        log.write_bytes(done.stdout)
    if done.returncode != 0:
        text = done.stdout.decode(errors="replace").strip()
        raise Failure(f"{argv[0]} failed (status {done.returncode}):\n{text[-1500:]}")
    return done.stdout


def debootstrap(root, log):
    archives = store.home() / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    # What it mounts is seen by it alone and goes with it, however it ends: nobody may ever remove a
    # half-made root with this machine's /dev in it.
    words = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
             "mmdebstrap", "--mode=root", "--variant=essential",
             f"--include={','.join(wanted_packages())}"]
    words += [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    # mmdebstrap's manual: archives of an earlier run are taken, and those of this one kept.
    words += ["--skip=download/empty", "--skip=essential/unlink", "--skip=cleanup/apt",
              "--setup-hook=mkdir -p \"$1\"/var/cache/apt/archives",
              f"--setup-hook=cp -n \"{archives}\"/*.deb \"$1\"/var/cache/apt/archives/ "
              "2>/dev/null || true",
              f"--customize-hook=rm -f \"{archives}\"/*.deb; "
              f"mv \"$1\"/var/cache/apt/archives/*.deb \"{archives}\"/",
              "--customize-hook=rm -rf \"$1\"/var/lib/apt/lists/* \"$1\"/var/cache/apt/*.bin"]
    with store.locked(archives / ".lock"):
        run([*words, SUITE, root], log)


def add_modules(root, kernel):
    names = list(MODULES)
    for folder in MODULE_FOLDERS:
        names += [path.stem for path in (kernel.modules / "kernel" / folder).rglob("*.ko")]
    target = root / "lib" / "modules" / kernel.release
    for path in packages.module_files(kernel.modules, names):
        copy = target / path.relative_to(kernel.modules)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        if (kernel.modules / name).exists():
            shutil.copyfile(kernel.modules / name, target / name)
    run(["chroot", root, "/sbin/depmod", kernel.release])


def add_ours(root):
    (root / "lab").mkdir()
    for name in ("dom0_init", "agent.py"):
        shutil.copyfile(HERE / "inside" / name, root / "lab" / name)
        (root / "lab" / name).chmod(0o755)
    (root / "quorate").mkdir()
    (root / "etc" / "hostname").write_text("lab\n")
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost lab\n::1 localhost\n")
    (root / "etc" / "resolv.conf").unlink(missing_ok=True)
    (root / "etc" / "fstab").write_text("")


def write_initramfs(scratch, kernel, busybox):
    root = scratch / "initramfs"
    for name in ("bin", "modules", "dev", "proc", "sys", "root"):
        (root / name).mkdir(parents=True)
    shutil.copyfile(busybox / "bin" / "busybox", root / "bin" / "busybox")
    shutil.copyfile(HERE / "inside" / "initramfs_init", root / "init")
    for path in (root / "bin" / "busybox", root / "init"):
        path.chmod(0o755)
    (root / "bin" / "sh").symlink_to("busybox")
    modules = packages.module_files(kernel.modules, FIRST_MODULES)
    for path in modules:
        shutil.copyfile(path, root / "modules" / path.name)
    (root / "modules" / "order").write_text("".join(f"{path.name}\n" for path in modules))
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    done = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=root,
                          input=names.encode(), stdout=subprocess.PIPE, check=True)
    (scratch / "initramfs.img").write_bytes(gzip.compress(done.stdout, 1))
    shutil.rmtree(root)


def write_disk(root, path):
    with path.open("wb") as file:
        file.truncate(ROOT_DISK_MB << 20)
    run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-L", "lab",
         "-E", "lazy_itable_init=1,nodiscard", "-d", root, path])
