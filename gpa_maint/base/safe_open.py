"""Safe reading of small files in an untrusted repository: no symbolic links, no blocking on FIFOs, bounded size.

For example gpa/log may be a link to a file of the user, and gpa/next a FIFO without a writer.
"""

from __future__ import annotations

import errno
import os
import stat
from _thread import _local
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader

MOST_BYTES = 64 << 20
"""Bytes; more than any file that is read as a whole."""

TEXT_BYTES = 16 << 20
"""Bytes; more than any record of ours: state.json has 6 MB for 100,000 packs. Hostile JSON takes 25 times its size in
memory."""


class IsLink(OSError):
    """There is a symbolic link in place of a folder of the repository; `filename` is its path."""


_guarded: set[str] = set()


def guard(folder: str) -> None:
    """From now on refuse symbolic links on the way to `folder` and to all folders below it.

    A user who may write there could replace a folder by a link at any moment, even between two system calls. So each
    path below is walked folder by folder, by descriptors. Links above `folder` are followed.
    """
    _guarded.add(folder)


def open_folder(path: str, flags: int = os.O_RDONLY) -> int:
    """Return a descriptor of a folder. Raise IsLink by the rules of guard()."""
    root, parts = _guarded_part(path)
    if not root:
        return os.open(path, flags | os.O_DIRECTORY | os.O_CLOEXEC)
    fd = _open_no_link(root, flags if not parts else os.O_PATH, None, root)
    while parts:
        outer, name = fd, parts.pop()
        root = f"{root}/{name}"
        try:
            fd = _open_no_link(name, flags if not parts else os.O_PATH, outer, root)
        finally:
            os.close(outer)
    return fd


def is_guarded(folder: str) -> bool:
    """Return whether links on the way to files in `folder` are refused."""
    return bool(_guarded_part(folder)[0])


def _guarded_part(path: str) -> tuple[str, list[str]]:
    """Return the guarded folder of a path, and the names below it, the last one first; "" for none."""
    parts: list[str] = []
    root = path
    while root and root not in _guarded:
        root, _, name = root.rpartition("/")
        parts.append(name)
    return root, parts


def _open_no_link(name: str, flags: int, outer: int | None, path: str) -> int:
    if name == "..":
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    try:
        return os.open(name, flags | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=outer)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and _is_link(name, outer):
            raise IsLink(errno.ELOOP, os.strerror(errno.ELOOP), path) from None
        raise type(error)(error.errno, os.strerror(error.errno or 0), path) from None


def _is_link(name: str, outer: int | None) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(name, dir_fd=outer).st_mode)
    except OSError:
        return False


class _Kept(_local):
    """The folders that a thread keeps open, so that no other thread closes one in use."""

    def __init__(self) -> None:
        self.fds: dict[str, int] = {}


_kept = _Kept()


@contextmanager
def kept_open(folder: str) -> Iterator[None]:
    """Open a guarded folder once, for all file operations of this thread in the block.

    They use this folder even if another one gets its name. A folder that cannot be opened is opened for each operation.
    """
    if folder in _kept.fds or not is_guarded(folder):
        yield
        return
    try:
        fd = open_folder(folder, os.O_PATH)
    except OSError:
        yield
        return
    _kept.fds[folder] = fd
    try:
        yield
    finally:
        del _kept.fds[folder]
        os.close(fd)


class place_of:
    """Yields a descriptor of the folder of `path`, and the name in it; None and `path` if the folder is not guarded.

    It is a class for speed, because it is entered for each deleted file.
    """

    __slots__ = ("_fd", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> tuple[int | None, str]:
        folder, _, name = self._path.rpartition("/")
        if folder in _kept.fds:
            return _kept.fds[folder], name
        if not is_guarded(folder):
            return None, self._path
        self._fd = open_folder(folder, os.O_PATH)
        return self._fd, name

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def open_regular(path: str, flags: int = os.O_RDONLY, mode: int = 0o666, *, follow: bool = False) -> int:
    """Return a descriptor of a regular file. Raise OSError for others: ELOOP for a symbolic link, EINVAL for the rest.

    With `follow`, open the file that a link points to.
    """
    with place_of(path) as (folder, name):
        wanted = flags | (0 if follow else os.O_NOFOLLOW) | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(name, wanted, mode, dir_fd=folder)
        except OSError as error:
            raise type(error)(error.errno, os.strerror(error.errno or 0), path) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return fd


def lstat(path: str) -> os.stat_result:
    """Return os.lstat() of a path, and refuse links among its folders."""
    with place_of(path) as (folder, name):
        return os.lstat(name, dir_fd=folder)


def names_in(folder: str) -> list[str]:
    """Return os.listdir() of a folder, and refuse links among its folders."""
    fd = open_folder(folder)
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def reading(path: str) -> BufferedReader:
    """Open a regular file, or the one that a link points to, for reading. Raise OSError as open_regular() does."""
    return open(open_regular(path, follow=True), "rb")


def read_bytes(path: str, limit: int = MOST_BYTES) -> bytes:
    """Return the first `limit` bytes of a regular file. Raise OSError as open_regular() does."""
    with open(open_regular(path), "rb") as file:
        return file.read(limit)


def read_whole(path: str, limit: int = MOST_BYTES, *, follow: bool = False) -> tuple[bytes, os.stat_result]:
    """Return the content and status of a regular file. Raise OSError as open_regular() does, EFBIG beyond `limit`."""
    with open(open_regular(path, follow=follow), "rb") as file:
        content = file.read(limit + 1)
        if len(content) > limit:
            raise OSError(errno.EFBIG, f"larger than {limit} bytes", path)
        return content, os.fstat(file.fileno())


def read_text(path: str, limit: int = TEXT_BYTES) -> str:
    """Return the content of a regular file as text; see read_whole(). Raise ValueError if it is not UTF-8."""
    return read_whole(path, limit)[0].decode()


def walk(folder: str) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Yield `folder` and each folder below it, with its entries by name. Links are not followed.

    It is not recursive, because folders may be nested to any depth. A folder that cannot be listed, for example because
    its path is too long, is left out. The caller may remove entries from the list; the walk then skips them.
    """
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        try:
            with os.scandir(path) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            continue
        yield path, entries
        waiting += [entry.path for entry in reversed(entries) if is_folder(entry)]


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, not a link to one."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # gone
        return False
