"""Asking git itself: where the objects are, which hash they have, which settings hold.

The only module that starts git processes. Every failure is a GitFailed with git's own words.
"""

from __future__ import annotations

import os
import subprocess
from typing import NamedTuple

from .config import Settings, settings_from
from .errors import GitFailed, GpaError, Unsupported

# What the object directory alone cannot tell, and what would make our writing wrong.
REFUSED_EXTENSIONS = {"extensions.compatobjectformat"}


class ObjectDir(NamedTuple):
    """An object directory to work on. All paths are absolute.

    `common_dir` is where gc.pid and our own gpa/ directory live: the repository's, or for the object directory of
    another repository (--object-dir) the directory above it.
    """

    objects: str
    common_dir: str
    object_format: str
    settings: Settings

    @property
    def pack_dir(self) -> str:
        return os.path.join(self.objects, "pack")

    @property
    def index_path(self) -> str:
        return os.path.join(self.objects, "pack", "multi-pack-index")

    @property
    def gpa_dir(self) -> str:
        return os.path.join(self.common_dir, "gpa")


def run_git(args: list[str], *, cwd: str | None = None, stdin: str | None = None) -> str:
    """git's standard output. GitFailed when it exits with anything but 0, or is not there at all."""
    argv = ["git", *args]
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            input=None if stdin is None else os.fsencode(stdin),
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise GitFailed(argv, 127, "git is not installed, or not in PATH") from None
    if done.returncode:
        raise GitFailed(argv, done.returncode, os.fsdecode(done.stderr))
    return os.fsdecode(done.stdout)


def read_config(*, cwd: str | None = None) -> dict[str, str]:
    """Every setting that holds, the last value of each; a key without a value is "true", as git reads it."""
    values: dict[str, str] = {}
    for item in run_git(["config", "--list", "-z"], cwd=cwd).split("\0"):
        key, newline, value = item.partition("\n")
        if key:
            values[key] = value if newline else "true"
    return values


def find_object_dir(path: str | None = None, *, object_dir: str | None = None) -> ObjectDir:
    """The object directory of the repository at `path` (default: the current directory), or `object_dir` itself.

    As git does, `object_dir` must be the repository's own or one of its alternates. GitFailed outside a repository
    and for one that git refuses (dubious ownership, unknown extensions); Unsupported for an extension that is not
    read here.
    """
    words = ["rev-parse", "--show-object-format", "--git-common-dir", "--git-path", "objects"]
    object_format, common, objects = run_git(words, cwd=path).splitlines()
    here = os.path.abspath(path or os.getcwd())
    common, objects = os.path.join(here, common), os.path.join(here, objects)
    values = read_config(cwd=path)
    for key in sorted(REFUSED_EXTENSIONS & values.keys()):
        raise Unsupported(f"repository has the extension '{key.partition('.')[2]}', which is not supported")
    chosen = os.path.realpath(objects)
    if object_dir is not None:
        chosen = _alternate(os.path.realpath(os.path.join(here, object_dir)), chosen, object_dir)
    if not os.path.isdir(chosen):
        raise GpaError(f"object directory '{chosen}' does not exist")
    own = chosen == os.path.realpath(os.path.join(common, "objects"))
    return ObjectDir(
        objects=chosen,
        common_dir=os.path.realpath(common) if own else _state_home(chosen),
        object_format=object_format,
        settings=settings_from(values),
    )


def _state_home(objects: str) -> str:
    """Where gpa/ lives for an object directory that is not this repository's: beside it, as if it were one."""
    parent, name = os.path.split(objects)
    return parent if name == "objects" else objects


def _alternate(wanted: str, objects: str, as_given: str) -> str:
    todo, seen = [objects], set()
    while todo:
        directory = todo.pop()
        if directory == wanted:
            return wanted
        if directory in seen:
            continue
        seen.add(directory)
        todo += alternates_of(directory)
    raise GpaError(f"could not find object directory matching {as_given}")


def alternates_of(objects: str) -> list[str]:
    """The object directories named in info/alternates, absolute; comments and empty lines passed over."""
    try:
        with open(os.path.join(objects, "info", "alternates"), encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [os.path.realpath(os.path.join(objects, line)) for line in lines if line and not line.startswith("#")]
