"""Opening small files of a repository that somebody else may have made: no links, no waiting, no end that never comes.

A repository is untrusted input: gpa/log may be a link to a file of the user's, gpa/next a FIFO that nobody writes to.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

MOST_BYTES = 64 << 20
"""More than any file that is read whole: state.json with a name for each of 100,000 packs has 6 MB."""


def open_regular(path: str, flags: int = os.O_RDONLY, mode: int = 0o666, *, follow: bool = False) -> int:
    """A descriptor of a regular file. OSError for anything else: ELOOP for a symbolic link, EINVAL for the rest.

    With `follow`, of the file that a link leads to.
    """
    fd = os.open(path, flags | (0 if follow else os.O_NOFOLLOW) | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return fd


def read_bytes(path: str, limit: int = MOST_BYTES) -> bytes:
    """The first `limit` bytes of a regular file. OSError as from open_regular()."""
    with open(open_regular(path), "rb") as file:
        return file.read(limit)


def read_whole(path: str, limit: int = MOST_BYTES, *, follow: bool = False) -> tuple[bytes, os.stat_result]:
    """All of a regular file, and its status. OSError as from open_regular(), EFBIG beyond `limit` bytes."""
    with open(open_regular(path, follow=follow), "rb") as file:
        content = file.read(limit + 1)
        if len(content) > limit:
            raise OSError(errno.EFBIG, f"larger than {limit} bytes", path)
        return content, os.fstat(file.fileno())


def read_text(path: str, limit: int = MOST_BYTES) -> str:
    """As read_bytes(), as text; ValueError when it is no UTF-8."""
    return read_bytes(path, limit).decode()


def walk(folder: str) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """`folder` and each folder below it, with its entries by name. Links are not followed.

    Without recursion, since somebody may have nested folders as deep as they go; one that cannot be listed, as below a
    path that is too long, is left out. The caller may remove entries from the list, and they are not gone into.
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
    """A folder, and no link to one."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # gone
        return False
