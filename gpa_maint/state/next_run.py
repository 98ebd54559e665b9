"""gpa/next says when the next run is worth while: to hook.sh, and to runs that many pushes start at once.

A run reads it first, before it starts git or imports much. So the first of many runs does the work, and the others end
here.
"""

from __future__ import annotations

import os

from ..base import safe_open
from .paths import NEXT, NEXT_PREFIX, path_of

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from ..fs import Workspace
    from ..repo.objdir import ObjectDir

UNBOUNDED = (1 << 31) - 1
"""More loose objects than any repository has."""

SAMPLED_FOLDERS = ("17", "3c", "8a", "d5")
"""Folders of loose objects (of 256) that are counted to decide whether a run is worth while, as in hook.sh."""


def git_dir_here() -> str | None:
    """Return the git directory for which a hook was started; None if git has to be asked."""
    path = os.environ.get("GIT_DIR", ".")
    is_plain = os.path.isdir(f"{path}/objects") and os.path.isfile(f"{path}/HEAD")
    return path if is_plain and "GIT_OBJECT_DIRECTORY" not in os.environ else None


def is_worth_while(common_dir: str, objects: str, *, now: float) -> bool:
    """Return whether a run would have something to do at the second `now`, by gpa/next; True if it is unreadable."""
    path = os.path.join(common_dir, "gpa", NEXT)
    try:
        packs, loose = map(int, safe_open.read_text(path, 100).split())
        is_over = os.stat(path).st_mtime <= now
    except (OSError, ValueError):
        return True
    return is_over or _count(os.path.join(objects, "pack"), ".idx") >= packs or count_sampled(objects) >= loose


def count_sampled(objects: str) -> int:
    """Return the number of loose objects in the sampled folders."""
    return sum(_count(os.path.join(objects, name)) for name in SAMPLED_FOLDERS)


def _count(folder: str, suffix: str = "") -> int:
    try:
        return sum(name.endswith(suffix) for name in os.listdir(folder))
    except OSError:
        return 0


def write_next(objdir: ObjectDir, space: Workspace, *, packs: int, more_loose: int | None, due: int) -> None:
    """Tell the hooks to start a run at a number of packs, at a number of new loose objects, or from a second on.

    `more_loose` counts all folders; None: at no number.
    """
    from .. import fs  # start-up cost: most runs only read

    folders = len(SAMPLED_FOLDERS)
    sampled = UNBOUNDED
    if more_loose is not None:
        sampled = count_sampled(objdir.objects) + max(1, -(-more_loose * folders // 256))
    path = path_of(objdir, NEXT)
    line = f"{packs} {sampled}\n".encode()
    fs.replace_file(objdir, space, path, line, durable=False, mtime=due)
    fs.put_marker(objdir, NEXT_PREFIX, f"{packs}-{sampled}")
