"""Write and remove hooks and settings, for install and uninstall."""

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
"""Suffix of a file that will replace the one beside it; only the holder of install_lock() creates one."""


@contextlib.contextmanager
def install_lock(objdir: ObjectDir, paths: Collection[str]) -> Iterator[None]:
    """Lock out other installs and uninstalls, but not maintenance, and remove files of killed ones."""
    with flock(objdir, INSTALL_LOCK, "another install or uninstall is at work"):
        for path in left_beside(paths):
            unlink(path)
        yield


def left_beside(paths: Iterable[str]) -> list[str]:
    """Return files that were to replace `paths`, and locks on these: git's, and ours, recognised by their inode."""
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
    """Replace `path` by a new file; a crash leaves the old or the new one, never a part. For `like` see _beside()."""
    with _beside(path, content, shared=shared, like=like) as temp:
        rename(temp, path)
    fsync_dir(os.path.dirname(path))


def put_script(path: str, content: bytes, *, shared: str, config: str, aside: str = "") -> None:
    """Replace `path` by a program, and rename the old file to `aside` unless that exists.

    With hard links, `path` names the old or the new program at every moment. Only users who may write the file `config`
    may write the program, because other users run it.
    """
    with _beside(path, content, shared=shared, most=0o755 | _mode_of(config)) as temp:
        if aside and not os.path.lexists(aside) and not has_linked(path, aside):
            rename(path, aside)
        rename(temp, path)
    fsync_dir(os.path.dirname(path))


def take_script(path: str, aside: str) -> None:
    """Remove the program of put_script(), and restore the file that it set aside."""
    if os.path.lexists(aside):
        rename(aside, path)
        unlink(aside)  # two names of the same file: rename() leaves both
    else:
        unlink(path)
    fsync_dir(os.path.dirname(path))


def replace_config(path: str, base: bytes, content: bytes) -> None:
    """Replace the content of a git configuration file, under git's lock on it.

    Raises Locked if another process holds the lock, StalePlan if the content is no longer `base`.
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
