"""Is a maintenance run worth while? By gpa/next, as hook.sh reads it: git is not asked, and hardly anything imported.

Many pushes at once start many runs: the first one does the work, and the others find out here.
"""

from __future__ import annotations

import os
import time

from ..base import safe_open

SAMPLED_FOLDERS = ("17", "3c", "8a", "d5")
"""Of the 256 folders of loose objects, those that are counted to tell whether a run is worth while, as in hook.sh."""


def git_dir_here() -> str | None:
    """The git directory that a hook is started in, or for; None where git has to be asked."""
    path = os.environ.get("GIT_DIR", ".")
    is_plain = os.path.isdir(f"{path}/objects") and os.path.isfile(f"{path}/HEAD")
    return path if is_plain and "GIT_OBJECT_DIRECTORY" not in os.environ else None


def is_worth_while(common_dir: str, objects: str) -> bool:
    """Whether gpa/next says that a run would find something to do; what cannot be read says so too."""
    path = os.path.join(common_dir, "gpa", "next")
    try:
        packs, loose = map(int, safe_open.read_text(path, 100).split())
        is_over = os.stat(path).st_mtime <= time.time()
    except (OSError, ValueError):
        return True
    return is_over or _count(os.path.join(objects, "pack"), ".idx") >= packs or count_sampled(objects) >= loose


def count_sampled(objects: str) -> int:
    """Loose objects in the sampled folders."""
    return sum(_count(os.path.join(objects, name)) for name in SAMPLED_FOLDERS)


def _count(folder: str, suffix: str = "") -> int:
    try:
        return sum(name.endswith(suffix) for name in os.listdir(folder))
    except OSError:
        return 0
