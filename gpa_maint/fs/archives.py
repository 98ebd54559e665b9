"""Archives of v1 pages."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Container, Iterable, Iterator

from ..errors import Corrupt, Locked
from .door import move_name, step, unlink
from .installing import left_beside
from .locks import lock_file
from .packs import same_content
from .temp import TMP_PREFIX, TempFile, TempFiles, inode_of, is_ours


@contextlib.contextmanager
def archive_space(directory: str) -> Iterator[TempFiles]:
    """Lock the folder of an archive, and yield a place for temporary files in it. Raise Locked if it is locked."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        step("lock", directory)
        try:
            lock_file(fd, directory)
        except BlockingIOError:
            hint = "another command works on this archive; nothing was changed, and running again later is safe"
            raise Locked(f"cannot lock '{directory}': held by another process", path=directory, hint=hint) from None
        space = TempFiles(directory, TMP_PREFIX)
        try:
            yield space
        finally:
            space.remove_all()
            fcntl.flock(fd, fcntl.LOCK_UN)  # a process that was forked meanwhile keeps the descriptor
    finally:
        os.close(fd)


def clear_archive(directory: str, known: Container[str], replaced: Iterable[str]) -> None:
    """Remove files that killed programs left.

    These are temporary files; second names of them that are not `known` pages, which no caller has been told of; and
    files that were to replace the files `replaced`. Needs archive_space(), before anything is created there.
    """
    for path in left_beside(replaced):
        unlink(path)
    names = os.listdir(directory)
    stale = [os.path.join(directory, name) for name in names if is_ours(name)]
    inodes = {inode_of(path) for path in stale} - {None}
    unknown = (os.path.join(directory, name) for name in names if not is_ours(name) and name not in known)
    for path in (*(path for path in unknown if inodes and inode_of(path) in inodes), *stale):
        unlink(path)


def publish_archive_page(temp: TempFile, directory: str, name: str) -> None:
    """Give a finished page its name; it must be synced, and the caller syncs the directory.

    The temporary name may remain as a second hard link. Until it is removed, clear_archive() would remove both names.
    An existing page of that name must have the same content.
    """
    path = os.path.join(directory, name)
    try:
        move_name(temp.path, path)
    except FileExistsError:
        if not same_content(temp.path, path):
            raise Corrupt(path, "a page of this name exists and differs") from None


def unlink_archive_page(path: str) -> bool:
    """Remove a page; return False if it was gone. Raise Locked if a program has locked it, as the original does."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        lock_file(fd, path)
        return unlink(path)
    except BlockingIOError:
        raise Locked(f"'{path}' is in use", path=path) from None
    finally:
        os.close(fd)
