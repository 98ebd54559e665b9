"""gpa/damaged/lost: objects of which a repair found no readable copy, a line `<id> <where it was>` for each."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from .. import fs
from ..base import safe_open
from ..model.repair import LostObject
from ..repo.objdir import ObjectDir
from .paths import LOST, path_of


def add_lost(objdir: ObjectDir, space: fs.Workspace, lost: Iterable[LostObject]) -> None:
    """Add objects to the file, which is replaced as a whole. Raise OSError if that fails."""
    path = path_of(objdir, LOST)
    lines = "".join(f"{one.oid} {one.name}\n" for one in lost)
    fs.replace_file(objdir, space, path, _before(path) + lines.encode("utf-8", "surrogateescape"))


def _before(path: str) -> bytes:
    """Return the content of the existing file.

    A link, or a file with a second hard link, is replaced, because it may be any file. A file that is too large to read
    is renamed to gpa/damaged/lost.old.
    """
    try:
        before, status = safe_open.read_whole(path)
        return before if status.st_nlink == 1 else b""
    except OSError as error:
        if error.errno == errno.EFBIG:
            fs.rename(path, f"{path}.old")
        elif error.errno not in (errno.ENOENT, errno.ELOOP, errno.EINVAL):
            raise
        return b""
