"""Hooks and settings: what install and uninstall put in place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator

from ..base import safe_open
from ..errors import Locked, StalePlan
from ..repo.objdir import ObjectDir
from ..state.paths import INSTALL_LOCK
from .door import (
    create,
    fit,
    fsync_dir,
    fsync_file,
    has_linked,
    named,
    rename,
    replace_name,
    set_mode,
    take_name,
    unlink,
    worded,
)
from .locks import flock
from .temp import inode_of

NEW_SUFFIX = ".gpa-new"
"""A file about to take the place of the one beside it; only the holder of install_lock() makes one."""


@contextlib.contextmanager
def install_lock(objdir: ObjectDir, paths: Collection[str]) -> Iterator[None]:
    """One install or uninstall at a time, whether maintenance is at work or not. Removes what a killed one left."""
    with flock(objdir, INSTALL_LOCK, "another install or uninstall is at work"):
        for path in left_beside(paths):
            unlink(path)
        yield


def left_beside(paths: Iterable[str]) -> list[str]:
    """Files that were to take the place of `paths`, and locks on these: git's, and ours, known by their inode."""
    found = []
    for path in paths:
        new, lock = path + NEW_SUFFIX, f"{path}.lock"
        inode = inode_of(new)
        if inode:
            found += [lock, new] if inode == inode_of(lock) else [new]
        if os.path.lexists(f"{new}.lock"):
            found.append(f"{new}.lock")
    return found


@contextlib.contextmanager
def _beside(
    path: str, content: bytes, *, mode: int = 0o777, shared: str = "", like: str = "", most: int = 0o777
) -> Iterator[str]:
    """Yield a synced file that may be renamed to `path`; remove it at the end if it was not.

    Its mode is that of the file `like`, or is limited by the umask and widened by core.sharedRepository, though not
    beyond `most`.
    """
    temp = path + NEW_SUFFIX
    fd = create(temp, 0o600 if like else mode)
    try:
        try:
            fit(fd, temp, shared)
            if like:
                with worded("change the mode of", temp):
                    set_mode(fd, _mode_of(like))
            elif os.fstat(fd).st_mode & ~most & 0o777:
                with worded("change the mode of", temp):
                    set_mode(fd, os.fstat(fd).st_mode & most)
            with named("write", temp), open(fd, "wb", closefd=False) as file:
                file.write(content)
            fsync_file(fd, temp)
        finally:
            os.close(fd)
        yield temp
    finally:
        unlink(temp)


def _mode_of(path: str) -> int:
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        return 0o644


def put_file(path: str, content: bytes, *, shared: str = "", like: str = "") -> None:
    """Put a file in the place of `path`, whole: a crash leaves the old one or the new one. For `like` see _beside()."""
    with _beside(path, content, shared=shared, like=like) as temp:
        rename(temp, path)
    fsync_dir(os.path.dirname(path))


def put_script(path: str, content: bytes, *, shared: str, config: str, aside: str = "") -> None:
    """put_file() for a program; what was there is called `aside` from then on, unless that is there already.

    Where there are hard links, `path` names the old or the new one at every moment. Only who may write the file
    `config` may write the program: others run it with their own rights.
    """
    with _beside(path, content, shared=shared, most=0o755 | _mode_of(config)) as temp:
        if aside and not os.path.lexists(aside) and not has_linked(path, aside):
            rename(path, aside)
        rename(temp, path)
    fsync_dir(os.path.dirname(path))


def take_script(path: str, aside: str) -> None:
    """Remove what put_script() put, and bring back what it set aside."""
    if os.path.lexists(aside):
        rename(aside, path)
        unlink(aside)  # two names of the same file: rename() leaves both
    else:
        unlink(path)
    fsync_dir(os.path.dirname(path))


def replace_config(path: str, base: bytes, content: bytes) -> None:
    """Give a configuration file of git's another content, under git's lock on it.

    Locked when somebody holds that; StalePlan when the content is not `base` any more.
    """
    path = os.path.realpath(path)
    lock = f"{path}.lock"
    with _beside(path, content, like=path) as temp:
        try:
            take_name(temp, lock)
        except FileExistsError:
            hint = f"another git process seems to be writing it; if none is running, remove '{lock}' and try again"
            raise Locked(f"could not lock config file '{path}': File exists", path=lock, hint=hint) from None
        held = True
        try:
            if read_bytes(path) != base:
                raise StalePlan(f"'{path}' was changed meanwhile", hint="nothing was changed here; try again")
            held = replace_name(temp, lock, path)
        finally:
            if held:
                unlink(lock)
    fsync_dir(os.path.dirname(path))


def read_bytes(path: str) -> bytes:
    """Return the content of a configuration file, or of the file that it links to; empty if there is none."""
    try:
        with named("read", path):
            return safe_open.read_whole(path, follow=True)[0]
    except FileNotFoundError:
        return b""


@contextlib.contextmanager
def scratch_file(path: str, content: bytes) -> Iterator[str]:
    """Yield a private file that git may change and replace."""
    with _beside(path, content, mode=0o600) as temp:
        yield temp
