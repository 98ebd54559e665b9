"""Find running git processes that delete packs. `git repack` takes no lock, so they are searched among all processes.

Such a process lists the packs when it begins, and deletes some of them at its end, because other packs have their
objects. A run that deletes one of these other packs, or publishes an index that names the deleted ones, must know of
it. A process on another host, in another container, or of another program is not found; holds (holds.py) work without.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from .._core.base import processes_named
from ..base import safe_open
from ..base.tuples import NamedTuple
from ..repo.objdir import ObjectDir

DELETING = frozenset({"repack", "gc", "maintenance", "multi-pack-index"})
"""The git commands that delete packs."""

NAMES = ("git", *(f"git-{command}" for command in sorted(DELETING)))
WITH_VALUE = frozenset({"-C", "-c", "--git-dir", "--work-tree", "--namespace", "--config-env", "--super-prefix"})
"""Options before the command that take the next word."""

DEEPEST = 64
"""Largest number of parent folders that are searched for a repository."""


class Deleter(NamedTuple):
    """A process that may delete packs: its number, its start (clock ticks since the boot), and its command."""

    pid: int
    began: int
    command: str

    def __str__(self) -> str:
        return f"'git {self.command}' (process {self.pid})"

    @property
    def is_alive(self) -> bool:
        return _began(self.pid) == self.began


def deleters(objdir: ObjectDir) -> list[Deleter]:
    """Return git processes that may delete packs of this object directory, from /proc; [] if there is no /proc."""
    found = []
    for pid in processes_named(NAMES):
        command = _command(pid)
        began = _began(pid) if command and _may_work_on(pid, objdir) else None
        if command and began is not None:
            found.append(Deleter(pid, began, command))
    return found


LISTING = frozenset({"repack", "multi-pack-index"})
"""Commands that list packs themselves; the other commands start one of these."""


def latest_age_ns(beside: list[Deleter]) -> int | None:
    """Return the age (ns) of the youngest of these processes that list packs; None if there is none.

    None of them deletes packs that were made after it began.
    """
    began = max((one.began for one in beside if one.command in LISTING), default=None)
    if began is None:
        return None
    with open("/proc/uptime", encoding="ascii") as file:
        up = float(file.read().split()[0])
    return int((up - began / os.sysconf("SC_CLK_TCK")) * 10**9)


def _read(pid: int, name: str) -> bytes:
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 1 << 16)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _command(pid: int) -> str:
    """Return the git command of this process if it is one that deletes packs, else ""."""
    words = os.fsdecode(_read(pid, "cmdline")).split("\0")
    program = os.path.basename(words[0])
    is_dashed = program.startswith("git-")
    command = program.removeprefix("git-") if is_dashed else next(_after_options(words[1:]), "")
    return command if command in DELETING else ""


def _after_options(words: list[str]) -> Iterator[str]:
    rest = iter(words)
    for word in rest:
        if word in WITH_VALUE:
            next(rest, "")
        elif not word.startswith("-"):
            yield word


def _began(pid: int) -> int | None:
    """Return when the process began (clock ticks since the boot); None if it has ended."""
    words = _read(pid, "stat").rpartition(b")")[2].split()  # the name before it may contain anything
    return int(words[19]) if len(words) > 19 and words[0] not in (b"Z", b"X") else None


def _may_work_on(pid: int, objdir: ObjectDir) -> bool:
    """Return whether the process may work on this object directory. False only if it visibly works on another one."""
    if not objdir.is_own:
        return True
    try:
        folder = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return True
    for word in _read(pid, "environ").split(b"\0"):
        if word.startswith(b"GIT_OBJECT_DIRECTORY="):
            return _is_same(os.path.join(folder, os.fsdecode(word.partition(b"=")[2])), objdir)
    git_dir = _named_git_dir(pid)
    if git_dir and not os.path.isabs(git_dir):
        return True  # it may have changed its folder
    folder = git_dir or folder
    for _ in range(DEEPEST):
        for objects in _objects_of(folder):
            if os.path.isdir(objects):
                return _is_same(objects, objdir)
        parent = os.path.dirname(folder)
        if parent == folder:
            break
        folder = parent
    return True


def _named_git_dir(pid: int) -> str:
    """Return the value of --git-dir or GIT_DIR, "" if there is none. For a hook, GIT_DIR=. is the process's folder."""
    words = os.fsdecode(_read(pid, "cmdline")).split("\0")
    for number, word in enumerate(words):
        if word.startswith("--git-dir="):
            return word.partition("=")[2]
        if word == "--git-dir":
            return words[number + 1] if number + 1 < len(words) else "."
    for word in os.fsdecode(_read(pid, "environ")).split("\0"):
        if word.startswith("GIT_DIR=") and word != "GIT_DIR=.":
            return word.partition("=")[2]
    return ""


def _is_same(objects: str, objdir: ObjectDir) -> bool:
    return os.path.realpath(objects) == os.path.realpath(objdir.objects)


def _objects_of(folder: str) -> Iterator[str]:
    """Yield the paths at which a repository in this folder would have its objects."""
    dot_git = os.path.join(folder, ".git")
    if os.path.isfile(dot_git):
        yield from _objects_by_file(folder, dot_git)
    yield os.path.join(dot_git, "objects")
    if os.path.isfile(os.path.join(folder, "HEAD")):
        yield os.path.join(folder, "objects")
        yield from _objects_by_common(folder)


def _objects_by_file(folder: str, dot_git: str) -> Iterator[str]:
    """Yield the object directory of a linked worktree or a submodule, by its file `gitdir: <path>`."""
    text = _first_line(dot_git)
    if text.startswith("gitdir: "):
        git_dir = os.path.join(folder, text.removeprefix("gitdir: "))
        yield from _objects_by_common(git_dir)
        yield os.path.join(git_dir, "objects")


def _objects_by_common(git_dir: str) -> Iterator[str]:
    common = _first_line(os.path.join(git_dir, "commondir"))
    if common:
        yield os.path.join(git_dir, common, "objects")


def _first_line(path: str) -> str:
    try:
        return safe_open.read_bytes(path, 4096).decode(errors="surrogateescape").partition("\n")[0]
    except OSError:
        return ""
