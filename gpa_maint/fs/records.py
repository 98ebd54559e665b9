"""Files of our own in gpa/, and what killed gits left."""

from __future__ import annotations

import contextlib
import errno
import os

from ..base import safe_open
from ..repo.objdir import ObjectDir
from ..state.paths import RESERVE, path_of
from .door import (
    UNSUPPORTED,
    create,
    fit,
    fsync_dir,
    fsync_file,
    make_dir,
    named,
    open_own,
    open_shared,
    rename,
    unlink,
    worded,
)
from .temp import TempFile, Workspace, remove_leftover

LOG_BYTES = 256 * 1024


def replace_file(
    objdir: ObjectDir, space: Workspace, path: str, content: bytes, *, durable: bool = True, mtime: int | None = None
) -> None:
    """Write a small file of ours whole: a crash leaves the old or the new one; unless `durable`, perhaps none."""
    temp = space.create(".new", 0o666)
    try:
        with named("write", temp.path):
            os.write(temp.fd, content)
        if mtime is not None:
            set_mtime(temp, mtime)
        if durable:
            fsync_file(temp.fd, temp.path)
    finally:
        temp.close()
    make_dir(os.path.dirname(path), objdir.settings.shared)
    try:
        rename(temp.path, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # temporary files are on another file system than gpa/: what is here may be lost without losing an object
        _put_beside(objdir, path, content, durable=False, mtime=mtime)


def replace_locked(objdir: ObjectDir, path: str, content: bytes) -> None:
    """Write a small file of ours whole and durably, under a lock of its own instead of the maintenance lock.

    So its temporary file stands beside it: what lies in gpa/tmp may be cleared away by a run.
    """
    _put_beside(objdir, path, content, durable=True)
    fsync_dir(os.path.dirname(path))


def _put_beside(objdir: ObjectDir, path: str, content: bytes, *, durable: bool, mtime: int | None = None) -> None:
    """Give `path` this content by way of a new file beside it: what is left there may be a link to anywhere."""
    temp = f"{path}.new"
    unlink(temp)
    file = TempFile(temp, create(temp, 0o666))
    try:
        fit(file.fd, temp, objdir.settings.shared)
        with named("write", temp):
            os.write(file.fd, content)
        if mtime is not None:
            set_mtime(file, mtime)
        if durable:
            fsync_file(file.fd, temp)
    finally:
        file.close()
    rename(temp, path)


def set_mtime(temp: TempFile, mtime: int) -> None:
    """Date a file. Where no file's time can be set, it keeps that of now."""
    with worded("utime", temp.path):
        try:
            os.utime(temp.fd, (mtime, mtime))
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise


RESERVE_BYTES, MOST_RESERVED = 64 << 10, 16 << 20
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def keep_reserve(objdir: ObjectDir) -> None:
    """Have gpa/reserve hold the room that an expire needs before it frees any: for records and, up to a size, an index.

    Where there is no room for it there is none.
    """
    path = path_of(objdir, RESERVE)
    with contextlib.suppress(OSError):
        index = os.stat(objdir.index_path).st_size if os.path.exists(objdir.index_path) else 0
        size = RESERVE_BYTES + min(index, MOST_RESERVED)
        fd = open_own(path, os.O_RDWR, objdir.settings.shared)
        try:
            there = os.fstat(fd).st_size
            if there < size:
                os.posix_fallocate(fd, there, size - there)
        except OSError:
            unlink(path)
        finally:
            os.close(fd)


def release_reserve(objdir: ObjectDir) -> bool:
    """Give the room of gpa/reserve back; False when there is none."""
    return unlink(path_of(objdir, RESERVE))


def put_marker(objdir: ObjectDir, prefix: str, text: str) -> None:
    """Create the empty file gpa/<prefix><text>, whose name is the message, and remove other files gpa/<prefix>*."""
    wanted = prefix + text
    there = [name for name in safe_open.names_in(objdir.gpa_dir) if name.startswith(prefix)]
    if wanted not in there:
        path = path_of(objdir, wanted)
        with contextlib.suppress(FileExistsError), named("create", path):
            os.close(open_shared(path, os.O_WRONLY, objdir.settings.shared))
    for name in there:
        if name != wanted:
            remove_leftover(path_of(objdir, name))


def append_line(objdir: ObjectDir, name: str, line: str) -> None:
    """Add a line to gpa/<name>. When that has grown beyond LOG_BYTES it becomes gpa/<name>.old.

    Needs no lock: a run that finds another one at work says so here.
    """
    path = path_of(objdir, name)
    with named("write", path):
        fd = open_own(path, os.O_WRONLY | os.O_APPEND, objdir.settings.shared)
        try:
            os.write(fd, f"{line}\n".encode("utf-8", "surrogateescape"))
            full = os.fstat(fd).st_size > LOG_BYTES
        finally:
            os.close(fd)
    if full:
        with contextlib.suppress(FileNotFoundError):  # somebody else turned it over just now
            rename(path, f"{path}.old")
