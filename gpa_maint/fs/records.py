"""Write and remove our files in gpa/."""

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
    """Replace a small file of ours; a crash leaves the old or the new one, or perhaps none if not `durable`."""
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
        # temporary files are on another file system than gpa/, whose files may be lost without losing an object
        _put_beside(objdir, path, content, durable=False, mtime=mtime)


def replace_locked(objdir: ObjectDir, path: str, content: bytes) -> None:
    """Replace a small file of ours durably, under its own lock instead of the maintenance lock.

    Its temporary file is beside it, because a run may remove files in gpa/tmp.
    """
    _put_beside(objdir, path, content, durable=True)
    fsync_dir(os.path.dirname(path))


def _put_beside(objdir: ObjectDir, path: str, content: bytes, *, durable: bool, mtime: int | None = None) -> None:
    """Replace `path` through a new file beside it, because an existing file there may be a link."""
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
    """Set a file's mtime, if the file system supports that."""
    with worded("utime", temp.path):
        try:
            os.utime(temp.fd, (mtime, mtime))
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise


RESERVE_BYTES, MOST_RESERVED = 64 << 10, 16 << 20
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def keep_reserve(objdir: ObjectDir) -> None:
    """Reserve, in gpa/reserve, the space that an expire needs before it frees any: for records and a small index.

    If the disk has no space for it, there is no reserve.
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
    """Free the space of gpa/reserve; return False if there is none."""
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
    """Append a line to gpa/<name>. A file larger than LOG_BYTES is renamed to gpa/<name>.old.

    Needs no lock: a run that finds another run logs that here.
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
        with contextlib.suppress(FileNotFoundError):  # another process has just renamed it
            rename(path, f"{path}.old")
