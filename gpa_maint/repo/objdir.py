"""An object directory to work on: a value with its paths and its settings."""

from __future__ import annotations

import os

from ..base import safe_open
from .config import Settings


class ObjectDir:
    """An object directory to work on. All paths are absolute.

    `common_dir` is the folder of gc.pid and of gpa/: the repository's git directory, or, for the object directory of
    another repository (--object-dir, `is_own` is False), its parent.
    """

    def __init__(
        self, *, objects: str, common_dir: str, object_format: str, settings: Settings, is_own: bool = True
    ) -> None:
        self.objects = objects
        # As in git, work on the folder that a link points to, and on the same folder until the end.
        pack_dir = os.path.join(objects, "pack")
        self.pack_dir = os.path.realpath(pack_dir) if os.path.islink(pack_dir) else pack_dir
        self.index_path = os.path.join(self.pack_dir, "multi-pack-index")
        self.common_dir = common_dir
        self.gpa_dir = os.path.join(common_dir, "gpa")
        self.object_format = object_format
        self.settings = settings
        self.is_own = is_own
        for folder in (self.gpa_dir, objects, self.pack_dir):
            safe_open.guard(folder)

    @property
    def title(self) -> str:
        """Short name: that of the repository's directory, without the path; for a work tree, that of the work tree."""
        parent, name = os.path.split(self.common_dir)
        return os.path.basename(parent if name == ".git" else self.common_dir) or self.common_dir

    def pack_path(self, name: str, suffix: str = ".pack") -> str:
        """Return the path of a pack, or of a file beside it."""
        return f"{self.pack_dir}/{name}{suffix}"
