"""What an image holds, as its NAME.toml says; README.md of guest/ explains the keys.

Errors name the file and the key, and say what would be right.
"""

import dataclasses
import pathlib
import re
import tomllib

from packages import Failure

HERE = pathlib.Path(__file__).resolve().parent
NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
USERS = {"service": "1000:1000", "root": "0:0"}


@dataclasses.dataclass
class Description:
    name: str
    description: str
    command: list  # the service's argv; its program is an absolute path
    packages: list = dataclasses.field(default_factory=list)  # Debian's, that programs come from
    programs: list = dataclasses.field(default_factory=list)  # absolute paths within packages
    folders: list = dataclasses.field(default_factory=list)  # with all below; PACKAGE:/... of one
    libraries: list = dataclasses.field(default_factory=list)  # that programs open by themselves
    builds: dict = dataclasses.field(default_factory=dict)  # path in the image: path in the build
    sources: dict = dataclasses.field(default_factory=dict)  # path in the image: path in the tree
    modules: list = dataclasses.field(default_factory=lambda: ["xen-netfront"])
    disk: bool = False  # the service's part lies on a disk, not in the ramdisk
    network: bool = True  # /init sets eth0 up
    user: str = "service"
    prepare: str = ""  # shell, as root, before the service
    beside: str = ""  # shell, as root, after its start: ends at once, or puts itself behind (&)
    health: str = ""  # shell: true when the service answers
    health_seconds: int = 30
    memory_mib: int = 96
    files: dict = dataclasses.field(default_factory=dict)  # path in the image: content


# What a value of this kind must look like, for people; and whether it does.
KINDS = {
    str: ("a text", lambda value: isinstance(value, str)),
    int: ("a number from 1 to 65536",
          lambda value: isinstance(value, int) and not isinstance(value, bool)
          and 1 <= value <= 65536),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    list: ("a list of texts",
           lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value)),
    dict: ("a table of texts",
           lambda value: isinstance(value, dict)
           and all(isinstance(one, str) for one in value.values())),
}


def available(folder=HERE):
    """Names of the images that are described, sorted."""
    return sorted(path.stem for path in folder.glob("*.toml"))



def absolute(where, paths):
    for path in paths:
        if not path.startswith("/") or ".." in path.split("/"):
            raise Failure(f"{where}: '{path}' must be an absolute path without '..'")


def load(name, folder=HERE):
    """The description of image `name`. Raises Failure."""
    file = folder / f"{name}.toml"
    if not NAME.fullmatch(name) or not file.is_file():
        raise Failure(f"there is no image named '{name}' (there are: "
                      + ", ".join(available(folder)) + ")")
    try:
        values = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failure(f"{file.name}: {error}") from None
    return parse(name, values, file.name)


def parse(name, values, where):
    fields = {field.name: field for field in dataclasses.fields(Description)}
    for key, value in values.items():
        if key not in fields or key == "name":
            raise Failure(f"{where}: no key is named '{key}' (there are: "
                          + ", ".join(sorted(set(fields) - {"name"})) + ")")
        words, is_right = KINDS[fields[key].type]
        if not is_right(value):
            raise Failure(f"{where}: {key} must be {words}")
    for key in ("description", "command"):
        if not values.get(key):
            raise Failure(f"{where}: {key} is missing")
    made = Description(name=name, **values)
    if made.user not in USERS:
        raise Failure(f"{where}: user must be one of {', '.join(USERS)}")
    for key in ("programs", "builds", "sources", "files"):
        absolute(f"{where}: {key}", getattr(made, key))
    absolute(f"{where}: folders", [folder.rpartition(":")[2] for folder in made.folders])
    absolute(f"{where}: command", made.command[:1])
    if (made.programs or made.folders) and not made.packages:
        raise Failure(f"{where}: programs and folders come from packages, and there are none")
    return made
