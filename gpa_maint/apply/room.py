"""What to do when a disk or a quota is full: which part of the work fits, and how much room is missing."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from .. import fs
from ..base.text import human_size
from ..errors import SystemFailed
from ..model.inventory import PackInfo
from ..repo.objdir import ObjectDir

RECORD_BYTES = 32 << 10
"""The records of a run and the .keep files of its pages."""

INDEX_ROW_BYTES = 32
"""The most that the combined index takes for an object, with its share of the rest."""


def is_full(error: BaseException) -> bool:
    """Whether there was no room, on the disk or within the quota."""
    return isinstance(error, OSError) and error.errno in fs.NO_ROOM


def free_bytes(objdir: ObjectDir) -> int:
    """Return the free bytes on the disk for this user; a quota may leave less."""
    disk = os.statvfs(objdir.pack_dir)
    return disk.f_bavail * disk.f_frsize


def require(objdir: ObjectDir, needed: int) -> None:
    """Raise SystemFailed when the disk has less room than `needed` bytes."""
    if free_bytes(objdir) < needed:
        text = f"cannot write to '{objdir.pack_dir}': {os.strerror(errno.ENOSPC)}"
        raise SystemFailed(text, path=objdir.pack_dir, errno=errno.ENOSPC)


def describe_missing(objdir: ObjectDir, error: OSError, what: str, needed: int) -> str:
    """Return how much room is missing for `needed` bytes; `what` needs them ("merging them needs").

    The temporary files must be gone by now.
    """
    about = f"{what} about {human_size(needed)}"
    if error.errno == errno.EDQUOT:  # no system call says what a quota leaves
        return f"{about}, more than the quota leaves"
    free = free_bytes(objdir)
    told = f"{about}, and {human_size(free)} are free"
    return told if free >= needed else f"{told}: {needed - free} bytes are missing"


def smaller_batch(packs: Sequence[PackInfo], room: int) -> tuple[PackInfo, ...]:
    """Return the first packs with at most `room` bytes in all, and at most half of the bytes of all packs."""
    room = min(room, sum(pack.size for pack in packs) // 2)
    chosen: list[PackInfo] = []
    for pack in packs:
        room -= pack.size
        if room < 0:
            break
        chosen.append(pack)
    return tuple(chosen)


def add_missing(objdir: ObjectDir, error: OSError, what: str, needed: int) -> OSError:
    """Return the error with a hint that names the number of missing bytes. See describe_missing()."""
    if isinstance(error, SystemFailed):
        error.hint = f"no object is lost; {describe_missing(objdir, error, what, needed)}"
    return error
