"""Holds: the .keep files that pages of ours have for a while (I14).

`git repack` deletes the packs that it listed when it began, except those that had a .keep then. Therefore a page gets
its .keep before it becomes visible. There are two kinds:

- `git-gpa new`: the page has objects that perhaps no ref names yet. The hold ends when the pack's mtime is older than
  gpa.keepNew, since git prunes loose objects by age, too.
- `git-gpa merged`: the page replaces the packs whose names follow, one a line: those of the merged packs that have
  objects of the page. The hold ends when all of them are deleted, or after two weeks. Until then git's own commands may
  see both, and delete the page because the other pack has its objects.

A page that was merged from pages of new objects has both: `git-gpa new`, and then the names.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from ..base import safe_open
from ..base.tuples import NamedTuple
from .door import create, fit, fsync_file, move_name, named, rename, unlink

NEW = "git-gpa new"
MERGED = "git-gpa merged"
MOST_SOURCES = 1 << 18
"""A .keep with more names, or with more than safe_open.TEXT_BYTES, is not a hold."""


class Hold(NamedTuple):
    """Content of a hold: whether the page has new objects, and the names of the packs that it replaces."""

    is_new: bool
    sources: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Kind of the hold: "new" or "merged"."""
        return "new" if self.is_new else "merged"


def read_hold(path: str) -> Hold | None:
    """Return the hold in the .keep at `path`; None if another program made it, it is gone, or it cannot be read."""
    try:
        content = safe_open.read_whole(path, safe_open.TEXT_BYTES)[0]
    except OSError:
        return None
    if content.count(b"\n") > MOST_SOURCES:
        return None
    first, *names = content.decode("utf-8", "surrogateescape").split("\n")
    if first not in (NEW, MERGED):
        return None
    return Hold(first == NEW, tuple(filter(None, names)))


def write_hold(keep_path: str, temp_path: str, hold: Hold, shared: str) -> bool:
    """Create the .keep at `keep_path`, complete from the first moment on; return False if another program's is there.

    The sources of an existing hold are added. `temp_path` is a free name on the same file system.
    """
    there = read_hold(keep_path)
    if there is None and os.path.lexists(keep_path):
        return False
    if there is not None:
        hold = Hold(hold.is_new or there.is_new, tuple(sorted({*hold.sources, *there.sources})))
    _write(temp_path, hold, shared)
    try:
        if there is not None:
            rename(temp_path, keep_path)
            return True
        move_name(temp_path, keep_path)
    except FileExistsError:
        return read_hold(keep_path) is not None
    finally:
        unlink(temp_path)
    return True


def become_hold(keep_path: str, temp_path: str) -> None:
    """Turn a .keep of ours, which was created before its pack, into the hold of new objects."""
    _write(temp_path, Hold(is_new=True), "")
    rename(temp_path, keep_path)


def _write(path: str, hold: Hold, shared: str) -> None:
    fd = create(path, 0o444)
    try:
        with open(fd, "wb", closefd=False) as file, named("write", path):
            lines = (NEW if hold.is_new else MERGED, *hold.sources)
            file.write("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
        fit(fd, path, shared)
        fsync_file(fd, path)  # after a power cut an empty .keep would count as another program's, and stay for ever
    finally:
        os.close(fd)


def holds_of(pack_dir: str, names: Iterable[str]) -> dict[str, Hold]:
    """Return the holds among the .keep files of the packs `names`."""
    found: dict[str, Hold] = {}
    for name in names:
        with contextlib.suppress(OSError):
            hold = read_hold(os.path.join(pack_dir, f"{name}.keep"))
            if hold is not None:
                found[name] = hold
    return found
