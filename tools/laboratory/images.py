"""Replica images of guest/image as Dom0 sees them: images/NAME/manifest.json, beside it the ramdisk and
the disk, if it has one.

The manifest says where they are in Dom0. Images with the same kernel share it.
"""

import json
import os
import pathlib
import subprocess

import store
import tree
from store import TOP, Failure


def manifests(names):
    """What guest/image/build says of these; it builds what is missing."""
    if not names:
        return []
    done = subprocess.run([TOP / "guest" / "image" / "build", "--json", "--build",
                           tree.build_directory(), *names],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"the images {' '.join(names)}: {done.stderr.strip()[-800:]}")
    found = json.loads(done.stdout)
    return found if isinstance(found, list) else [found]


def files(names, where):
    """{name in Dom0 relative to `where`: path here} of these images."""
    found = {}
    for manifest in manifests(sorted(set(names))):
        places = {"kernel": f"images/kernel-{manifest['kernel_sha256'][:16]}"}
        places |= {kind: f"images/{manifest['name']}/{pathlib.Path(manifest[kind]).name}"
                   for kind in ("ramdisk", "disk") if kind in manifest}
        found |= {place: pathlib.Path(manifest[kind]) for kind, place in places.items()}
        inside = {**manifest, **{kind: f"{where}/{place}" for kind, place in places.items()}}
        found[f"images/{manifest['name']}/manifest.json"] = note(json.dumps(inside, indent=1))
    return found


def note(text):
    """A file with this text, kept under its hash."""
    path = store.home() / "notes" / store.key_of(text)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text(text + "\n")
        fresh.replace(path)
    return path
